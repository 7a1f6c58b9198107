package fingerprint

import (
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
)

// Difference is one thing in which a subvolume is not as a fingerprint says.
type Difference struct {
	Path string // any bytes; "." is the root
	What string // as said of the subvolume: "is missing", "owner 7:0 instead of 0:0"
}

// maxLost bounds what is remembered of what is missing. Of what is missing beyond that, the path may be cut at the front.
const maxLost = 1 << 16

// differences words what is found, and finds the paths.
type differences struct {
	path   string // of the subvolume
	report func(Difference)

	lostDirs map[uint64]*attributes // that are missing
	lostList []*attributes          // the same, and all else that is, to be reported at the end

	// A range of a file whose content differs and that may go on.
	inode, start, end uint64
}

func (d *differences) differ(inode uint64, format string, args ...any) {
	d.flush()
	d.report(Difference{d.pathOf(inode), fmt.Sprintf(format, args...)})
}

// pathOf gives one path of an inode.
func (d *differences) pathOf(inode uint64) string {
	if inode == rootInode {
		return "."
	}
	names, err := btrfs.Names(d.path, inode)
	if err != nil || len(names) == 0 {
		return fmt.Sprintf("(inode %d)", inode)
	}
	return names[0]
}

// content takes a chunk that differs.
func (d *differences) content(file *attributes, inode, index uint64) {
	start := (index - 1) * chunkSize
	end := min(start+chunkSize, file.size)
	if start >= end {
		return // beyond its end: its size differs
	}
	if d.inode != inode || d.end != start {
		d.flush()
		d.inode, d.start = inode, start
	}
	d.end = end
}

func (d *differences) unreadable(file *attributes, r result) {
	start := (r.index - 1) * chunkSize
	d.differ(r.inode, "cannot be read between byte %d and %d: %v", start, min(start+chunkSize, file.size), r.err)
}

// flush reports the range that went on up to now.
func (d *differences) flush() {
	inode, start, end := d.inode, d.start, d.end
	d.inode, d.start, d.end = 0, 0, 0
	if inode != 0 {
		d.report(Difference{d.pathOf(inode), fmt.Sprintf("content differs between byte %d and %d", start, end)})
	}
}

// lost takes an inode that is missing. It has the path that its directory has, and that may be missing, too, and come later.
func (d *differences) lost(r record) {
	if len(d.lostList) == maxLost {
		d.lostAll()
	}
	if d.lostDirs == nil {
		d.lostDirs = map[uint64]*attributes{}
	}
	if r.attributes.is(unix.S_IFDIR) {
		d.lostDirs[r.inode] = r.attributes
	}
	d.lostList = append(d.lostList, r.attributes)
}

func (d *differences) lostAll() {
	for _, a := range d.lostList {
		path := a.name
		for steps := 0; ; steps++ {
			dir := d.lostDirs[a.dir]
			if dir == nil || steps == maxLost { // a circle, if somebody has made one
				break
			}
			path, a = filepath.Join(dir.name, path), dir
		}
		if a.dir != rootInode {
			path = filepath.Join(d.pathOf(a.dir), path)
		}
		d.report(Difference{path, "is missing"})
	}
	d.lostList, d.lostDirs = nil, nil
}

// finish reports what is left.
func (d *differences) finish() {
	d.flush()
	d.lostAll()
}

// attributes reports in what two that should be the same differ.
func (d *differences) attributes(inode uint64, want, have *attributes) {
	note := func(differ bool, format string, args ...any) {
		if differ {
			d.differ(inode, format, args...)
		}
	}
	kind := want.mode&unix.S_IFMT != have.mode&unix.S_IFMT
	note(kind, "is %s instead of %s", kindOf(have.mode), kindOf(want.mode))
	note(want.mode&^unix.S_IFMT != have.mode&^unix.S_IFMT, "mode %04o instead of %04o", have.mode&^unix.S_IFMT, want.mode&^unix.S_IFMT)
	note(want.uid != have.uid || want.gid != have.gid, "owner %d:%d instead of %d:%d", have.uid, have.gid, want.uid, want.gid)
	note(want.size != have.size, "size %d instead of %d", have.size, want.size)
	note(want.sec != have.sec || want.nsec != have.nsec, "modified %s instead of %s", moment(have), moment(want))
	note(want.rdev != have.rdev, "device %d:%d instead of %d:%d", unix.Major(have.rdev), unix.Minor(have.rdev), unix.Major(want.rdev), unix.Minor(want.rdev))
	note(want.links != have.links, "has %d names instead of %d", have.links, want.links)
	note(want.dir != have.dir || want.name != have.name, "was called %q", want.name)
	note(want.xattrs != have.xattrs, "extended attributes differ")
	switch {
	case kind || want.content == have.content:
	case have.is(unix.S_IFDIR):
		d.differ(inode, "entries are missing, new or others")
	default:
		d.differ(inode, "leads elsewhere")
	}
}

func moment(a *attributes) string {
	return time.Unix(a.sec, int64(a.nsec)).UTC().Format(time.RFC3339Nano)
}

func kindOf(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "a file"
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFLNK:
		return "a symbolic link"
	case unix.S_IFIFO:
		return "a fifo"
	case unix.S_IFSOCK:
		return "a socket"
	}
	return "a device"
}
