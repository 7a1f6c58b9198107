package btrfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"

	"golang.org/x/sys/unix"
)

// segment is a range of a file that has data.
type segment struct {
	start, end  uint64
	disk        uint64 // where the extent begins; 0: data in the inode
	place       uint64 // of the file's first byte in the extent, if it went on to there
	compression byte
	inline      []byte // size, compression and data
}

// segment reads a file extent item; the segment of a hole and of a preallocated range is empty.
func (it item) segment() (segment, error) {
	le, d := binary.LittleEndian, it.data
	if len(d) < extentInlineData || d[extentType] != extentInline && len(d) < extentSize {
		return segment{}, fmt.Errorf("the item of an extent of inode %d at %d has %d bytes", it.objectID, it.offset, len(d))
	}
	s := segment{start: it.offset, end: it.offset}
	switch {
	case d[extentType] == extentInline:
		s.end, s.inline = it.offset+le.Uint64(d[extentRAMBytes:]), d[extentRAMBytes:]
	case d[extentType] == extentRegular && le.Uint64(d[extentDiskBytenr:]) != 0:
		s.end, s.disk = it.offset+le.Uint64(d[extentNumBytes:]), le.Uint64(d[extentDiskBytenr:])
		s.place, s.compression = le.Uint64(d[extentOffset:])-it.offset, d[extentCompression]
	}
	if s.end < s.start {
		return segment{}, fmt.Errorf("an extent of inode %d at %d is too long", it.objectID, it.offset)
	}
	return s, nil
}

// same reports whether two segments hold the same where they overlap.
func (s segment) same(b segment) bool {
	return s.disk == b.disk && s.place == b.place && s.compression == b.compression && bytes.Equal(s.inline, b.inline)
}

// baseFile goes through the segments of a file in the base. The zero value has none.
type baseFile struct {
	size    uint64
	pull    func() (item, error, bool)
	stop    func()
	current segment // what is not yet dealt with
}

// open begins with a file; was is false if the base has none that is the same.
func (b *baseFile) open(fd int, tree uint64, inode Inode) (was bool, err error) {
	b.pull, b.stop = iter.Pull2(search(fd, inodeItems(tree, inode.Number, inode.Number)))
	it, err, more := b.pull()
	var old Inode
	if more && err == nil && it.typ == inodeItemKey {
		old, err = it.inodeItem()
	}
	if err != nil || old.Generation != inode.Generation || !old.is(unix.S_IFREG) {
		b.close()
		return false, err
	}
	b.size = old.Size
	return true, nil
}

func (b *baseFile) close() {
	if b.stop != nil {
		b.stop()
	}
	*b = baseFile{}
}

// at gives the segment that holds the place, from there on, or the next one behind it; an empty one if there is none. What is before the place is dealt with.
func (b *baseFile) at(place uint64) (segment, error) {
	for b.current.end <= max(place, b.current.start) { // that of a preallocated range is empty
		if b.pull == nil {
			return segment{}, nil
		}
		it, err, more := b.pull()
		switch {
		case err != nil:
			return segment{}, err
		case !more:
			b.close()
		case it.typ == extentDataKey:
			if b.current, err = it.segment(); err != nil {
				return segment{}, err
			}
		}
	}
	b.current.start = max(b.current.start, place)
	return b.current, nil
}

// next takes what the base has up to end; an empty segment if there is nothing.
func (b *baseFile) next(end uint64) (segment, error) {
	s, err := b.at(b.current.start)
	if err != nil || s.start >= end {
		return segment{}, err
	}
	s.end = min(s.end, end)
	b.current.start = s.end
	return s, nil
}
