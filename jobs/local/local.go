// Package local is the kind of destination that is a directory on a btrfs of this machine.
package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// lockFile is the lock of a destination directory; it stays there for ever.
const lockFile = ".btrkeep.lock"

// Receiver turns streams into subvolumes.
type Receiver interface {
	// Receive applies in.Stream and leaves it in dir as name, on the disk, read-only and with its received UUID, only if the stream was
	// whole and in.Confirm agreed. On error a leftover of that name may remain. With in.From, a writable snapshot of that is
	// there as name. Now and then it stops and calls disk.Save.
	Receive(ctx context.Context, dir, name string, in jobs.Incoming, disk Disk) error

	// CanResume reports whether it calls Disk.Save and takes in.From.
	CanResume() bool

	// StreamVersion is the newest send protocol that it takes.
	StreamVersion(ctx context.Context) (int, error)
}

// Disk is where a receiver puts one stream.
type Disk interface {
	// Sync writes all that was applied to the disk. Its error is the only sign of a disk that took the data and lost it.
	Sync() error

	// Save is Sync, and keeps what was applied up to that place in the stream, so that a later receiver can go on from there.
	Save(at sendstream.Position) error
}

// Opener opens local destinations; it is the jobs.Opener of this package with what all destinations share.
type Opener struct {
	Zone     *time.Location
	Receiver Receiver
	Top      string      // parents are not looked for in directories above this one; "": in none above the mount point
	View     *btrfs.View // of those that only look; nil: each look is anew
}

// Dir is an open destination directory.
type Dir struct {
	path     string // without symbolic links
	job      config.Job
	identity jobs.Identity
	origin   string     // machine and path of the source
	volume   btrfs.UUID // the source
	opener   Opener
	version  int // 0: not asked yet
}

var _ jobs.Destination = (*Dir)(nil)

// of gives the opener for a job. Streams from another machine find parents and clone sources only where List finds them, and some of each is still on the line when it is lost.
func (o Opener) of(job config.Job) Opener {
	if n, ok := o.Receiver.(Native); ok && job.Remote() {
		n.Confined, n.Checkpoint = true, jobs.OverLine(n.Checkpoint)
		o.Receiver = n
	}
	return o
}

// Open finds out whether the destination is really there. The directory of an unplugged disk's mount point is not: writing into it would fill
// the wrong disk. It changes nothing; the directory itself, if it is missing on the right disk, is made by Lock.
func (o Opener) Open(_ context.Context, job config.Job, d config.Destination, owner jobs.Owner, last jobs.Identity) (jobs.Destination, error) {
	// The first access makes an automounter mount the disk; only then the mounts are looked at.
	path, existing, err := resolve(d.URL)
	if err != nil {
		return nil, err
	}
	if d.RequireMount != "" {
		if ok, err := o.View.IsMountPoint(d.RequireMount); err != nil {
			return nil, err
		} else if !ok {
			return nil, fmt.Errorf("%w: nothing is mounted at %s", jobs.ErrAbsent, d.RequireMount)
		}
	}
	fsys, err := o.View.Stat(existing)
	wasElsewhere := d.RequireMount == "" && last.MountPoint != "" && err == nil && above(fsys.MountPoint, last.MountPoint)
	switch {
	case errors.Is(err, btrfs.ErrNotBtrfs) && last.MountPoint != "" && d.RequireMount == "":
		return nil, fmt.Errorf("%w: the disk that was mounted at %s is not there", jobs.ErrAbsent, last.MountPoint)
	case errors.Is(err, btrfs.ErrNotBtrfs):
		return nil, &jobs.HintError{
			Err:  fmt.Errorf("%s is not on btrfs", existing),
			Hint: "is the disk mounted? `require_mount` makes btrkeep wait for it; a destination has to be btrfs (mkfs.btrfs)",
		}
	case notMounted(err), errors.Is(err, fs.ErrNotExist): // it was there a moment ago
		return nil, fmt.Errorf("%w: what is to be mounted at %s is not there", jobs.ErrAbsent, existing)
	case err != nil:
		return nil, fmt.Errorf("destination %s: %w", d.URL, err)
	case wasElsewhere:
		return nil, &jobs.HintError{
			Err:  fmt.Errorf("%w: the disk that was mounted at %s is not there", jobs.ErrAbsent, last.MountPoint),
			Hint: fmt.Sprintf("if the destination has moved to the file system at %s on purpose, say so with require_mount = %q", fsys.MountPoint, fsys.MountPoint),
		}
	}
	if owner.FileSystem == fsys.ID && d.RequireMount == "" {
		return nil, &jobs.HintError{
			Err:  fmt.Errorf("%w: %s is on the source's own file system", jobs.ErrAbsent, d.URL),
			Hint: fmt.Sprintf("is the disk mounted? A copy on the same disk does not survive it; if you want one all the same, set require_mount = %q", fsys.MountPoint),
		}
	}
	if fsys.ReadOnly {
		return nil, &jobs.HintError{
			Err:  fmt.Errorf("destination %s: %w", d.URL, syscall.EROFS),
			Hint: "mounted read-only: `mount -o remount,rw`; or turned so by the kernel after an error: see its log, then unmount it and mount it again",
		}
	}
	return &Dir{
		path: path, job: job, opener: o.of(job), origin: owner.String(), volume: owner.Volume,
		identity: jobs.Identity{FileSystem: fsys.ID, MountPoint: fsys.MountPoint, Free: fsys.Free, Total: fsys.Total, ReadOnly: fsys.ReadOnly},
	}, nil
}

