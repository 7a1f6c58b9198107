package btrfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	iocInoLookup = 0xd0009412

	inodeRefKey    = 12 // of a parent directory: index, length of the name, name, and again
	inodeExtrefKey = 13 // where these do not fit into one item: parent, index, length of the name, name, and again

	inodeRefNameLen    = 8
	inodeRefSize       = 10
	inodeExtrefNameLen = 16
	inodeExtrefSize    = 18
)

type inoLookupArgs struct {
	treeID   uint64
	objectID uint64
	name     [4080]byte
}

var _ = [1]byte{}[unsafe.Sizeof(inoLookupArgs{})-4096] // the size in the number of the ioctl

// Names gives all paths of a file, by its inode number, relative to the root of the read-only subvolume whose root is path.
// BTRFS_IOC_TREE_SEARCH_V2, and BTRFS_IOC_INO_LOOKUP for each directory; needs CAP_SYS_ADMIN. BTRFS_IOC_INO_PATHS would give as many as fit into 4 KiB.
func Names(path string, inode uint64) ([]string, error) {
	fd, err := openSubvolume(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	s, err := describe(fd, path)
	if err != nil {
		return nil, err
	}
	key := searchKey{
		treeID:      s.ID,
		minObjectID: inode, minType: inodeRefKey,
		maxObjectID: inode, maxType: inodeExtrefKey, maxOffset: math.MaxUint64,
		maxTransid: math.MaxUint64,
	}
	dirs, names := map[uint64]string{}, []string(nil)
	for it, err := range search(fd, key) {
		if err != nil {
			return nil, fmt.Errorf("names of inode %d of %s: %w", inode, path, err)
		}
		for parent, name := range it.names {
			dir, known := dirs[parent]
			if !known {
				if dir, err = lookup(fd, s.ID, parent); err != nil {
					return nil, fmt.Errorf("names of inode %d of %s: %w", inode, path, err)
				}
				dirs[parent] = dir
			}
			names = append(names, dir+string(name))
		}
	}
	return names, nil
}

// names goes through the parents and names in an item.
func (it item) names(yield func(parent uint64, name []byte) bool) {
	le := binary.LittleEndian
	for b := it.data; ; {
		parent, lenAt, size := it.offset, inodeRefNameLen, inodeRefSize
		if it.typ == inodeExtrefKey {
			lenAt, size = inodeExtrefNameLen, inodeExtrefSize
		}
		if len(b) < size {
			return
		}
		if it.typ == inodeExtrefKey {
			parent = le.Uint64(b)
		}
		end := size + int(le.Uint16(b[lenAt:]))
		if len(b) < end || !yield(parent, b[size:end]) {
			return
		}
		b = b[end:]
	}
}

// lookup gives the path of a directory in a subvolume with a slash at its end; "" is the root.
func lookup(fd int, subvolume, dir uint64) (string, error) {
	if dir == rootDirInode { // for which the kernel gives what was in the buffer
		return "", nil
	}
	args := inoLookupArgs{treeID: subvolume, objectID: dir}
	if err := ioctl(fd, iocInoLookup, unsafe.Pointer(&args)); err != nil {
		return "", fmt.Errorf("BTRFS_IOC_INO_LOOKUP of %d: %w", dir, err)
	}
	name, _, _ := bytes.Cut(args.name[:], []byte{0})
	return string(name), nil
}
