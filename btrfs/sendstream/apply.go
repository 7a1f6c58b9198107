package sendstream

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// apply does what one command says. It may read the next one.
func (s *session) apply(c *Command) error {
	switch c.Cmd {
	case CmdSubvol, CmdSnapshot:
		return s.begin(c)
	case CmdMkfile, CmdMkdir, CmdMknod, CmdMkfifo, CmdMksock, CmdSymlink:
		return s.create(c)
	}
	if err := s.change(c); err != nil {
		return fmt.Errorf("%s: %w", c.Path(), err)
	}
	return nil
}

// change is apply for what exists.
func (s *session) change(c *Command) error {
	switch c.Cmd {
	case CmdRename:
		return s.rename(c)
	case CmdLink:
		return s.link(c)
	case CmdUnlink:
		return s.remove(c, 0)
	case CmdRmdir:
		return s.remove(c, unix.AT_REMOVEDIR)
	case CmdWrite:
		return s.write(c)
	case CmdEncodedWrite:
		return s.encodedWrite(c)
	case CmdClone:
		return s.clone(c)
	case CmdTruncate:
		return s.truncate(c)
	case CmdFallocate:
		return s.fallocate(c)
	case CmdChmod:
		return s.chmod(c)
	case CmdChown:
		return s.chown(c)
	case CmdUtimes:
		return s.utimes(c)
	case CmdSetXattr:
		return s.setXattr(c)
	case CmdRemoveXattr:
		return s.removeXattr(c)
	case CmdFileattr:
		// The flags are those of the inode item, not of FS_IOC_SETFLAGS, and some (immutable, append-only) would stop what
		// follows. btrfs receive leaves them out too, so a backup is the same whoever received it.
		return nil
	case CmdEnableVerity:
		return s.enableVerity(c)
	case CmdUpdateExtent:
		// btrfs receive accepts these, and files of zeros become a subvolume that looks complete.
		return errors.New("the stream was made without file data (btrfs send --no-data)")
	}
	return corrupt("it cannot be applied")
}
