package btrfs

import (
	"bytes"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Subvolume is what the kernel knows of a subvolume.
type Subvolume struct {
	ID                             uint64 // tree id; 5 is the top level
	ParentID                       uint64 // id of the subvolume that holds its directory entry; 0 for the top level
	DirID                          uint64 // inode number of the directory that holds its entry
	Name                           string // entry in that directory
	UUID, ParentUUID, ReceivedUUID UUID
	Generation                     uint64    // transaction of the last change to the tree or its root item, snapshots of it included
	Ctransid                       uint64    // transaction of the last change to its content
	Otransid                       uint64    // transaction of its creation: with ID for those of one transaction, orders the snapshots of a file system whatever the clock did
	Stransid, Rtransid             uint64    // set by receive: ctransid at the sender, transaction here
	Created                        time.Time // otime
	ReadOnly                       bool
}

// StreamUUID is the identity under which a send stream speaks of s: the received UUID if it has one, else its own.
func (s Subvolume) StreamUUID() UUID {
	if !s.ReceivedUUID.IsZero() {
		return s.ReceivedUUID
	}
	return s.UUID
}

// SameContent reports whether two read-only subvolumes hold the same content by the kernel's bookkeeping:
// one was received from the other, or both from the same origin.
func SameContent(a, b Subvolume) bool {
	if !a.ReadOnly || !b.ReadOnly {
		return false
	}
	// A missing UUID equals nothing, not even another missing one.
	same := func(x, y UUID) bool { return x == y && !x.IsZero() }
	return same(a.UUID, b.UUID) ||
		same(a.UUID, b.ReceivedUUID) ||
		same(a.ReceivedUUID, b.UUID) ||
		same(a.ReceivedUUID, b.ReceivedUUID)
}

// Info describes the subvolume whose root is path. BTRFS_IOC_GET_SUBVOL_INFO.
// Errors: ErrNotBtrfs, ErrNotSubvolume, those of open(2).
func Info(path string) (Subvolume, error) {
	fd, err := openSubvolume(path)
	if err != nil {
		return Subvolume{}, err
	}
	defer unix.Close(fd)
	return describe(fd, path)
}

// Containing describes the subvolume that path (any directory on btrfs) lies in.
func Containing(path string) (Subvolume, error) {
	fd, _, err := openDir(path)
	if err != nil {
		return Subvolume{}, err
	}
	defer unix.Close(fd)
	return describe(fd, path)
}

func describe(fd int, path string) (Subvolume, error) {
	var info subvolInfo
	if err := ioctl(fd, iocGetSubvolInfo, unsafe.Pointer(&info)); err != nil {
		return Subvolume{}, fmt.Errorf("%s: BTRFS_IOC_GET_SUBVOL_INFO: %w", path, err)
	}
	name, _, _ := bytes.Cut(info.name[:], []byte{0})
	return Subvolume{
		ID:           info.treeid,
		ParentID:     info.parentID,
		DirID:        info.dirID,
		Name:         string(name),
		UUID:         info.uuid,
		ParentUUID:   info.parentUUID,
		ReceivedUUID: info.receivedUUID,
		Generation:   info.generation,
		Ctransid:     info.ctransid,
		Otransid:     info.otransid,
		Stransid:     info.stransid,
		Rtransid:     info.rtransid,
		Created:      unixTime(info.otime.sec, info.otime.nsec),
		ReadOnly:     info.flags&rootReadOnly != 0,
	}, nil
}

// unixTime leaves the zero time for a subvolume that does not know when it was made.
func unixTime(sec uint64, nsec uint32) time.Time {
	if sec == 0 && nsec == 0 {
		return time.Time{}
	}
	return time.Unix(int64(sec), int64(nsec))
}
