package testdisk

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// facts is what a backup must carry of a file besides its content.
type facts struct {
	inode, device uint64
	linked        bool   // it has more than one name
	mode          uint32 // type and permissions
	uid, gid      uint32
	size          int64 // of regular files; a directory's depends on what is nested in it
	mtime         unix.Timespec
	rdev          uint64
	target        string // of a symbolic link
	xattrs        string // names and values, sorted
	record        record
}

// record is what else stat(2) shows. It is not part of a backup, but two receivers of one stream must agree on it.
type record struct {
	inode, links  uint64
	bytes, blocks int64
	atime         unix.Timespec
}

// entry is a name in an open directory. Working relative to open directories
// makes trees comparable that are deeper than PATH_MAX.
type entry struct {
	dir  *os.File
	name string
}

func (e entry) path() string { return e.dir.Name() + "/" + e.name }

// open opens without a trace: atime is not compared, but reading must not
// change what is compared again later.
func (e entry) open(flags int) (*os.File, error) {
	flags |= unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(int(e.dir.Fd()), e.name, flags|unix.O_NOATIME, 0)
	if err == unix.EPERM { // not the owner's
		fd, err = unix.Openat(int(e.dir.Fd()), e.name, flags, 0)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: e.path(), Err: err}
	}
	return os.NewFile(uintptr(fd), e.path()), nil
}

func (e entry) facts() (facts, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(int(e.dir.Fd()), e.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return facts{}, &fs.PathError{Op: "stat", Path: e.path(), Err: err}
	}
	f := facts{
		inode: st.Ino, device: st.Dev, linked: st.Nlink > 1,
		mode: st.Mode, uid: st.Uid, gid: st.Gid, mtime: st.Mtim,
		record: record{st.Ino, st.Nlink, st.Size, st.Blocks, st.Atim},
	}
	var err error
	switch f.mode & unix.S_IFMT {
	case unix.S_IFREG:
		f.size = st.Size
	case unix.S_IFCHR, unix.S_IFBLK:
		f.rdev = st.Rdev
	case unix.S_IFLNK:
		if f.target, err = e.readlink(); err != nil {
			return facts{}, err
		}
	}
	f.xattrs, err = e.xattrs()
	return f, err
}

func (f facts) isDir() bool { return f.mode&unix.S_IFMT == unix.S_IFDIR }

// isSubvolume tells whether what lies in a directory on the given device is
// another subvolume, or the stub with inode 2 that a snapshot has in its place.
// Neither is part of a snapshot.
func (f facts) isSubvolume(device uint64) bool {
	return f.isDir() && (f.inode == 2 || f.device != device)
}

func (f facts) String() string {
	return fmt.Sprintf("mode %o owner %d:%d size %d mtime %d.%09d rdev %d target %q xattrs %q",
		f.mode, f.uid, f.gid, f.size, f.mtime.Sec, f.mtime.Nsec, f.rdev, f.target, f.xattrs)
}

// differences names the facts in which f and g differ.
func (f facts) differences(g facts) []string {
	var out []string
	note := func(what string, differ bool, a, b any) {
		if differ {
			out = append(out, fmt.Sprintf("%s: %v, %v", what, a, b))
		}
	}
	note("mode", f.mode != g.mode, fmt.Sprintf("%o", f.mode), fmt.Sprintf("%o", g.mode))
	note("owner", f.uid != g.uid || f.gid != g.gid, fmt.Sprintf("%d:%d", f.uid, f.gid), fmt.Sprintf("%d:%d", g.uid, g.gid))
	note("size", f.size != g.size, f.size, g.size)
	note("mtime", f.mtime != g.mtime, stamp(f.mtime), stamp(g.mtime))
	note("rdev", f.rdev != g.rdev, f.rdev, g.rdev)
	note("target", f.target != g.target, quote(f.target), quote(g.target))
	note("xattrs", f.xattrs != g.xattrs, quote(f.xattrs), quote(g.xattrs))
	return out
}

func stamp(ts unix.Timespec) string { return fmt.Sprintf("%d.%09d", ts.Sec, ts.Nsec) }

func quote(s string) string {
	if len(s) > 300 {
		return fmt.Sprintf("%q… (%d bytes)", s[:300], len(s))
	}
	return fmt.Sprintf("%q", s)
}

func (e entry) readlink() (string, error) {
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(e.dir.Fd()), e.name, b)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: e.path(), Err: err}
	}
	return string(b[:n]), nil
}

// xattrs returns all names and values in one string. The l* calls know no
// directory descriptors, so the path goes through /proc.
func (e entry) xattrs() (string, error) {
	path := fmt.Sprintf("/proc/self/fd/%d/%s", e.dir.Fd(), e.name)
	list, err := grown(func(b []byte) (int, error) { return unix.Llistxattr(path, b) })
	if err == unix.EOPNOTSUPP {
		return "", nil
	}
	if err != nil {
		return "", &fs.PathError{Op: "listxattr", Path: e.path(), Err: err}
	}
	var out strings.Builder
	for _, name := range xattrNames(list) {
		value, err := grown(func(b []byte) (int, error) { return unix.Lgetxattr(path, name, b) })
		if err != nil {
			return "", &fs.PathError{Op: "getxattr " + name, Path: e.path(), Err: err}
		}
		fmt.Fprintf(&out, "%s=%q ", name, value)
	}
	return out.String(), nil
}

// xattrNames splits what listxattr(2) returns, and sorts it.
func xattrNames(list []byte) []string {
	names := strings.FieldsFunc(string(list), func(r rune) bool { return r == 0 })
	slices.Sort(names)
	return names
}

// grown calls a function of the getxattr family with a buffer that is large enough.
func grown(call func([]byte) (int, error)) ([]byte, error) {
	var small [256]byte
	n, err := call(small[:])
	if err == unix.ERANGE {
		b := make([]byte, 64<<10) // XATTR_SIZE_MAX, XATTR_LIST_MAX
		n, err = call(b)
		if err != nil {
			return nil, err
		}
		return b[:n], nil
	}
	if err != nil {
		return nil, err
	}
	return slices.Clone(small[:n]), nil
}
