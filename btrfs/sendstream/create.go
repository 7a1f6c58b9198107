package sendstream

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// inode is one to be made.
type inode struct {
	cmd    Cmd
	path   string
	target string // of a symbolic link
	mode   uint32
	rdev   uint64
}

// create makes a file, directory or other inode.
//
// The kernel has each made under a temporary name in the root, as o<inode>-<generation>-<n>, and renamed at once. Where that is the very
// next command, it is made under its name: that saves the renaming, which is a third of the time that a small file costs.
func (s *session) create(c *Command) error {
	n := inode{cmd: c.Cmd, path: c.Path(), target: c.Text(AttrPathLink), mode: uint32(c.Uint(AttrMode)), rdev: c.Uint(AttrRdev)}
	if next, err := s.in.Next(); err == nil { // n holds copies: c is gone. An error comes again when the next one is asked for
		if next.Cmd == CmdRename && next.Path() == n.path {
			final := n
			final.path = next.Text(AttrPathTo)
			if made, err := s.createFinal(final); err != nil {
				return fmt.Errorf("%s: %w", final.path, err)
			} else if made {
				return nil
			}
		}
		s.ahead = next
	}
	if err := s.make(n); err != nil {
		return fmt.Errorf("%s: %w", n.path, err)
	}
	return nil
}

// createFinal reports false where a new file would be another one than a renamed one: it would replace something.
func (s *session) createFinal(n inode) (bool, error) {
	err := s.make(n)
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	return err == nil, err
}

// make makes the inode for its owner alone. Its mode and owner follow in the stream.
func (s *session) make(n inode) error {
	d, name, err := s.tree.parent(n.path)
	if err != nil {
		return err
	}
	switch n.cmd {
	case CmdMkfile:
		err = s.file.create(d, name, n.path)
	case CmdMkdir:
		err = unix.Mkdirat(d.fd, name, 0o700)
	case CmdMknod:
		if n.rdev > 1<<32-1 {
			return unix.EINVAL
		}
		err = unix.Mknodat(d.fd, name, n.mode&unix.S_IFMT, int(n.rdev))
	case CmdMkfifo:
		err = unix.Mknodat(d.fd, name, unix.S_IFIFO|0o600, 0)
	case CmdMksock:
		err = unix.Mknodat(d.fd, name, unix.S_IFSOCK|0o600, 0)
	case CmdSymlink:
		err = unix.Symlinkat(n.target, d.fd, name)
	}
	if err != nil || n.cmd == CmdSymlink {
		return err
	}
	h, err := d.inherited()
	if err != nil {
		return err
	}
	return s.tree.disinherit(n, h)
}
