package content

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

func typeName(typ uint8) string {
	switch typ {
	case unix.DT_REG:
		return "file"
	case unix.DT_DIR:
		return "directory"
	case unix.DT_LNK:
		return "symbolic link"
	case unix.DT_FIFO:
		return "fifo"
	case unix.DT_SOCK:
		return "socket"
	}
	return "device"
}

// compareStat compares what stat(2) tells of two things of one type.
func (c *comparison) compareStat(d *dir, name string, a, b *unix.Stat_t) {
	differ := func(what string, a, b any) { c.differ(d, name, "%s %v instead of %v", what, b, a) }
	if a.Mode != b.Mode {
		differ("mode", fmt.Sprintf("%04o", a.Mode&0o7777), fmt.Sprintf("%04o", b.Mode&0o7777))
	}
	if a.Uid != b.Uid || a.Gid != b.Gid {
		differ("owner", fmt.Sprintf("%d:%d", a.Uid, a.Gid), fmt.Sprintf("%d:%d", b.Uid, b.Gid))
	}
	if a.Mtim != b.Mtim {
		differ("time", stamp(a.Mtim), stamp(b.Mtim))
	}
	typ := a.Mode & unix.S_IFMT
	if typ == unix.S_IFREG && a.Size != b.Size {
		differ("size", a.Size, b.Size)
	}
	if (typ == unix.S_IFCHR || typ == unix.S_IFBLK) && a.Rdev != b.Rdev {
		differ("device", device(a.Rdev), device(b.Rdev))
	}
	if typ != unix.S_IFDIR && a.Nlink != b.Nlink {
		differ("number of names", a.Nlink, b.Nlink)
	}
}

func stamp(ts unix.Timespec) string { return time.Unix(ts.Unix()).UTC().Format(time.RFC3339Nano) }

func device(n uint64) string { return fmt.Sprintf("%d:%d", unix.Major(n), unix.Minor(n)) }

// dirFacts compares directories themselves.
func (w *walker) dirFacts(d *dir) {
	var st [2]unix.Stat_t
	for side := range st {
		if err := unix.Fstat(d.fd[side], &st[side]); err != nil {
			w.trouble(d, "", side, "stat", err)
			return
		}
	}
	if d.up == nil { // its time is that of the receiving, when new files passed through it under temporary names
		st[have].Mtim = st[want].Mtim
	}
	w.compareStat(d, "", &st[want], &st[have])
	w.compareXattrs(d, "", open(d.fd))
}

// special compares what is neither a file nor a directory.
func (w *worker) special(d *dir, name string) {
	var st [2]unix.Stat_t
	for side := range st {
		var err error
		if st[side], err = statAt(d.fd[side], name); err != nil {
			w.trouble(d, name, side, "stat", err)
			return
		}
	}
	w.compareStat(d, name, &st[want], &st[have])
	w.compareXattrs(d, name, closed{d.fd, name})
	if st[want].Mode&unix.S_IFMT != unix.S_IFLNK {
		return
	}
	var target [2]string
	for side := range target {
		n, err := unix.Readlinkat(d.fd[side], name, w.buffer[side][:])
		if err != nil {
			w.trouble(d, name, side, "readlink", err)
			return
		}
		target[side] = string(w.buffer[side][:n])
	}
	if target[want] != target[have] {
		w.differ(d, name, "points to %q instead of %q", target[have], target[want])
	}
}
