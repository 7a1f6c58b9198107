package btrfs

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math"

	"golang.org/x/sys/unix"
)

const inodeItemGeneration = 0

// ChangedInode is a file or directory that was changed.
type ChangedInode struct {
	Inode      uint64
	Generation uint64 // transaction in which it was made
	Transid    uint64 // transaction of its last change
	Mode       uint32 // as in stat(2)
}

// ChangedInodes goes through the inodes of a subvolume that have changed since transaction gen (exclusive), in the order of their numbers: a tree search by
// min_transid, so in time proportional to the change. What was deleted shows as a change of its directory. [Names] gives the paths.
// As with [ChangedSince], what is not committed yet may be missing.
func ChangedInodes(ctx context.Context, path string, gen uint64) iter.Seq2[ChangedInode, error] {
	return func(yield func(ChangedInode, error) bool) {
		fd, err := openSubvolume(path)
		if err != nil {
			yield(ChangedInode{}, err)
			return
		}
		defer unix.Close(fd)
		s, err := describe(fd, path)
		if err != nil {
			yield(ChangedInode{}, err)
			return
		}
		if gen == math.MaxUint64 {
			return
		}
		key := searchKey{
			treeID:      s.ID,
			minObjectID: rootDirInode, minType: inodeItemKey,
			maxObjectID: lastFreeObjectID, maxType: inodeItemKey, maxOffset: math.MaxUint64,
			minTransid: gen + 1, maxTransid: math.MaxUint64,
		}
		seen := 0
		for it, err := range search(fd, key) {
			if err != nil {
				yield(ChangedInode{}, fmt.Errorf("changes of %s: %w", path, err))
				return
			}
			if seen%1024 == 0 && ctx.Err() != nil {
				yield(ChangedInode{}, context.Cause(ctx))
				return
			}
			seen++
			if i, ok := it.inode(); ok && i.Transid > gen && !yield(i, nil) {
				return
			}
		}
	}
}

// inode reads an inode item; ok is false for an item of another type.
func (it item) inode() (i ChangedInode, ok bool) {
	if it.typ != inodeItemKey || len(it.data) < inodeItemMode+4 {
		return ChangedInode{}, false
	}
	le := binary.LittleEndian
	return ChangedInode{
		Inode: it.objectID, Generation: le.Uint64(it.data[inodeItemGeneration:]), Transid: le.Uint64(it.data[inodeItemTransid:]),
		Mode: le.Uint32(it.data[inodeItemMode:]),
	}, true
}
