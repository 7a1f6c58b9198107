package sendstream

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
)

// destination is where the subvolume goes. The stream's own name for it is not used: who sends must not choose where it is written.
type destination struct {
	fd   int
	name string
}

// begin makes the subvolume: empty, or a writable snapshot of the parent.
func (s *session) begin(c *Command) error {
	s.id, s.ctransid = c.UUID(AttrUUID), c.Uint(AttrCtransid)
	if s.id.IsZero() {
		// A received UUID of zero means that nothing was received.
		return errors.New("the subvolume sent has no UUID, as those made by mkfs before btrfs-progs 4.16: send a snapshot of it")
	}
	var err error
	if c.Cmd == CmdSubvol {
		err = errnoOf(btrfs.Create(fdPath(s.destination.fd), s.destination.name))
	} else {
		err = s.snapshot(c.UUID(AttrCloneUUID))
	}
	if err != nil {
		return err
	}
	return s.open()
}

// open opens what was made.
func (s *session) open() error {
	fd, err := openSubvolume(s.destination.fd, s.destination.name)
	if err != nil {
		return err
	}
	if s.tree, err = newTree(fd); err != nil {
		return err
	}
	if s.tree.wish, err = wish(s.destination.fd); err != nil {
		return fmt.Errorf("properties of the destination: %w", err)
	}
	return nil
}

func (s *session) snapshot(parent btrfs.UUID) error {
	fd, err := s.subvolumes.open(parent)
	if errors.Is(err, errNoSubvolume) {
		return fmt.Errorf("%w: %w", btrfs.ErrParentMissing, err)
	}
	if err != nil {
		return fmt.Errorf("find the parent: %w", err)
	}
	defer unix.Close(fd)
	if err := btrfs.Snapshot(fdPath(fd), fdPath(s.destination.fd), s.destination.name, false); err != nil {
		return fmt.Errorf("snapshot of the parent %s: %w", parent, errnoOf(err))
	}
	return nil
}

// resume is begin where an earlier session has begun.
func (s *session) resume(from Checkpoint) error {
	s.id, s.ctransid = from.UUID, from.Ctransid
	s.in.resume(from)
	return s.open()
}

// openSubvolume opens the root of the subvolume called name in a directory.
func openSubvolume(dir int, name string) (int, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open subvolume %s: %w", name, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Ino != rootInode {
		unix.Close(fd)
		return -1, fmt.Errorf("open subvolume %s: %w", name, errors.Join(err, btrfs.ErrNotSubvolume))
	}
	return fd, nil
}

// rootInode is the inode number of every subvolume's root directory, BTRFS_FIRST_FREE_OBJECTID.
const rootInode = 256

// below reports whether path is dir or lies in it.
func below(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && (rest == "" || rest[0] == '/')
}
