package copytree

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// entry is something in the source.
type entry struct {
	at   *level // the directory that it lies in
	name string
	stat unix.Stat_t
	fd   int // open for reading; for what is neither a directory nor a regular file, O_PATH
}

func (e *entry) kind() uint32 { return e.stat.Mode & unix.S_IFMT }

func (e *entry) isDir() bool { return e.kind() == unix.S_IFDIR }

func (e *entry) close() {
	if e.fd >= 0 {
		unix.Close(e.fd)
		e.fd = -1
	}
}

// errNested means a directory that is no part of the source.
var errNested = errors.New("it is a nested subvolume or a mount, which a snapshot does not hold")

// resolve opens the directory that path lies in, and gives the last name. It goes name by name, through no symbolic link: openat2(2) takes no path longer than
// PATH_MAX, and none of the names is "..".
func (c *copier) resolve(root, path string) (parent handle, last string, err error) {
	at, err := openDir(unix.AT_FDCWD, root, 0)
	if err != nil {
		return handle{fd: -1}, "", &fs.PathError{Op: "open", Path: root, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(at.fd, &st); err != nil {
		at.close()
		return handle{fd: -1}, "", &fs.PathError{Op: "stat", Path: root, Err: err}
	}
	c.device = st.Dev
	if path == "." {
		return at, path, nil
	}
	names := split(path)
	shown := root
	for _, name := range names[:len(names)-1] {
		shown += "/" + name
		below, err := c.step(at, name)
		at.close()
		if err != nil {
			return handle{fd: -1}, "", fmt.Errorf("%s: %w", show(shown), err)
		}
		at = below
	}
	return at, names[len(names)-1], nil
}

// step opens a directory on the way to what is copied.
func (c *copier) step(at handle, name string) (handle, error) {
	var st unix.Stat_t
	switch err := unix.Fstatat(at.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err != nil:
		return handle{fd: -1}, err
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return handle{fd: -1}, errors.New("it is a symbolic link, which is not followed")
	case c.nested(&st):
		return handle{fd: -1}, errNested
	}
	return openDir(at.fd, name, unix.O_NOATIME)
}

// nested tells whether a directory is a subvolume of its own, a mount, or the stub with inode 2 that a snapshot has in place of a nested subvolume.
func (c *copier) nested(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFDIR && (st.Dev != c.device || st.Ino == 2)
}

// open opens what has the given name in the source directory of l, without a trace in its time of access. Device nodes and FIFOs are not opened for reading, which
// acts on them.
func (c *copier) open(l *level, name string) (*entry, error) {
	e := &entry{at: l, name: name, fd: -1}
	if err := unix.Fstatat(l.from.fd, name, &e.stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, c.unreadable(e, "stat", err)
	}
	if c.nested(&e.stat) {
		return nil, leftOut{&fs.PathError{Op: "copy", Path: c.sourcePath(e), Err: errNested}}
	}
	flags := unix.O_PATH
	if kind := e.kind(); kind == unix.S_IFREG || kind == unix.S_IFDIR {
		flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOATIME
	}
	fd, err := openat(l.from.fd, name, flags|unix.O_NOFOLLOW)
	if err != nil {
		return nil, c.unreadable(e, "open", err)
	}
	e.fd = fd
	was := e.kind()
	if err = unix.Fstat(fd, &e.stat); err == nil && e.kind() != was {
		err = errors.New("it has become something else")
	}
	if err != nil {
		e.close()
		return nil, c.unreadable(e, "stat", err)
	}
	return e, nil
}
