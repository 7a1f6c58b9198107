package diff

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/filetime"
)

// tree is one of the two snapshots, for what the stream does not tell. Of files, only their metadata is read.
type tree struct {
	path string
	fd   int
}

func openTree(path string) (tree, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return tree{}, fmt.Errorf("open %s: %w", path, err)
	}
	return tree{path, fd}, nil
}

func (t tree) close() { unix.Close(t.fd) }

// stat also gives the time of modification, of which st may have a half only.
func (t tree) stat(path string) (st unix.Stat_t, mtime filetime.Time, err error) {
	const flags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_EMPTY_PATH
	if err := unix.Fstatat(t.fd, path, &st, flags); err != nil {
		return st, mtime, fmt.Errorf("stat %q: %w", path, err)
	}
	times, err := filetime.Of(t.fd, path, flags, &st)
	if err != nil {
		return st, mtime, fmt.Errorf("times of %q: %w", path, err)
	}
	return st, times[1], nil
}

// xattr gives the value of an xattr; nil if there is none.
func (t tree) xattr(path, name string) ([]byte, error) {
	value := make([]byte, 64<<10) // XATTR_SIZE_MAX
	n, err := unix.Lgetxattr(filepath.Join(t.path, path), name, value)
	if errors.Is(err, unix.ENODATA) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s of %q: %w", name, path, err)
	}
	return value[:n], nil
}

const noCompression = 0x400 // FS_NOCOMP_FL of linux/fs.h

// attributes gives the flags of chattr(1) of a regular file or directory, without the one that the kernel sets by itself on what it could not
// compress. FS_IOC_GETFLAGS.
func (t tree) attributes(path string) (int, error) {
	if path == "" {
		path = "."
	}
	fd, err := unix.Openat(t.fd, path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open %q: %w", path, err)
	}
	defer unix.Close(fd)
	flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return 0, fmt.Errorf("%q: FS_IOC_GETFLAGS: %w", path, err)
	}
	return flags &^ noCompression, nil
}
