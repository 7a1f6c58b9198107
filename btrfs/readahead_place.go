package btrfs

import (
	"bytes"
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"
)

// position is a place in the order of a send: everything before this offset of this inode is behind it.
type position struct {
	inode  uint64
	offset int64
}

// place follows a send stream, to know where in the tree it is. The reader of the stream tells what passes; one other may ask.
type place struct {
	subvolume int           // open
	full      bool          // every file is made by the stream
	moved     chan struct{} // has something in it after each move

	skip int    // bytes until the next command begins
	head []byte // of a command that is not all there yet
	now  seenAt // by the command before

	mu   sync.Mutex
	last seenAt // by the last command of what has passed

	asked seenAt // what was told last
}

// seenAt is what a stream tells of where it is: the inode where it makes a file, a path where it fills one.
type seenAt struct {
	inode  uint64
	path   []byte
	offset int64
}

const (
	streamHeaderSize  = 17
	commandHeaderSize = 10
	// placeSize is enough of a command to know its path, offset and inode: they come before the data.
	placeSize = commandHeaderSize + 2*(4+8) + 4 + 4096

	cmdMkfile       = 3
	cmdWrite        = 15
	cmdClone        = 16
	cmdEncodedWrite = 25

	attrIno        = 3
	attrPath       = 15
	attrFileOffset = 18
	attrData       = 19
)

func newPlace(subvolume int, full bool) *place {
	return &place{subvolume: subvolume, full: full, moved: make(chan struct{}, 1), skip: streamHeaderSize}
}

// passed takes the next part of the stream.
func (s *place) passed(p []byte) {
	moved := false
	for len(p) > 0 {
		if s.skip > 0 {
			n := min(s.skip, len(p))
			s.skip -= n
			p = p[n:]
			continue
		}
		n := min(s.missing(), len(p))
		s.head = append(s.head, p[:n]...)
		p = p[n:]
		if s.missing() == 0 {
			moved = s.command() || moved
			s.skip = commandHeaderSize + s.payload() - len(s.head)
			s.head = s.head[:0]
		}
	}
	if moved {
		s.mu.Lock()
		s.last.set(s.now)
		s.mu.Unlock()
		select {
		case s.moved <- struct{}{}:
		default:
		}
	}
}

func (s *place) payload() int { return int(binary.LittleEndian.Uint32(s.head)) }

// missing gives how many bytes of the head of the command are not there yet.
func (s *place) missing() int {
	if len(s.head) < commandHeaderSize {
		return commandHeaderSize - len(s.head)
	}
	switch binary.LittleEndian.Uint16(s.head[4:]) {
	case cmdMkfile, cmdWrite, cmdClone, cmdEncodedWrite:
		return min(commandHeaderSize+s.payload(), placeSize) - len(s.head)
	}
	return 0
}

// command takes the place out of the head of a command, if it tells one.
func (s *place) command() bool {
	if len(s.head) == commandHeaderSize {
		return false
	}
	le := binary.LittleEndian
	var path []byte
	var offset int64
	var inode uint64
	for b := s.head[commandHeaderSize:]; len(b) >= 4; {
		attr, n := le.Uint16(b), int(le.Uint16(b[2:]))
		if attr == attrData || len(b) < 4+n {
			break
		}
		value := b[4 : 4+n]
		b = b[4+n:]
		switch {
		case attr == attrPath:
			path = value
		case attr == attrFileOffset && n == 8:
			offset = int64(le.Uint64(value))
		case attr == attrIno && n == 8:
			inode = le.Uint64(value)
		}
	}
	switch {
	case inode != 0:
		s.now.set(seenAt{inode: inode})
	case s.full: // of the inode that was made last
		s.now.offset = offset
	case bytes.Equal(s.now.path, path):
		s.now.offset = offset
	default:
		s.now.set(seenAt{path: path, offset: offset})
	}
	return true
}

// set copies from.
func (a *seenAt) set(from seenAt) {
	a.inode, a.offset, a.path = from.inode, from.offset, append(a.path[:0], from.path...)
}

// position tells where the stream is; where that is not known, as in a directory that has not its final name yet, where it was before.
func (s *place) position() position {
	s.mu.Lock()
	now := s.last
	known := now.inode != 0 || bytes.Equal(now.path, s.asked.path)
	if !known {
		s.asked.path = append(s.asked.path[:0], now.path...)
	}
	s.mu.Unlock()
	switch {
	case now.inode != 0:
		s.asked.inode, s.asked.path = now.inode, s.asked.path[:0]
	case !known:
		inode, err := inodeBeneath(s.subvolume, string(s.asked.path))
		if err != nil {
			s.asked.path = s.asked.path[:0]
			return position{s.asked.inode, s.asked.offset}
		}
		s.asked.inode = inode
	}
	s.asked.offset = now.offset
	return position{s.asked.inode, s.asked.offset}
}

// inodeBeneath gives the number of an inode of the subvolume, found through no symbolic link.
func inodeBeneath(subvolume int, path string) (uint64, error) {
	fd, err := unix.Openat2(subvolume, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	return st.Ino, err
}
