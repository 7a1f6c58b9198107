package jobs

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/btrfs/sendstream/diff"
)

// fact is what a file says of itself.
type fact struct {
	kind           diff.Type
	size           int64 // of regular files
	mtime          sendstream.Timespec
	mode, uid, gid uint32
	device         [2]uint32
	target         string // of a symbolic link
	xattrs         string // all, with their values
}

// readFact reads what there is at fd. That of another snapshot cannot stand for it where the times of an inode are the same: the kernel's clock for these ticks some
// hundred times a second.
func readFact(fd int, st *unix.Statx_t) (*fact, error) {
	f := &fact{
		kind: kindOf(st.Mode), mtime: sendstream.Timespec{Sec: st.Mtime.Sec, Nsec: st.Mtime.Nsec}, mode: uint32(st.Mode) & 0o7777, uid: st.Uid, gid: st.Gid,
		device: [2]uint32{st.Rdev_major, st.Rdev_minor},
	}
	var err error
	switch f.kind {
	case diff.File:
		f.size = int64(st.Size)
	case diff.Symlink:
		target := make([]byte, unix.PathMax)
		var n int
		if n, err = unix.Readlinkat(fd, "", target); err != nil {
			return nil, fmt.Errorf("read the link: %w", err)
		}
		f.target = string(target[:n])
	}
	if f.xattrs, err = readXattrs(fd); err != nil {
		return nil, fmt.Errorf("read xattrs: %w", err)
	}
	return f, nil
}

func kindOf(mode uint16) diff.Type {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return diff.File
	case unix.S_IFDIR:
		return diff.Directory
	case unix.S_IFLNK:
		return diff.Symlink
	case unix.S_IFIFO:
		return diff.FIFO
	case unix.S_IFSOCK:
		return diff.Socket
	}
	return diff.Device
}

// readXattrs gives names and values, sorted. Nothing can be asked of what is opened as a place only, but by its name in /proc.
func readXattrs(fd int) (string, error) {
	at := fmt.Sprintf("/proc/self/fd/%d", fd)
	list, err := grown(func(b []byte) (int, error) { return unix.Listxattr(at, b) })
	if err != nil || len(list) == 0 {
		return "", err
	}
	names := strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00")
	slices.Sort(names)
	var all strings.Builder
	for _, name := range names {
		value, err := grown(func(b []byte) (int, error) { return unix.Getxattr(at, name, b) })
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&all, "%s\x00%d\x00%s", name, len(value), value)
	}
	return all.String(), nil
}

// grown calls read with a buffer that is large enough: the kernel says what is too small by ERANGE, and has at most 64 KiB to give.
func grown(read func([]byte) (int, error)) ([]byte, error) {
	b := make([]byte, 256)
	n, err := read(b)
	if err == unix.ERANGE {
		b = make([]byte, 64<<10)
		n, err = read(b)
	}
	return b[:max(n, 0)], err
}

func (f *fact) octal() string { return fmt.Sprintf("%04o", f.mode) }

// changeFrom compares with what the path was in an older snapshot.
func (f *fact) changeFrom(old *fact) string {
	switch {
	case f.kind != old.kind, f.size != old.size, f.mtime != old.mtime, f.target != old.target, f.device != old.device:
		return ChangeChanged
	case len(f.metadataFrom(old)) > 0:
		return ChangeMetadata
	}
	return ChangeSame
}

// metadataFrom names what of the metadata changed.
func (f *fact) metadataFrom(old *fact) []string {
	changed := []string{}
	if f.mode != old.mode {
		changed = append(changed, "mode")
	}
	if f.uid != old.uid || f.gid != old.gid {
		changed = append(changed, "owner")
	}
	if f.xattrs != old.xattrs {
		changed = append(changed, "xattr")
	}
	return changed
}
