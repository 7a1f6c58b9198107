package content

import (
	"bytes"
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// listing is the names in a directory, sorted by their bytes. It is compact, as there may be millions.
type listing struct {
	text    []byte
	entries []entry
}

type entry struct {
	at  int // in text
	len uint8
	typ uint8 // DT_REG and so on
}

// Of struct linux_dirent64, getdents64(2).
const (
	direntReclen = 16
	direntType   = 18
	direntName   = 19
)

func (l *listing) len() int            { return len(l.entries) }
func (l *listing) name(e entry) []byte { return l.text[e.at : e.at+int(e.len)] }

// list reads the directory that was just opened as fd.
func list(fd int, buffer []byte) (listing, error) {
	var l listing
	for {
		n, err := unix.Getdents(fd, buffer)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return listing{}, err
		}
		if n <= 0 {
			break
		}
		for rest := buffer[:n]; len(rest) > direntName; {
			size := binary.NativeEndian.Uint16(rest[direntReclen:])
			name, _, _ := bytes.Cut(rest[direntName:size], []byte{0})
			if string(name) != "." && string(name) != ".." {
				l.entries = append(l.entries, entry{at: len(l.text), len: uint8(len(name)), typ: rest[direntType]})
				l.text = append(l.text, name...)
			}
			rest = rest[size:]
		}
	}
	slices.SortFunc(l.entries, func(a, b entry) int { return bytes.Compare(l.name(a), l.name(b)) })
	for i, e := range l.entries {
		if e.typ != unix.DT_UNKNOWN {
			continue
		}
		st, err := statAt(fd, string(l.name(e)))
		if err != nil {
			return listing{}, err
		}
		l.entries[i].typ = uint8(st.Mode & unix.S_IFMT >> 12) // IFTODT of dirent.h
	}
	return l, nil
}

func statAt(fd int, name string) (st unix.Stat_t, err error) {
	for {
		if err = unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != unix.EINTR {
			return st, err
		}
	}
}

// openAt opens for reading without a trace.
func openAt(fd int, name string, flags int) (int, error) {
	flags |= unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	for {
		file, err := unix.Openat(fd, name, flags|unix.O_NOATIME, 0)
		if err == unix.EPERM { // not the owner's
			file, err = unix.Openat(fd, name, flags, 0)
		}
		if err != unix.EINTR {
			return file, err
		}
	}
}
