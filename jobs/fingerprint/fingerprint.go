// Package fingerprint notes what a backup holds when it is made, so that it can be compared with that years later, when the snapshot it was made of is gone.
//
// A fingerprint says of each inode its type, mode, owner, size, time of modification, names, xattrs, entries and link target, and of each MiB of a file that is not all
// zeros a hash. It is read from the tree of the subvolume and so speaks of inode numbers, which are the same in a backup, in the next one that is received on
// top of it, and in a snapshot that is restored from it. Times of access and of inode changes, flags of chattr(1), nested subvolumes and properties of btrfs itself do not count, nor does the root
// directory's time of modification.
//
// The fingerprint of an incremental backup is a delta: it says only what differs from that of the backup's parent, and costs the reading of that alone.
package fingerprint

import (
	"crypto/sha256"
	"errors"
	"path/filepath"

	"github.com/btrkeep/btrkeep/btrfs"
)

// ErrNone means that there is no fingerprint of a backup.
var ErrNone = errors.New("there is no fingerprint")

// ErrDamaged means that a fingerprint cannot be used: it is torn, was altered, or what it builds on is missing. Nothing is then known of the backup.
var ErrDamaged = errors.New("the fingerprint is damaged")

// dirName is the directory of fingerprints in a destination directory. It is there, and not with the machine's state, to move with the disk.
const dirName = ".btrkeep.fingerprints"

// chunkSize is how many bytes of a file have one hash.
const chunkSize = 1 << 20

// sum is a SHA-256, cut short; zero means that there is nothing.
type sum [16]byte

func sumOf(b []byte) sum {
	whole := sha256.Sum256(b)
	return sum(whole[:len(sum{})])
}

// Store is a directory of fingerprints. Whoever changes it at the same time has to be kept away by a lock, that of the destination directory.
type Store struct {
	Dir string
}

// In gives the store of a destination directory. It need not be there yet.
func In(destination string) Store { return Store{Dir: filepath.Join(destination, dirName)} }

// Base is what an incremental backup was received on top of.
type Base struct {
	UUID  btrfs.UUID // of the parent's copy at the destination, not the parent's own
	Since uint64     // a transaction in which it was complete, not later than the one in which it was built upon: its Ctransid once it was on the disk
}

// Options of the making of a fingerprint.
type Options struct {
	Workers    int               // that read at the same time; 0: as many as Go uses processors, at least two
	IOPriority int               // ioprio_set(2) value for all that read; 0 = inherit
	Progress   func(bytes int64) // told, from any goroutine, how much data was read
}

// Summary is what the making of a fingerprint came to.
type Summary struct {
	Whole     bool  // it builds on no other
	Inodes    int64 // that were looked at
	Chunks    int64 // of data that were hashed, those of zeros included
	BytesRead int64 // of data
	Size      int64 // of the fingerprint's file, in bytes
}
