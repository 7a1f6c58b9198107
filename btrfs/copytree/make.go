package copytree

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// make makes what is no directory.
func (c *copier) make(e *entry, name string) error {
	to := e.at.to.fd
	if e.kind() == unix.S_IFREG {
		return c.makeFile(e, name)
	}
	var err error
	if e.kind() == unix.S_IFLNK {
		target := c.buffer[:unix.PathMax]
		n, readErr := unix.Readlinkat(e.fd, "", target)
		if readErr != nil {
			return c.unreadable(e, "readlink", readErr)
		}
		err = unix.Symlinkat(string(target[:n]), to, name)
	} else {
		err = unix.Mknodat(to, name, e.kind()|0o600, int(e.stat.Rdev))
	}
	if err != nil {
		return c.refused(e, "make", err)
	}
	fd, err := openat(to, name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return c.refused(e, "open", err)
	}
	defer unix.Close(fd)
	return c.metadata(e, e.fd, fd)
}

// makeFile makes a regular file. Its flags come before its data, which can share no blocks otherwise; its metadata comes after, because writing and a new
// owner take capabilities and set-user-ID bits away.
func (c *copier) makeFile(e *entry, name string) error {
	fd, err := unix.Openat(e.at.to.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return c.refused(e, "create", err)
	}
	c.flags(e, e.fd, fd)
	shared, err := c.data(e, fd)
	if err == nil {
		err = c.metadata(e, e.fd, fd)
	}
	// Some file systems, such as NFS, tell here that there is no space.
	if closed := unix.Close(fd); err == nil && closed != nil {
		err = c.refused(e, "close", closed)
	}
	if err == nil {
		c.summary.Bytes += e.stat.Size
		c.summary.Shared += shared
	}
	return err
}

// linkAgain makes another name of a file that was copied before.
func (c *copier) linkAgain(e *entry, name string) (done bool, err error) {
	s := e.at.stage
	if s.links < 0 {
		return false, nil
	}
	number := inodeName(e)
	switch err := unix.Linkat(s.links, number, e.at.to.fd, name, 0); err {
	case nil:
		c.count(e)
		return true, nil
	case unix.ENOENT:
		return false, nil
	case unix.EMLINK:
		c.note(e, "files with more names than the target allows were split")
		_ = unix.Unlinkat(s.links, number, 0) // the new copy takes its place
		return false, nil
	default:
		return false, c.refused(e, "link", err)
	}
}

// remember gives a file with several names one more in the stage, to make the others from: however many there are, memory does not hold them, and however deep
// they lie, they are found.
func (c *copier) remember(e *entry, name string) {
	s := e.at.stage
	err := s.openLinks()
	if err == nil {
		err = unix.Linkat(e.at.to.fd, name, s.links, inodeName(e), 0)
	}
	if err != nil {
		c.note(e, "hard links became files of their own: "+err.Error())
	}
}

func inodeName(e *entry) string { return strconv.FormatUint(e.stat.Ino, 10) }
