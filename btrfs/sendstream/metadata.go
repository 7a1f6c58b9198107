package sendstream

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/filetime"
)

func (s *session) chown(c *Command) error {
	uid, gid := int(uint32(c.Uint(AttrUID))), int(uint32(c.Uint(AttrGID)))
	if s.file.is(c.Bytes(AttrPath)) {
		return s.file.chown(uid, gid)
	}
	d, name, err := s.tree.parent(c.Path())
	if err != nil {
		return err
	}
	return unix.Fchownat(d.fd, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

// chown leaves alone what has that owner from its making: asking costs a tenth of a change, which writes the inode anew.
func (f *file) chown(uid, gid int) error {
	if f.bare {
		var st unix.Stat_t
		if err := unix.Fstat(f.fd, &st); err == nil && st.Uid == uint32(uid) && st.Gid == uint32(gid) {
			return nil
		}
	}
	return unix.Fchown(f.fd, uid, gid)
}

// chmod never follows a symbolic link: those have no mode, and no kernel sends one for them.
func (s *session) chmod(c *Command) error {
	mode := uint32(c.Uint(AttrMode)) & 0o7777
	s.file.bare = false
	if s.file.is(c.Bytes(AttrPath)) {
		return unix.Fchmod(s.file.fd, mode)
	}
	d, name, err := s.tree.parent(c.Path())
	if err != nil {
		return err
	}
	err = unix.Fchmodat(d.fd, name, mode, unix.AT_SYMLINK_NOFOLLOW)
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	return s.tree.chmodAt(c.Path(), mode) // before Linux 6.6 the flag is not known
}

// chmodAt is for what has been looked at: by its name, something else could have come into its place.
func (t *tree) chmodAt(path string, mode uint32) error {
	return t.at(path, func(path string) error {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return unix.EOPNOTSUPP
		}
		return unix.Chmod(path, mode)
	})
}

// utimes sets the times of access and modification; those of change and creation cannot be set.
func (s *session) utimes(c *Command) error {
	times := [2]filetime.Time{fileTime(c.Time(AttrAtime)), fileTime(c.Time(AttrMtime))}
	if s.file.is(c.Bytes(AttrPath)) {
		return filetime.Set(s.file.fd, "", times, 0)
	}
	d, name, err := s.tree.parent(c.Path())
	if err != nil {
		return err
	}
	return filetime.Set(d.fd, name, times, unix.AT_SYMLINK_NOFOLLOW)
}

func fileTime(t Timespec) filetime.Time { return filetime.Time{Sec: t.Sec, Nsec: int64(t.Nsec)} }

func (s *session) setXattr(c *Command) error {
	name, value := c.Text(AttrXattrName), c.Bytes(AttrXattrData)
	s.file.bare = false
	if s.file.is(c.Bytes(AttrPath)) {
		return unix.Fsetxattr(s.file.fd, name, value, 0)
	}
	path := c.Path()
	s.tree.xattrsChanged(path)
	return s.tree.at(path, func(path string) error { return unix.Setxattr(path, name, value, 0) })
}

func (s *session) removeXattr(c *Command) error {
	name := c.Text(AttrXattrName)
	if s.file.is(c.Bytes(AttrPath)) {
		return unix.Fremovexattr(s.file.fd, name)
	}
	path := c.Path()
	s.tree.xattrsChanged(path)
	return s.tree.at(path, func(path string) error { return unix.Removexattr(path, name) })
}
