package copytree

import (
	"errors"

	"golang.org/x/sys/unix"
)

// level is a directory of the source beside what becomes of it. The levels from the top to where the walk is make a list, however deep: of most only the
// lowest are open.
type level struct {
	up    *level
	name  string // in up
	depth int    // 0 is where the copied thing itself lies
	from  handle
	next  int64 // where the reading of from goes on
	to    handle
	over  handle // what to will be laid over; closed where there is nothing

	within string // at the top: the path in what is copied
	stage  *stage // that to lies in
	pinned bool   // it stays open: the target of the level below lies in another stage, from where no ".." leads here
}

// openLevels is how many levels, the lowest, are open.
const openLevels = 32

// handle is an open directory that can be recognized.
type handle struct {
	fd int // -1 if it is closed for the time being
	id identity
}

// identity tells directories apart, and bind mounts of one.
type identity struct {
	mount uint64
	minor uint32
	major uint32
	ino   uint64
}

// openDir opens a directory; relative to another one, through no symbolic link.
func openDir(at int, name string, flags int) (handle, error) {
	if at != unix.AT_FDCWD {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|flags)
	if err != nil {
		return handle{fd: -1}, err
	}
	h, err := identify(fd)
	if err != nil {
		unix.Close(fd)
	}
	return h, err
}

func identify(fd int) (handle, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_MNT_ID, &st); err != nil {
		return handle{fd: -1}, err
	}
	return handle{fd, identity{mount: st.Mnt_id, major: st.Dev_major, minor: st.Dev_minor, ino: st.Ino}}, nil
}

// openat leaves the time of access alone where the caller wants that and is allowed to.
func openat(at int, name string, flags int) (int, error) {
	flags |= unix.O_CLOEXEC
	for {
		fd, err := unix.Openat(at, name, flags, 0)
		switch {
		case err == unix.EPERM && flags&unix.O_NOATIME != 0: // not the owner's
			flags &^= unix.O_NOATIME
		case err != unix.EINTR:
			return fd, err
		}
	}
}

func (h *handle) close() {
	if h.fd >= 0 {
		unix.Close(h.fd)
		h.fd = -1
	}
}

// reopen opens h again, as what lies above a directory in it.
func (h *handle) reopen(below handle) error {
	again, err := openDir(below.fd, "..", unix.O_NOATIME)
	if err != nil {
		return err
	}
	if again.id != h.id {
		again.close()
		return errors.New("a directory was moved away while it was copied")
	}
	h.fd = again.fd
	return nil
}

// sameMount tells whether files can be renamed from one to the other.
func (h handle) sameMount(other handle) bool {
	return h.id.mount == other.id.mount && h.id.major == other.id.major && h.id.minor == other.id.minor
}

// below makes the level of a directory and closes the one that is too far up. It takes e's descriptor.
func (l *level) below(e *entry, to handle) (*level, error) {
	from, err := identify(e.fd)
	if err != nil {
		return nil, err
	}
	e.fd = -1
	l.park()
	return &level{up: l, name: e.name, depth: l.depth + 1, from: from, to: to, over: handle{fd: -1}, stage: l.stage}, nil
}

// park closes the level that is too far up from l.
func (l *level) park() {
	far := l
	for range openLevels - 1 {
		if l, far = far, far.up; far == nil {
			return
		}
	}
	if far.depth == 0 || far.pinned {
		return
	}
	far.from.close()
	far.to.close()
	if l.over.id != (identity{}) { // else nothing leads back
		far.over.close()
	}
}

// leave closes l and opens the one above again if that was closed.
func (l *level) leave() error {
	defer l.close()
	if l.up.from.fd >= 0 {
		return nil
	}
	if err := l.up.from.reopen(l.from); err != nil {
		return err
	}
	if _, err := unix.Seek(l.up.from.fd, l.up.next, unix.SEEK_SET); err != nil {
		return err
	}
	if l.over.id != (identity{}) && l.up.over.fd < 0 {
		if err := l.up.over.reopen(l.over); err != nil {
			return err
		}
	}
	return l.up.to.reopen(l.to)
}

func (l *level) close() {
	l.from.close()
	l.to.close()
	l.over.close()
}

// names gives the next names in the source directory, none at its end. Directories may be larger than memory.
func (l *level) names() ([]string, error) {
	names, err := nextNames(l.from.fd)
	if err == nil {
		l.next, err = unix.Seek(l.from.fd, 0, unix.SEEK_CUR)
	}
	return names, err
}

func nextNames(fd int) ([]string, error) {
	var buffer [8 << 10]byte
	for {
		n, err := unix.ReadDirent(fd, buffer[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return nil, err
		}
		// A part may have nothing but "." and "..", which are left out.
		if _, _, names := unix.ParseDirent(buffer[:n], -1, nil); len(names) > 0 {
			return names, nil
		}
	}
}
