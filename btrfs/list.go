package btrfs

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"golang.org/x/sys/unix"
)

// List lists every live subvolume of the file system that holds path, except the top level, ordered by ID.
// BTRFS_IOC_TREE_SEARCH_V2 over the root tree with a 64 KiB buffer; subvolumes that are deleted but not yet cleaned are left out.
//
// Generation and Ctransid are those of the last commit: [Info] may know of later ones.
func List(path string) ([]Subvolume, error) {
	fd, _, err := openDir(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var subvolumes []Subvolume
	// The keys of one subvolume are neighbours: its root item, then its back reference, so one entry is under way at a time.
	var current Subvolume
	live := false
	for it, err := range search(fd, rootTreeKey(rootDirInode, lastFreeObjectID)) {
		if err != nil {
			return nil, fmt.Errorf("list subvolumes of %s: %w", path, err)
		}
		switch it.typ {
		case rootItemKey:
			current, live = decodeRootItem(it.data)
			current.ID = it.objectID
		case rootBackrefKey:
			if !live || current.ID != it.objectID {
				continue
			}
			if !decodeRootBackref(&current, it) {
				return nil, fmt.Errorf("list subvolumes of %s: damaged back reference of subvolume %d", path, it.objectID)
			}
			if len(subvolumes) == cap(subvolumes) { // doubled: append would copy thousands of them again and again
				subvolumes = slices.Grow(subvolumes, max(len(subvolumes), 16))
			}
			subvolumes = append(subvolumes, current)
			live = false
		}
	}
	return subvolumes, nil
}

func rootTreeKey(minID, maxID uint64) searchKey {
	return searchKey{
		treeID:      rootTreeID,
		minObjectID: minID, minType: rootItemKey, minOffset: 0,
		maxObjectID: maxID, maxType: rootBackrefKey, maxOffset: math.MaxUint64,
		maxTransid: math.MaxUint64,
	}
}

// decodeRootItem reads a root item; live is false for a subvolume that is deleted and waits for the cleaner.
func decodeRootItem(b []byte) (s Subvolume, live bool) {
	if len(b) < rootItemGenerationV2 {
		return Subvolume{}, false
	}
	le := binary.LittleEndian
	s.Generation = le.Uint64(b[rootItemGeneration:])
	s.ReadOnly = le.Uint64(b[rootItemFlags:])&rootReadOnly != 0
	live = le.Uint32(b[rootItemRefs:]) != 0
	// An old kernel updates the item without knowing of what follows, which is then stale: the two generations differ.
	if len(b) < rootItemSize || le.Uint64(b[rootItemGenerationV2:]) != s.Generation {
		return s, live
	}
	copy(s.UUID[:], b[rootItemUUID:])
	copy(s.ParentUUID[:], b[rootItemParentUUID:])
	copy(s.ReceivedUUID[:], b[rootItemReceivedUUID:])
	s.Ctransid = le.Uint64(b[rootItemCtransid:])
	s.Otransid = le.Uint64(b[rootItemOtransid:])
	s.Stransid = le.Uint64(b[rootItemStransid:])
	s.Rtransid = le.Uint64(b[rootItemRtransid:])
	s.Created = unixTime(le.Uint64(b[rootItemOtime:]), le.Uint32(b[rootItemOtime+8:]))
	return s, live
}

func decodeRootBackref(s *Subvolume, it item) bool {
	if len(it.data) < rootRefSize {
		return false
	}
	nameLen := int(binary.LittleEndian.Uint16(it.data[rootRefNameLen:]))
	if len(it.data) < rootRefSize+nameLen {
		return false
	}
	s.ParentID = it.offset
	s.DirID = binary.LittleEndian.Uint64(it.data[rootRefDirID:])
	s.Name = string(it.data[rootRefSize : rootRefSize+nameLen])
	return true
}

// Dir is a directory as subvolume listings know it.
type Dir struct {
	SubvolumeID uint64 // the subvolume it lies in
	Inode       uint64
}

// LocateDir gives the key by which List's entries say that they are directly in the directory at path.
func LocateDir(path string) (Dir, error) {
	fd, inode, err := openDir(path)
	if err != nil {
		return Dir{}, err
	}
	defer unix.Close(fd)
	s, err := describe(fd, path)
	if err != nil {
		return Dir{}, err
	}
	return Dir{SubvolumeID: s.ID, Inode: inode}, nil
}

// Holds reports whether s lies directly in d.
func (d Dir) Holds(s Subvolume) bool { return s.ParentID == d.SubvolumeID && s.DirID == d.Inode }
