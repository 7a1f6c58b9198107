package btrfs

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"golang.org/x/sys/unix"
)

// Changes is what has changed in a subvolume.
type Changes struct {
	Inodes uint64 // inodes whose item has a later transid
	Bytes  uint64 // file extent bytes (disk_num_bytes for compressed ones) with a later generation: an estimate for an incremental send

	// A file among the changed ones goes on behind compressed data that lies in its inode, as fallocate(2) and cloning leave it. A send of compressed data as it
	// is loses the rest of that sector (seen with Linux 6.18): the file arrives too short, or with what its parent had there.
	BehindInline bool
}

// ChangedSince reports what has changed in a subvolume since transaction gen (exclusive): a tree search by min_transid, so in time
// proportional to the change. ignore are inode numbers whose own change does not count (a directory of snapshots inside the subvolume).
// Deletions show as a change of their directory. gen 0 gives the size of everything. The subvolume may be writable: what is not
// committed yet may then be missing ([Sync] brings all of it).
func ChangedSince(ctx context.Context, path string, gen uint64, ignore ...uint64) (Changes, error) {
	fd, err := openSubvolume(path)
	if err != nil {
		return Changes{}, err
	}
	defer unix.Close(fd)
	s, err := describe(fd, path)
	if err != nil {
		return Changes{}, err
	}
	var changes Changes
	if gen == math.MaxUint64 {
		return changes, nil
	}
	key := searchKey{
		treeID:      s.ID,
		minObjectID: rootDirInode, minType: inodeItemKey,
		maxObjectID: lastFreeObjectID, maxType: extentDataKey, maxOffset: math.MaxUint64,
		minTransid: gen + 1, maxTransid: math.MaxUint64,
	}
	seen := 0
	var file changedFile
	for it, err := range search(fd, key) {
		if err != nil {
			return Changes{}, fmt.Errorf("changes of %s: %w", path, err)
		}
		if seen%1024 == 0 && ctx.Err() != nil {
			return Changes{}, context.Cause(ctx)
		}
		seen++
		changes.add(it, gen, ignore)
		changes.BehindInline = changes.BehindInline || file.goesOnBehindInline(it, gen)
	}
	return changes, nil
}

// changedFile is the inode whose items come.
type changedFile struct{ inode, size, transid uint64 }

// goesOnBehindInline takes the items of a subvolume in their order.
func (f *changedFile) goesOnBehindInline(it item, gen uint64) bool {
	le := binary.LittleEndian
	switch {
	case it.typ == inodeItemKey && len(it.data) >= inodeItemSize+8:
		*f = changedFile{it.objectID, le.Uint64(it.data[inodeItemSize:]), le.Uint64(it.data[inodeItemTransid:])}
	case it.typ == extentDataKey && len(it.data) >= extentInlineData && it.data[extentType] == extentInline && it.data[extentCompression] != 0:
		return it.objectID == f.inode && f.transid > gen && le.Uint64(it.data[extentRAMBytes:]) < f.size
	}
	return false
}

// add counts one item of a changed leaf, in which most items are as old as ever.
func (c *Changes) add(it item, gen uint64, ignore []uint64) {
	le := binary.LittleEndian
	switch it.typ {
	case inodeItemKey:
		if len(it.data) >= inodeItemTransid+8 && le.Uint64(it.data[inodeItemTransid:]) > gen && !slices.Contains(ignore, it.objectID) {
			c.Inodes++
		}
	case extentDataKey:
		if len(it.data) < extentInlineData || le.Uint64(it.data[extentGeneration:]) <= gen {
			return
		}
		switch it.data[extentType] {
		case extentInline:
			c.Bytes += uint64(len(it.data) - extentInlineData)
		case extentRegular: // a preallocated extent holds nothing yet, nor does a hole
			if len(it.data) < extentSize || le.Uint64(it.data[extentDiskBytenr:]) == 0 {
				return
			}
			// num_bytes is the part of the extent that the file shows here, uncompressed.
			c.Bytes += min(le.Uint64(it.data[extentDiskNumBytes:]), le.Uint64(it.data[extentNumBytes:]))
		}
	}
}
