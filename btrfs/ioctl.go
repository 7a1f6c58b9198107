package btrfs

import (
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
		runtime.KeepAlive(arg)
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// openDir opens a directory on btrfs, through symbolic links, and gives its inode number. A descriptor that only serves
// ioctls changes no access time, so it does not count as a change of the subvolume.
func openDir(path string) (fd int, inode uint64, err error) {
	fd, err = openat(unix.AT_FDCWD, path, 0)
	if err != nil {
		return -1, 0, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	inode, err = btrfsInode(fd)
	if err != nil {
		unix.Close(fd)
		return -1, 0, fmt.Errorf("%s: %w", path, err)
	}
	return fd, inode, nil
}

// openSubvolume is openDir for the root of a subvolume.
func openSubvolume(path string) (fd int, err error) {
	fd, inode, err := openDir(path)
	if err != nil {
		return -1, err
	}
	if inode != rootDirInode {
		unix.Close(fd)
		return -1, fmt.Errorf("%s: %w", path, ErrNotSubvolume)
	}
	return fd, nil
}

// openChild opens the subvolume called name in the directory dirfd, never through a symbolic link.
func openChild(dirfd int, name string) (fd int, err error) {
	fd, err = openat(dirfd, name, unix.O_NOFOLLOW)
	if err == unix.ENOTDIR || err == unix.ELOOP {
		return -1, ErrNotSubvolume
	}
	if err != nil {
		return -1, err
	}
	inode, err := btrfsInode(fd)
	if err == nil && inode != rootDirInode {
		err = ErrNotSubvolume
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func openat(dirfd int, path string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|flags, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func btrfsInode(fd int) (uint64, error) {
	var vfs unix.Statfs_t
	if err := unix.Fstatfs(fd, &vfs); err != nil {
		return 0, fmt.Errorf("statfs: %w", err)
	}
	if uint32(vfs.Type) != superMagic {
		return 0, ErrNotBtrfs
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("stat: %w", err)
	}
	return st.Ino, nil
}

// checkName accepts what one directory entry can be called: any bytes, at most 255 of them.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%q cannot name a subvolume", name)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("subvolume name %q contains a slash or a zero byte", name)
	case len(name) > maxName:
		return fmt.Errorf("subvolume name %q: %w", name, unix.ENAMETOOLONG)
	}
	return nil
}
