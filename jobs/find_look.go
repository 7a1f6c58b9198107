package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
)

// look looks for patterns in one subvolume, never out of it, through a symbolic link or into a mount.
type look struct {
	skip     string // the directory of our own snapshots, which patterns do not match
	seen     []sight
	hidden   []string // what could not be looked at, with everything below it
	why      error    // of the first
	lookedAt int
}

type sight struct {
	path    string
	fact    *fact
	pattern int
}

// into looks into the subvolume, which is not deleted meanwhile. Errors: btrfs.ErrInUse and ENOENT if it is gone, others if it cannot be looked into at all.
func (l *look) into(ctx context.Context, p place, patterns []pattern) error {
	release, err := btrfs.Hold(p.path, p.id)
	if err != nil {
		return err
	}
	defer release()
	root, err := unix.Open(p.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", p.path, err)
	}
	defer unix.Close(root)
	for i, wanted := range patterns {
		dir := root
		if wanted.prefix != "" {
			if dir, err = openBeneath(root, wanted.prefix, unix.O_PATH|unix.O_DIRECTORY); err != nil {
				l.missed(wanted.prefix, err)
				continue
			}
		}
		l.walk(ctx, dir, wanted.prefix, wanted, i, wanted.start())
		if dir != root {
			unix.Close(dir)
		}
	}
	// Nobody else has to respect the hold, and in what is deleted no file is found.
	if now, err := btrfs.Info(p.path); err != nil {
		return err
	} else if now.UUID != p.id {
		return fmt.Errorf("%s: %w", p.path, fs.ErrNotExist)
	}
	return ctx.Err()
}

func (l *look) walk(ctx context.Context, dir int, at string, p pattern, number int, active []int) {
	names := p.literals(active)
	if names == nil {
		var err error
		if names, err = readNames(dir); err != nil {
			l.missed(at, err)
		}
		l.lookedAt += len(names)
	}
	for _, name := range names {
		child := path.Join(at, name)
		below, match := p.advance(active, name)
		if !match && below == nil || p.glob && child == l.skip || ctx.Err() != nil {
			continue
		}
		l.entry(dir, name, child, func(fd int, st *unix.Statx_t) {
			if match {
				f, err := readFact(fd, st)
				if err != nil {
					l.missed(child, err)
					return
				}
				l.seen = append(l.seen, sight{child, f, number})
			}
			if below != nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
				l.walk(ctx, fd, child, p, number, below)
			}
		})
	}
}

// emptySubvolume is the inode number of the directory that stands for a nested subvolume in a snapshot: BTRFS_EMPTY_SUBVOL_DIR_OBJECTID. A backup has none.
const emptySubvolume = 2

// entry calls use with what is at name, opened as a place: neither does opening it act on a device, nor is a link followed.
func (l *look) entry(dir int, name, path string, use func(fd int, st *unix.Statx_t)) {
	l.lookedAt++
	fd, err := openBeneath(dir, name, unix.O_PATH)
	if err != nil {
		l.missed(path, err)
		return
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st); err != nil {
		l.missed(path, err)
		return
	}
	if st.Ino != emptySubvolume {
		use(fd, &st)
	}
}

// missed notes what could not be looked at, unless it is just not there.
func (l *look) missed(path string, err error) {
	if slices.ContainsFunc([]error{
		unix.ENOENT, unix.ENOTDIR, unix.ENAMETOOLONG,
		unix.ELOOP, // a symbolic link on the way
		unix.EXDEV, // a mount
	}, func(e error) bool { return errors.Is(err, e) }) {
		return
	}
	if l.hidden = append(l.hidden, path); l.why == nil {
		l.why = fmt.Errorf("%q: %w", path, err)
	}
}

func openBeneath(dir int, path string, flags uint64) (int, error) {
	return unix.Openat2(dir, path, &unix.OpenHow{
		Flags:   flags | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
}

func readNames(dir int) ([]string, error) {
	fd, err := openBeneath(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "directory")
	defer f.Close()
	return f.Readdirnames(-1)
}
