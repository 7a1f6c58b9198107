package sendstream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
)

// errNoSubvolume means that the file system has no read-only subvolume that a stream can mean by a UUID, or that it cannot be opened.
var errNoSubvolume = errors.New("there is no read-only subvolume with this UUID, received or its own")

// subvolumes finds what a stream speaks of among the subvolumes of the file system that dir is on.
type subvolumes struct {
	dir    int
	all    []btrfs.Subvolume // nil until it is needed
	within btrfs.Dir
	above  []btrfs.Dir // the directories above it, on the same file system, the nearest first

	confined bool // to what is in dir, and these
	also     []btrfs.UUID
}

// open opens the root of the subvolume that a stream calls id.
func (v *subvolumes) open(id btrfs.UUID) (int, error) {
	if err := v.list(); err != nil {
		return -1, err
	}
	err := errNoSubvolume
	for _, candidate := range v.candidates(id) {
		fd, failed := v.openCandidate(candidate)
		if failed == nil {
			return fd, nil
		}
		err = fmt.Errorf("%w: %w", errNoSubvolume, failed)
	}
	return -1, fmt.Errorf("%s: %w", id, err)
}

func (v *subvolumes) list() (err error) {
	if v.all != nil {
		return nil
	}
	if v.within, err = btrfs.LocateDir(fdPath(v.dir)); err != nil {
		return err
	}
	if v.above, err = above(v.dir); err != nil {
		return err
	}
	v.all, err = btrfs.List(fdPath(v.dir))
	return err
}

// above are the directories above that of fd as far as they are on its file system.
func above(fd int) (dirs []btrfs.Dir, err error) {
	path, err := os.Readlink(fdPath(fd))
	if err != nil {
		return nil, err
	}
	own, err := btrfs.FileSystemID(fdPath(fd))
	if err != nil {
		return nil, err
	}
	for path != "/" {
		path = filepath.Dir(path)
		if id, err := btrfs.FileSystemID(path); err != nil || id != own {
			break
		}
		d, err := btrfs.LocateDir(path)
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, d)
	}
	return dirs, nil
}

// candidates gives the subvolumes that id may mean, best first. The sender names a subvolume by its received UUID if it has one, so that here
// it may be known by either. One in the destination directory is preferred, then one in the nearest directory above: any user who owns a subvolume can give it any received UUID,
// but not put it there. Of equal ones it is the oldest, as in btrfs receive.
func (v *subvolumes) candidates(id btrfs.UUID) []btrfs.Subvolume {
	var all []btrfs.Subvolume
	for _, s := range v.all {
		if v.confined && !v.within.Holds(s) && !slices.Contains(v.also, s.UUID) {
			continue
		}
		// The content of a writable one may be anything by now.
		if s.ReadOnly && !id.IsZero() && (s.ReceivedUUID == id || s.UUID == id) {
			all = append(all, s)
		}
	}
	rank := func(s btrfs.Subvolume) int {
		rank := 0
		if !v.within.Holds(s) {
			rank = 2 * (1 + len(v.above))
			if i := slices.IndexFunc(v.above, func(d btrfs.Dir) bool { return d.Holds(s) }); i >= 0 {
				rank = 2 * (1 + i)
			}
		}
		if s.ReceivedUUID != id {
			rank++
		}
		return rank
	}
	slices.SortStableFunc(all, func(a, b btrfs.Subvolume) int { return rank(a) - rank(b) })
	return all
}

// openCandidate opens s by its name if it is in the directory, else by its id.
func (v *subvolumes) openCandidate(s btrfs.Subvolume) (int, error) {
	if v.within.Holds(s) {
		if fd, err := openSubvolume(v.dir, s.Name); err == nil {
			if err := stillIs(fd, s); err == nil {
				return fd, nil
			}
			unix.Close(fd) // it was renamed since it was listed
		}
	}
	fd, err := openByID(v.dir, s.ID)
	if err != nil {
		return -1, err
	}
	if err := stillIs(fd, s); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// stillIs gives an error if what is open is not s, or s is writable by now.
func stillIs(fd int, s btrfs.Subvolume) error {
	now, err := btrfs.Info(fdPath(fd))
	if err != nil {
		return errnoOf(err)
	}
	if now.UUID != s.UUID || !now.ReadOnly {
		return fmt.Errorf("subvolume %d has changed", s.ID)
	}
	return nil
}

// openByID opens the root of a subvolume wherever it is, also where no mount shows it, by the file handle that btrfs would give for it:
// FILEID_BTRFS_WITHOUT_PARENT with inode, subvolume id and generation, of which 0 stands for any.
func openByID(beside int, id uint64) (int, error) {
	const fileidBtrfsWithoutParent = 0x4d
	handle := binary.NativeEndian.AppendUint64(nil, rootInode)
	handle = binary.NativeEndian.AppendUint64(handle, id)
	handle = binary.NativeEndian.AppendUint32(handle, 0)
	fd, err := unix.OpenByHandleAt(beside, unix.NewFileHandle(fileidBtrfsWithoutParent, handle), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open subvolume %d by its file handle: %w", id, err)
	}
	return fd, nil
}
