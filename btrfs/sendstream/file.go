package sendstream

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
)

// file is the regular file that the last commands were about, kept open: streams go file by file.
type file struct {
	path string
	fd   int // -1 if there is none

	// It was made by the stream and has had no mode and no xattr since: there is nothing that a change of the owner would clear.
	bare bool

	from, to int64 // written in one go, and not yet on its way to the disk
}

// flushBytes is how much of a file is written before it is sent to the disk. Else all waits there for the sync at the end (a machine with much memory
// leaves it alone for half a minute), and the disk for that. Less makes more extents.
const flushBytes = 16 << 20

// wrote begins to write back what was written, without waiting for it. sync_file_range(2); that it fails is told by the sync.
func (f *file) wrote(offset int64, n int) {
	if offset != f.to {
		f.from = offset
	}
	f.to = offset + int64(n)
	if f.to-f.from >= flushBytes {
		_ = unix.SyncFileRange(f.fd, f.from, f.to-f.from, unix.SYNC_FILE_RANGE_WRITE)
		f.from = f.to
	}
}

func (f *file) close() {
	if f.fd >= 0 {
		unix.Close(f.fd)
		f.fd = -1
	}
}

// is reports whether the open file is the one at path.
func (f *file) is(path []byte) bool { return f.fd >= 0 && f.path == string(path) }

func (f *file) create(d *dir, name, path string) error {
	fd, err := unix.Openat(d.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f.close()
	*f = file{path: path, fd: fd, bare: true}
	return nil
}

// openFile gives the file at c's path, open for writing.
func (s *session) openFile(c *Command) (int, error) {
	if s.file.is(c.Bytes(AttrPath)) {
		return s.file.fd, nil
	}
	path := c.Path()
	fd, err := s.tree.regular(path, unix.O_RDWR)
	if err != nil {
		return -1, err
	}
	s.file.close()
	s.file = file{path: path, fd: fd}
	return fd, nil
}

func (s *session) write(c *Command) error {
	fd, err := s.openFile(c)
	if err != nil {
		return err
	}
	data, offset := c.Bytes(AttrData), int64(c.Uint(AttrFileOffset))
	if err := pwrite(fd, data, offset); err != nil {
		return err
	}
	s.file.wrote(offset, len(data))
	return nil
}

func pwrite(fd int, data []byte, offset int64) error {
	for len(data) > 0 {
		n, err := unix.Pwrite(fd, data, offset)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		data, offset = data[n:], offset+int64(n)
	}
	return nil
}

func (s *session) truncate(c *Command) error {
	fd, err := s.openFile(c)
	if err != nil {
		return err
	}
	return unix.Ftruncate(fd, int64(c.Uint(AttrSize)))
}

func (s *session) fallocate(c *Command) error {
	fd, err := s.openFile(c)
	if err != nil {
		return err
	}
	return unix.Fallocate(fd, uint32(c.Uint(AttrFallocateMode)), int64(c.Uint(AttrFileOffset)), int64(c.Uint(AttrSize)))
}

// clone shares a range of another file, of this subvolume or of another one. FICLONERANGE.
func (s *session) clone(c *Command) error {
	to, err := s.openFile(c)
	if err != nil {
		return err
	}
	tree, err := s.source(c.UUID(AttrCloneUUID))
	if err != nil {
		return err
	}
	from, err := tree.regular(c.Text(AttrClonePath), unix.O_RDONLY)
	if err == nil {
		err = unix.IoctlFileCloneRange(to, &unix.FileCloneRange{
			Src_fd: int64(from), Src_offset: c.Uint(AttrCloneOffset), Src_length: c.Uint(AttrCloneLen), Dest_offset: c.Uint(AttrFileOffset),
		})
		unix.Close(from)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("clone from %s: %w", c.Text(AttrClonePath), err)
	if tree != s.tree {
		// What bears the right UUID has not the right content.
		err = fmt.Errorf("%w: %w", btrfs.ErrCloneSource, err)
	}
	return err
}

// source gives the subvolume that a stream clones from.
func (s *session) source(id btrfs.UUID) (*tree, error) {
	if id == s.id {
		return s.tree, nil
	}
	if t, ok := s.sources[id]; ok {
		return t, nil
	}
	fd, err := s.subvolumes.open(id)
	if errors.Is(err, errNoSubvolume) {
		return nil, fmt.Errorf("%w: %w", btrfs.ErrCloneSource, err)
	}
	if err != nil {
		return nil, fmt.Errorf("find the clone source: %w", err)
	}
	if s.sources == nil {
		s.sources = map[btrfs.UUID]*tree{}
	}
	t, err := newTree(fd)
	if err != nil {
		return nil, err
	}
	s.sources[id] = t
	return t, nil
}
