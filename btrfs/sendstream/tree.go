package sendstream

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// tree is a subvolume in which the paths of a stream are resolved: never out of it, through a symbolic link or into a mount. The path of a
// stream is resolved up to its last name, in one openat2(2); the system calls for that name do not follow it. No file is opened in a subvolume within
// it, which is no mount to openat2: what is sent has none.
//
// Directories are kept open, because a stream speaks of the files of one directory together.
type tree struct {
	root *dir
	dev  uint64 // of all files of the subvolume
	open []*dir // the last used is the last
	wish string // of who owns the disk: see [wish]
}

// dir is an open directory.
type dir struct {
	path string // "" is the root
	fd   int
	heir *heir // nil until it is needed
}

const openDirs = 16

// newTree takes the root over, which is closed with it, also if there is an error.
func newTree(root int) (*tree, error) {
	t := &tree{root: &dir{fd: root}}
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		t.close()
		return nil, err
	}
	t.dev = st.Dev
	return t, nil
}

func (t *tree) close() {
	for _, d := range append(t.open, t.root) {
		unix.Close(d.fd)
	}
	t.open = nil
}

// parent gives the directory that path lies in and its name there; "." in itself for the root.
func (t *tree) parent(path string) (*dir, string, error) {
	if path == "" {
		return t.root, ".", nil
	}
	slash := strings.LastIndexByte(path, '/')
	if slash < 0 {
		return t.root, path, nil
	}
	d, err := t.dir(path[:slash])
	return d, path[slash+1:], err
}

func (t *tree) dir(path string) (*dir, error) {
	for i := len(t.open) - 1; i >= 0; i-- {
		if d := t.open[i]; d.path == path {
			t.open = append(slices.Delete(t.open, i, i+1), d)
			return d, nil
		}
	}
	fd, err := unix.Openat2(t.root.fd, path, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(t.open) == openDirs {
		unix.Close(t.open[0].fd)
		t.open = slices.Delete(t.open, 0, 1)
	}
	d := &dir{path: path, fd: fd}
	t.open = append(t.open, d)
	return d, nil
}

// forget closes path and what lies below it, which is being renamed or removed.
func (t *tree) forget(path string) {
	t.open = slices.DeleteFunc(t.open, func(d *dir) bool {
		if !below(d.path, path) {
			return false
		}
		unix.Close(d.fd)
		return true
	})
}

// regular opens a regular file. Anything else is refused before it is opened: a stream can make device nodes, and opening one acts on the device.
func (t *tree) regular(path string, flags int) (int, error) {
	d, name, err := t.parent(path)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return -1, errNotRegular
	}
	if st.Dev != t.dev {
		return -1, unix.EXDEV
	}
	return unix.Openat(d.fd, name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

var errNotRegular = errors.New("not a regular file")

// at opens whatever path names, for calls that take a path: what it gives leads to that inode, even to a symbolic link.
func (t *tree) at(path string, call func(path string) error) error {
	d, name, err := t.parent(path)
	if err != nil {
		return err
	}
	fd, err := unix.Openat(d.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return call(fdPath(fd))
}
