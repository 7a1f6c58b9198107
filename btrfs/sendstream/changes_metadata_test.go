package sendstream

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func (s *shaper) xattr() error {
	path := s.any()
	names := []string{"user.a", "user.b", "trusted.t", "user." + strings.Repeat("x", 250)}
	name := names[s.number("xattr", len(names))]
	switch n := s.number("value", 6); n {
	case 0:
		return unix.Lremovexattr(path, name)
	case 1:
		return unix.Lsetxattr(path, name, nil, 0)
	case 2:
		return unix.Lsetxattr(path, name, make([]byte, 3000), 0)
	default:
		return unix.Lsetxattr(path, name, []byte{byte(n), 0}, 0)
	}
}

func (s *shaper) capability() error {
	value := make([]byte, 20) // vfs_cap_data of revision 2, with one capability
	value[0], value[3], value[5] = 1, 2, byte(s.number("capability", 256))
	return unix.Lsetxattr(s.file(), "security.capability", value, 0)
}

func (s *shaper) acl() error {
	switch s.number("acl", 4) {
	case 0:
		return unix.Setxattr(s.dir(), xattrACLDefault, defaultACL, 0)
	case 1:
		return unix.Setxattr(s.file(), xattrACLAccess, defaultACL, 0)
	case 2:
		return unix.Removexattr(s.dir(), xattrACLDefault)
	}
	return unix.Setxattr(s.dir(), xattrACLAccess, defaultACL, 0)
}

// property has a file, or what will be in a directory, compressed in one way or not at all. The root's would count for all that btrfs receive makes.
func (s *shaper) property() error {
	path := s.any()
	switch n := s.number("property", 5); n {
	case 0:
		return unix.Removexattr(path, xattrCompression)
	default:
		return unix.Setxattr(path, xattrCompression, []byte([]string{"zlib", "lzo", "zstd", "none"}[n-1]), 0)
	}
}

func (s *shaper) chmod() error {
	return unix.Fchmodat(unix.AT_FDCWD, s.any(), uint32(s.number("mode", 0o10000)), unix.AT_SYMLINK_NOFOLLOW)
}

func (s *shaper) chown() error {
	return os.Lchown(s.any(), s.number("uid", 70_000), s.number("gid", 3))
}

func (s *shaper) times() error {
	ts := unix.Timespec{Sec: int64(s.number("seconds", 1<<33)) - 1<<31, Nsec: int64(s.number("nanoseconds", 1e9))}
	return unix.UtimesNanoAt(unix.AT_FDCWD, s.any(), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// flags sets or clears those of chattr(1). They are not received, but must not disturb.
func (s *shaper) flags() error {
	flags := []int{0, flagImmutable, flagAppend, flagNoDump | flagNoAtime, flagNoCOW, flagCompress, flagSync}
	return setFlags(s.any(), flags[s.number("flags", len(flags))])
}

// FS_*_FL of linux/fs.h.
const (
	flagCompress  = 0x4
	flagSync      = 0x8
	flagImmutable = 0x10
	flagAppend    = 0x20
	flagNoDump    = 0x40
	flagNoAtime   = 0x80
	flagNoCOW     = 0x800000
)

func setFlags(path string, flags int) error {
	f, err := os.OpenFile(path, unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
}