// resolve follows the symbolic links in path as far as it exists, and gives the nearest directory that does.
func resolve(path string) (resolved, existing string, err error) {
	var rest []string
	for at := path; ; at = filepath.Dir(at) {
		real, err := filepath.EvalSymlinks(at)
		if err == nil {
			st, err := os.Stat(real)
			if err != nil {
				return "", "", err
			}
			if !st.IsDir() {
				return "", "", fmt.Errorf("destination %s: %s is not a directory", path, real)
			}
			return filepath.Join(append([]string{real}, rest...)...), real, nil
		}
		if _, lerr := os.Lstat(at); lerr == nil {
			return "", "", fmt.Errorf("%w: %s leads nowhere", jobs.ErrAbsent, at) // a dangling link, perhaps into an unmounted disk
		}
		if notMounted(err) {
			return "", "", fmt.Errorf("%w: what is to be mounted above %s is not there", jobs.ErrAbsent, path)
		}
		if !errors.Is(err, fs.ErrNotExist) || at == "/" {
			return "", "", fmt.Errorf("destination %s: %w", path, err)
		}
		rest = append([]string{filepath.Base(at)}, rest...)
	}
}

// notMounted reports whether an automounter has answered an access that it could not mount anything: systemd's does so with ENODEV, and with EHOSTDOWN while it is being stopped.
func notMounted(err error) bool {
	return errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.EHOSTDOWN)
}

// above reports whether mount point a lies strictly above b.
func above(a, b string) bool {
	return a != b && strings.HasPrefix(b, strings.TrimSuffix(a, "/")+"/")
}

// Path is that of the directory, without symbolic links.
func (d *Dir) Path() string { return d.path }

// Identity is the disk as it was found by Open.
func (d *Dir) Identity() jobs.Identity { return d.identity }

// Lock takes the lock in the directory, which it makes if it is missing. What is there then is durable.
func (d *Dir) Lock(_ context.Context, holder jobs.Holder) (func(), error) {
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return nil, fmt.Errorf("make the destination directory: %w", err)
	}
	if id, err := btrfs.FileSystemID(d.path); err != nil || id != d.identity.FileSystem {
		return nil, fmt.Errorf("%w: the disk at %s went away just now", jobs.ErrAbsent, d.identity.MountPoint)
	}
	return jobs.LockDir(filepath.Join(d.path, lockFile), d.path, holder)
}

// Close has nothing to close: a directory that is held open could not be unmounted.
func (d *Dir) Close() error { return nil }

// StreamVersion is that of the receiver.
func (d *Dir) StreamVersion(ctx context.Context) (int, error) {
	if d.version != 0 {
		return d.version, nil
	}
	v, err := d.opener.Receiver.StreamVersion(ctx)
	d.version = v
	return v, err
}
