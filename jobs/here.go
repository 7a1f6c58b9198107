package jobs

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
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// Here is the Origin on this machine: of a job whose source is a path.
//
// It is for one run at a time, which holds the job's locks unless it only looks.
type Here struct {
	Sending
	job  config.Job
	zone *time.Location
	seen Look // the last one
}

var _ Origin = (*Here)(nil)

// NewHere makes the Origin of a job; only its source, the directory and names of its snapshots, and what it wants of them are looked at. zone is where snapshots are named after local time.
func NewHere(job config.Job, zone *time.Location) *Here { return &Here{job: job, zone: zone} }

// Look lists the file system anew, and refuses what could not be backed up right.
func (h *Here) Look(context.Context) (Look, error) {
	var l Look
	var err error
	if err = h.inPlace(); err != nil {
		return l, err
	}
	if l.Volume, err = btrfs.Info(h.job.Source); err != nil {
		return l, sourceError(h.job.Source, err)
	}
	if !l.Volume.ReadOnly && !l.Volume.ReceivedUUID.IsZero() {
		return l, hintf("make a clean copy and use that: btrfs subvolume snapshot SOURCE COPY clears the received UUID",
			"source %s is writable but carries a received UUID: every snapshot of it would pass for something it is not", h.job.Source)
	}
	if l.FileSystem, err = btrfs.Stat(h.job.Source); err != nil {
		return l, fmt.Errorf("source %s: %w", h.job.Source, err)
	}
	if l.Dir, err = h.locateDir(l.FileSystem.ID); err != nil {
		return l, err
	}
	if l.All, err = btrfs.List(h.job.Source); err != nil {
		return l, fmt.Errorf("list subvolumes of %s: %w", h.job.Source, err)
	}
	if l.Dir != (btrfs.Dir{}) {
		if l.Catalog, err = catalog.Read(h.job.SnapshotDir); err != nil {
			return l, err
		}
	}
	l.Machine = Machine()
	h.seen = l
	return l, nil
}

// inPlace refuses a member of a group that is not where its pattern has found it: whoever may rename things there could have put a link to somebody else's subvolume in its place.
func (h *Here) inPlace() error {
	if !h.job.Matched {
		return nil
	}
	real, err := filepath.EvalSymlinks(h.job.Source)
	if err != nil {
		return sourceError(h.job.Source, err)
	}
	if real != h.job.Source {
		return hintf("name the real path as a source", "source %q of a group is reached through a symbolic link, which could lead anywhere", h.job.Source)
	}
	return nil
}

// Machine is this installation, machine-id(5); empty where there is none.
func Machine() string {
	b, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func sourceError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return hintf("is its file system mounted?", "source %s does not exist", path)
	case errors.Is(err, btrfs.ErrNotBtrfs):
		return hintf("btrkeep backs up btrfs subvolumes only; is the right file system mounted there?", "source %s is not on btrfs", path)
	case errors.Is(err, btrfs.ErrNotSubvolume):
		return hintf("name the subvolume that holds it, or turn the directory into one: btrfs subvolume create NEW; cp -a --reflink OLD/. NEW", "source %s is a plain directory, not a subvolume", path)
	}
	return fmt.Errorf("source %s: %w", path, err)
}

// locateDir finds the snapshot directory. The default one inside the source may be missing before the first run; one that was named must be there,
// since a missing one is more often a file system that is not mounted than a wish for a new directory.
func (h *Here) locateDir(fsys btrfs.UUID) (at btrfs.Dir, err error) {
	dir := h.job.SnapshotDir
	st, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && h.defaultDir():
		return at, nil
	case errors.Is(err, fs.ErrNotExist):
		return at, hintf("make it with: mkdir -m 0700 "+dir, "snapshot directory %s does not exist", dir)
	case err != nil:
		return at, fmt.Errorf("snapshot directory: %w", err)
	case !st.IsDir():
		return at, hintf("a symbolic link there could lead anywhere; name the real directory as snapshot_dir", "snapshot directory %s is not a directory", dir)
	}
	if sys := st.Sys().(*syscall.Stat_t); h.defaultDir() && (int(sys.Uid) != os.Geteuid() || st.Mode().Perm()&0o022 != 0) {
		// Whoever owns the source may put a directory of their own there, and names of their choice into it.
		return at, hintf("look at what is in it, then: chown root "+dir+" && chmod 0700 "+dir, "snapshot directory %s can be written by others than root", dir)
	}
	if id, err := btrfs.FileSystemID(dir); err != nil || id != fsys {
		return at, hintf("a snapshot can only be made on the file system of its source", "snapshot directory %s is not on the file system of %s", dir, h.job.Source)
	}
	if at, err = btrfs.LocateDir(dir); err != nil {
		return at, fmt.Errorf("snapshot directory %s: %w", dir, err)
	}
	return at, nil
}

// defaultDir reports whether snapshots lie in the source, in a directory that btrkeep makes.
func (h *Here) defaultDir() bool {
	return h.job.SnapshotDir == filepath.Join(h.job.Source, config.DefaultSnapshotDir)
}

// makeDir makes the default snapshot directory before the first snapshot.
func (h *Here) makeDir() error {
	if h.seen.Dir != (btrfs.Dir{}) {
		return nil
	}
	if err := os.Mkdir(h.job.SnapshotDir, 0o700); err != nil {
		return fmt.Errorf("make the snapshot directory: %w", err)
	}
	var err error
	h.seen.Dir, err = h.locateDir(h.seen.FileSystem.ID)
	return err
}
