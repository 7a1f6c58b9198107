package copytree

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/filetime"
)

// metadata gives a copy the owner, extended attributes, mode and times of its source, in this order: a new owner takes set-user-ID bits and capabilities away, and
// a new ACL changes the mode.
//
// What the target does not have is noted. Symbolic links and other files that cannot be opened come as O_PATH descriptors, which these calls take with an empty path, or
// through /proc.
func (c *copier) metadata(e *entry, from, to int) error {
	mode := e.stat.Mode & 0o7777
	if err := unix.Fchownat(to, "", int(e.stat.Uid), int(e.stat.Gid), unix.AT_EMPTY_PATH); err != nil {
		if !lacks(err) {
			return c.refused(e, "chown", err)
		}
		c.note(e, fmt.Sprintf("owners were not kept, nor set-user-ID bits, which would be those of another user: %v", err))
		mode &= 0o1777
	}
	if err := c.xattrs(e, from, to); err != nil {
		return err
	}
	if e.kind() != unix.S_IFLNK { // which have none
		if err := unix.Fchmodat(unix.AT_FDCWD, procPath(to), mode, 0); err != nil {
			if !lacks(err) {
				return c.refused(e, "chmod", err)
			}
			c.note(e, fmt.Sprintf("modes were not kept: %v", err))
		}
	}
	times, err := filetime.Of(from, "", unix.AT_EMPTY_PATH, &e.stat)
	if err != nil {
		return c.refused(e, "stat", err)
	}
	if err := filetime.Set(to, "", times, unix.AT_EMPTY_PATH); err != nil {
		if !lacks(err) {
			return c.refused(e, "utimensat", err)
		}
		c.note(e, fmt.Sprintf("times were not kept: %v", err))
	}
	return nil
}

// lacks tells whether an error means that the target does not have such a thing, not that it is broken.
func lacks(err error) bool {
	switch err {
	case unix.EPERM, unix.EACCES, unix.EINVAL, unix.EOPNOTSUPP, unix.ENOTTY, unix.ENOSYS, unix.E2BIG, unix.ERANGE:
		return true
	}
	return false
}

// procPath leads to the very inode of a descriptor, even to a symbolic link.
func procPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// xattrs makes the extended attributes of to those of from.
func (c *copier) xattrs(e *entry, from, to int) error {
	fromPath, toPath := procPath(from), procPath(to)
	want, err := c.listXattrs(fromPath)
	if err != nil {
		return c.unreadable(e, "listxattr", err)
	}
	for _, name := range want {
		n, err := unix.Getxattr(fromPath, name, c.buffer)
		if err != nil {
			return c.unreadable(e, "getxattr "+name, err)
		}
		if err := unix.Setxattr(toPath, name, c.buffer[:n], 0); err != nil {
			if !lacks(err) && (err != unix.ENOSPC || full(to)) {
				return c.refused(e, "setxattr "+name, err)
			}
			c.note(e, fmt.Sprintf("extended attributes %s were not kept: %v", family(name), err))
		}
	}
	have, err := c.listXattrs(toPath)
	if err != nil && !lacks(err) {
		return c.refused(e, "listxattr", err)
	}
	for _, name := range have {
		if slices.Contains(want, name) || !removable(name) {
			continue
		}
		if err := unix.Removexattr(toPath, name); err != nil && err != unix.ENODATA {
			if !lacks(err) {
				return c.refused(e, "removexattr "+name, err)
			}
			c.note(e, fmt.Sprintf("extended attributes %s, which the source does not have, stayed: %v", family(name), err))
		}
	}
	return nil
}

// listXattrs gives the names of extended attributes; those of a file system that has none are none.
func (c *copier) listXattrs(path string) ([]string, error) {
	n, err := unix.Listxattr(path, c.buffer)
	if err == unix.EOPNOTSUPP {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(string(c.buffer[:n]), func(r rune) bool { return r == 0 }), nil
}

// removable tells whether what a new file has inherited, or an old directory had, goes where the source does not have it. What a security module or a file system of
// another kind gives every file stays.
func removable(name string) bool {
	namespace, _, _ := strings.Cut(name, ".")
	return namespace == "user" || namespace == "trusted" || namespace == "btrfs" || strings.HasPrefix(name, "system.posix_acl_")
}

// family names attributes in a note: users may invent any number of their own.
func family(name string) string {
	namespace, _, _ := strings.Cut(name, ".")
	if namespace == "user" || namespace == "trusted" {
		return namespace + ".*"
	}
	return name
}

// full tells that space is short, and not just the place that ext4 has for the attributes of one file, for which it has the same error.
func full(fd int) bool {
	const btrfsMagic, enough = 0x9123683e, 1 << 20
	var st unix.Statfs_t
	err := unix.Fstatfs(fd, &st)
	return err != nil || uint32(st.Type) == btrfsMagic || st.Bfree*uint64(st.Bsize) < enough || st.Files > 0 && st.Ffree == 0
}

// Inode flags, FS_*_FL of linux/fs.h. The kernel sets others by itself.
const (
	flagSync, flagImmutable, flagAppend, flagNoDump, flagNoAtime = 0x8, 0x10, 0x20, 0x40, 0x80
	flagDirSync, flagNoCOW                                       = 0x10000, 0x800000

	flagsKept   = flagSync | flagNoDump | flagNoAtime | flagDirSync | flagNoCOW
	flagsFrozen = flagImmutable | flagAppend
)

// flags gives a file, which must be empty for that, or a directory the inode flags of its source.
func (c *copier) flags(e *entry, from, to int) {
	want, _ := unix.IoctlGetUint32(from, unix.FS_IOC_GETFLAGS) // none where the file system has none
	have, _ := unix.IoctlGetUint32(to, unix.FS_IOC_GETFLAGS)
	if want&flagsFrozen != 0 {
		c.note(e, "flags immutable and append-only were not kept: the copy can be changed")
	}
	all := have&^flagsKept | want&flagsKept
	if all == have {
		return
	}
	if err := unix.IoctlSetPointerInt(to, unix.FS_IOC_SETFLAGS, int(all)); err == nil {
		return
	}
	// Only btrfs has this one.
	if rest := all &^ flagNoCOW; rest != have {
		if err := unix.IoctlSetPointerInt(to, unix.FS_IOC_SETFLAGS, int(rest)); err != nil {
			c.note(e, fmt.Sprintf("inode flags, such as nodump, were not kept: %v", err))
		}
	}
	if want&flagNoCOW != 0 {
		c.note(e, "the flag nodatacow was not kept")
	}
}
