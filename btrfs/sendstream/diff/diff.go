// Package diff tells what changed between two read-only snapshots of one file system, from a send stream without file contents.
//
// Such a stream costs what the changes cost, whatever the size of the snapshots, and no file is read for it. Its commands are a way from the
// older tree to the newer one with detours: temporary names, directories that make room for others. [Between] follows it in a picture of the
// tree that has only what the stream touches, and compares where everything was with where it ended.
package diff

import (
	"context"
	"errors"
	"fmt"

	"github.com/btrkeep/btrkeep/btrfs"
)

var (
	// ErrWritable means that a subvolume is not read-only, so that it is no fixed state to compare.
	ErrWritable = errors.New("is writable")
	// ErrFileSystems means that the subvolumes are not on one file system.
	ErrFileSystems = errors.New("are on different file systems")
)

// Kind is what happened to a path.
type Kind string

// The kinds of changes. A file that was renamed may also have other contents or metadata: see the fields of [Change].
const (
	Added    Kind = "added"
	Modified Kind = "modified" // contents
	Deleted  Kind = "deleted"
	Renamed  Kind = "renamed"
	Metadata Kind = "metadata" // nothing but metadata
)

// Type is what a path is.
type Type string

// The types of files.
const (
	File      Type = "file"
	Directory Type = "directory"
	Symlink   Type = "symlink"
	FIFO      Type = "fifo"
	Socket    Type = "socket"
	Device    Type = "device"
)

// Change is one change. Paths are relative to the root of the snapshots, "" is that root itself. They are what file names are: any bytes.
//
// A file is followed by its identity, not by its name. What lies in a directory that was renamed is not itself renamed.
type Change struct {
	Kind Kind
	Path string // in the newer snapshot; of what was deleted, in the older
	From string // in the older snapshot, of everything that is in both
	Type Type

	Content  bool     // the contents changed, or may have: extents were written
	Written  uint64   // bytes that were written since, as far as the file still has them, holes punched included
	Cloned   uint64   // bytes that are shared with another file or place
	Size     uint64   // of regular files, in the newer snapshot; of what was deleted, in the older
	OldSize  uint64   // of regular files that are in both
	Metadata []string // what of it changed: mode, owner, time (of modification), xattr, flags

	Replaced bool   // Modified, Metadata: another file of the same type has taken the path
	Link     string // Added: another name of the same file
	Implied  bool   // Metadata: the time of a directory, and nothing but the entries in it has changed
}

// Result is all that changed.
type Result struct {
	Changes []Change // sorted by path
	Stream  int64    // bytes of the stream that told it
}

// Between compares two read-only subvolumes, most useful if the newer one was made of the older, of its source, or the other way round: unrelated ones
// have no file in common. It needs CAP_SYS_ADMIN. Errors: ErrWritable, ErrFileSystems, those of [btrfs.Info] and of the send.
func Between(ctx context.Context, older, newer string) (Result, error) {
	a, b, err := check(older, newer)
	if err != nil || a.ID == b.ID {
		return Result{}, err
	}
	before, err := openTree(older)
	if err != nil {
		return Result{}, err
	}
	defer before.close()
	after, err := openTree(newer)
	if err != nil {
		return Result{}, err
	}
	defer after.close()
	// The newer protocol tells of chattr flags.
	send := btrfs.Send{Subvolume: newer, Parent: a.ID, NoData: true, Version: min(btrfs.StreamVersion(), 2)}
	stream, err := send.Start(ctx)
	if err != nil {
		return Result{}, err
	}
	result, err := read(stream, before, after)
	if ended := stream.Close(); ended != nil && !errors.Is(ended, context.Canceled) {
		err = ended // a stream that was cut is the consequence
	}
	return result, err
}

func check(older, newer string) (a, b btrfs.Subvolume, err error) {
	if a, err = snapshot(older); err != nil {
		return a, b, err
	}
	if b, err = snapshot(newer); err != nil {
		return a, b, err
	}
	idA, err := btrfs.FileSystemID(older)
	if err != nil {
		return a, b, err
	}
	idB, err := btrfs.FileSystemID(newer)
	if err == nil && idA != idB {
		err = fmt.Errorf("%s and %s %w", older, newer, ErrFileSystems)
	}
	return a, b, err
}

func snapshot(path string) (btrfs.Subvolume, error) {
	s, err := btrfs.Info(path)
	if err == nil && !s.ReadOnly {
		err = fmt.Errorf("%s %w", path, ErrWritable)
	}
	return s, err
}
