package btrfs

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"unsafe"
)

// An item is one entry of a tree. Its data is only valid until the next one is asked for.
type item struct {
	objectID uint64
	typ      uint32
	offset   uint64
	data     []byte
}

// search walks the items of a tree between two keys, compared as (objectid, type, offset) as a whole: what lies in between
// but is of another type comes along. With minTransid, leaves that have not changed since are skipped without being read.
// BTRFS_IOC_TREE_SEARCH_V2.
func search(fd int, key searchKey) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		args := &searchArgs{key: key}
		for {
			args.key.nrItems = math.MaxUint32
			args.bufSize = uint64(len(args.buf))
			if err := ioctl(fd, iocTreeSearchV2, unsafe.Pointer(args)); err != nil {
				yield(item{}, fmt.Errorf("BTRFS_IOC_TREE_SEARCH_V2 of tree %d: %w", key.treeID, err))
				return
			}
			if args.key.nrItems == 0 {
				return
			}
			var last searchHeader
			for pos, n := 0, args.key.nrItems; n > 0; n-- {
				last = decodeSearchHeader(args.buf[pos:])
				pos += int(unsafe.Sizeof(last))
				data := args.buf[pos : pos+int(last.len)]
				pos += int(last.len)
				if !yield(item{last.objectID, last.typ, last.offset, data}, nil) {
					return
				}
			}
			if !args.key.startAfter(last) {
				return
			}
		}
	}
}

// decodeSearchHeader reads what follows the previous item without regard to alignment.
func decodeSearchHeader(b []byte) searchHeader {
	ne := binary.NativeEndian
	return searchHeader{
		transid: ne.Uint64(b), objectID: ne.Uint64(b[8:]), offset: ne.Uint64(b[16:]), typ: ne.Uint32(b[24:]), len: ne.Uint32(b[28:]),
	}
}

// startAfter moves the lower bound behind the item at h; false if no key can follow.
func (k *searchKey) startAfter(h searchHeader) bool {
	k.minObjectID, k.minType, k.minOffset = h.objectID, h.typ, h.offset
	switch {
	case k.minOffset < math.MaxUint64:
		k.minOffset++
	case k.minType < math.MaxUint8: // a key's type is one byte, whatever the width of the field
		k.minType++
		k.minOffset = 0
	case k.minObjectID < math.MaxUint64:
		k.minObjectID++
		k.minType, k.minOffset = 0, 0
	default:
		return false
	}
	return true
}
