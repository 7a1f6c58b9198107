package testdisk

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// block is the unit in which layouts are compared, a sector of btrfs.
const block = 4096

// layout says for every block of a file that is not in a hole how it is stored.
type layout map[uint64]storage

type storage struct {
	kind        byte // BTRFS_FILE_EXTENT_*: in the inode, on the disk, preallocated
	compression byte
	shared      bool // FIEMAP says so
	first       place
}

// place is where a block was met first: it is that block, or shares its storage. Zero for what lies in the inode.
type place struct {
	file   int
	offset uint64
}

// layouts are those of the files of one file system, in the order in which they are looked at.
type layouts struct {
	files int
	met   map[blockOnDisk]place
}

// blockOnDisk is a part of an extent, counted as if it were not compressed.
type blockOnDisk struct{ extent, offset uint64 }

// extents compares the layouts of two files and describes the first difference.
func (t *Twins) extents(a, b *os.File) (string, error) {
	la, err := t.layouts[0].read(a, !t.Resumed)
	if err != nil {
		return "", err
	}
	lb, err := t.layouts[1].read(b, !t.Resumed)
	if err != nil {
		return "", err
	}
	at := uint64(math.MaxUint64)
	for _, l := range []layout{la, lb} {
		for offset := range l {
			if la[offset] != lb[offset] {
				at = min(at, offset)
			}
		}
	}
	if at == math.MaxUint64 {
		return "", nil
	}
	return fmt.Sprintf("extents: at %d: %+v, %+v", at, la[at], lb[at]), nil
}

func (l *layouts) read(f *os.File, fiemap bool) (layout, error) {
	items, err := fileExtents(f)
	if err != nil {
		return nil, err
	}
	var shared []fiemapExtent
	if fiemap {
		if shared, err = sharedExtents(f); err != nil {
			return nil, err
		}
	}
	if l.met == nil {
		l.met = map[blockOnDisk]place{}
	}
	l.files++
	out := layout{}
	for _, e := range items {
		for n := uint64(0); n < e.length; n += block {
			s := storage{kind: e.kind, compression: e.compression}
			if e.disk != 0 {
				on := blockOnDisk{e.disk, e.offset + n}
				if _, met := l.met[on]; !met {
					l.met[on] = place{l.files, e.logical + n}
				}
				s.first = l.met[on]
			}
			out[e.logical+n] = s
		}
	}
	for _, r := range shared {
		for n := uint64(0); n < r.length; n += block {
			if s, ok := out[r.logical+n]; ok {
				s.shared = true
				out[r.logical+n] = s
			}
		}
	}
	return out, nil
}

// preallocated is BTRFS_FILE_EXTENT_PREALLOC.
const preallocated = 2

// fileExtent is a struct btrfs_file_extent_item, without those of holes.
type fileExtent struct {
	logical, length   uint64 // in the file
	disk, offset      uint64 // of the extent, and where in it; 0 in the inode
	kind, compression byte
}

// fileExtents reads the extents of a file out of the tree of its subvolume: FIEMAP merges some. BTRFS_IOC_TREE_SEARCH_V2; see linux/btrfs_tree.h.
func fileExtents(f *os.File) ([]fileExtent, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	const ioctl, extentData = 0xc0709411, 108
	var search struct {
		tree, minObject, maxObject, minOffset, maxOffset, minTransid, maxTransid uint64
		minType, maxType, items, _                                               uint32
		_                                                                        [4]uint64
		size                                                                     uint64
		buf                                                                      [64 << 10]byte
	}
	search.minObject, search.maxObject, search.minType, search.maxType = st.Ino, st.Ino, extentData, extentData
	search.maxOffset, search.maxTransid = math.MaxUint64, math.MaxUint64
	var all []fileExtent
	for {
		search.items, search.size = math.MaxUint32, uint64(len(search.buf))
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), ioctl, uintptr(unsafe.Pointer(&search))); errno != 0 {
			return nil, &os.PathError{Op: "TREE_SEARCH_V2", Path: f.Name(), Err: errno}
		}
		if search.items == 0 {
			return all, nil
		}
		b := search.buf[:]
		for range search.items {
			u64 := func(at int) uint64 { return binary.NativeEndian.Uint64(b[at:]) }
			offset, size := u64(16), int(binary.NativeEndian.Uint32(b[28:]))
			item := b[32 : 32+size]
			e := fileExtent{logical: offset, compression: item[16], kind: item[20], length: binary.LittleEndian.Uint64(item[8:])}
			if e.kind != 0 {
				le := func(at int) uint64 { return binary.LittleEndian.Uint64(item[at:]) }
				e.disk, e.offset, e.length = le(21), le(37), le(45)
			}
			if e.kind == 0 || e.disk != 0 {
				all = append(all, e)
			}
			b, search.minOffset = b[32+size:], offset+1
		}
	}
}

// fiemapExtent is struct fiemap_extent.
type fiemapExtent struct {
	logical, physical, length uint64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

// sharedExtents gives the ranges that FIEMAP calls shared, also behind the end of the file. Its data must be on the disk.
func sharedExtents(f *os.File) ([]fiemapExtent, error) {
	const ioctl, last, shared = 0xc020660b, 0x1, 0x2000
	var request struct {
		start, length           uint64
		flags, mapped, count, _ uint32
		extents                 [256]fiemapExtent
	}
	var all []fiemapExtent
	for {
		request.length, request.count = math.MaxUint64-request.start, uint32(len(request.extents))
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), ioctl, uintptr(unsafe.Pointer(&request))); errno != 0 {
			return nil, &os.PathError{Op: "FIEMAP", Path: f.Name(), Err: errno}
		}
		got := request.extents[:request.mapped]
		for _, e := range got {
			if e.flags&shared != 0 {
				all = append(all, e)
			}
		}
		if len(got) == 0 || got[len(got)-1].flags&last != 0 {
			return all, nil
		}
		request.start = got[len(got)-1].logical + got[len(got)-1].length
	}
}
