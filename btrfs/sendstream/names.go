package sendstream

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// rename keeps the open file open, and forgets the directories whose paths change.
func (s *session) rename(c *Command) error {
	from, to := c.Path(), c.Text(AttrPathTo)
	if err := s.twoNames(from, to, unix.Renameat); err != nil {
		return fmt.Errorf("to %s: %w", to, err)
	}
	s.tree.forget(from)
	s.tree.forget(to)
	switch {
	case s.file.path == from:
		s.file.path = to
	case below(s.file.path, from) || below(s.file.path, to):
		s.file.close()
	}
	return nil
}

func (s *session) link(c *Command) error {
	from := c.Text(AttrPathLink)
	err := s.twoNames(from, c.Path(), func(fromDir int, fromName string, toDir int, toName string) error {
		return unix.Linkat(fromDir, fromName, toDir, toName, 0)
	})
	if err != nil {
		return fmt.Errorf("of %s: %w", from, err)
	}
	return nil
}

func (s *session) twoNames(from, to string, call func(int, string, int, string) error) error {
	fromDir, fromName, err := s.tree.parent(from)
	if err != nil {
		return err
	}
	toDir, toName, err := s.tree.parent(to) // this leaves the first open: the least lately used goes
	if err != nil {
		return err
	}
	return call(fromDir.fd, fromName, toDir.fd, toName)
}

// remove unlinks a name; flags are those of unlinkat(2).
func (s *session) remove(c *Command, flags int) error {
	path := c.Path()
	d, name, err := s.tree.parent(path)
	if err != nil {
		return err
	}
	if err := unix.Unlinkat(d.fd, name, flags); err != nil {
		return err
	}
	s.tree.forget(path)
	if s.file.path == path {
		s.file.close()
	}
	return nil
}
