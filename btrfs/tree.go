package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/filetime"
)

const (
	xattrItemKey = 24
	dirIndexKey  = 96

	// struct btrfs_inode_item, beside what is in layout.go and readahead.go.
	inodeItemMadeIn = 0
	inodeItemLinks  = 40
	inodeItemUID    = 44
	inodeItemGID    = 48
	inodeItemRdev   = 56
	inodeItemMtime  = 136
	inodeItemBytes  = 160

	// struct btrfs_dir_item, of directory entries and of extended attributes: then the name, then the value of an attribute.
	dirItemInode   = 0
	dirItemKeyType = 8
	dirItemDataLen = 25
	dirItemNameLen = 27
	dirItemType    = 29
	dirItemSize    = 30
	dirItemIsDir   = 2 // BTRFS_FT_DIR
)

// A Tree is an open subvolume of which the tree is read, item by item: no path is resolved and, but for [Tree.OpenFile], no file opened.
// Needs CAP_SYS_ADMIN. What of a writable subvolume is not committed yet may be missing ([Sync] brings all of it).
type Tree struct {
	fd   int
	path string
	info Subvolume
}

// OpenTree opens the subvolume whose root is path.
func OpenTree(path string) (*Tree, error) {
	fd, err := openSubvolume(path)
	if err != nil {
		return nil, err
	}
	info, err := describe(fd, path)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &Tree{fd: fd, path: path, info: info}, nil
}

// Info is the subvolume as it was opened.
func (t *Tree) Info() Subvolume { return t.info }

// Close closes the subvolume.
func (t *Tree) Close() error { return unix.Close(t.fd) }

// OpenFile opens a regular file by its inode number, for reading, without a change of its time of access. Needs CAP_DAC_READ_SEARCH.
func (t *Tree) OpenFile(inode uint64) (*os.File, error) {
	name := fmt.Sprintf("inode %d of %s", inode, t.path)
	fd, err := openFileByID(t.fd, t.info.ID, inode)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) { // containers do not let open_by_handle_at(2) through
		fd, err = t.openByName(inode)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// openByName opens a file by one of its names.
func (t *Tree) openByName(inode uint64) (fd int, err error) {
	names, err := Names(t.path, inode)
	if err == nil && len(names) == 0 {
		err = unix.ENOENT
	}
	if err != nil {
		return -1, err
	}
	fd, err = unix.Openat2(t.fd, names[0], &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NOATIME | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Ino != inode {
		err = unix.ESTALE
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Inode is what a tree says of an inode besides names, attributes and data.
type Inode struct {
	Number                uint64
	Generation            uint64 // the transaction that made it: with the number it is never used twice
	Mode, UID, GID, Links uint32
	Size                  uint64
	Rdev                  uint64 // as in stat(2)
	Mtime                 filetime.Time
}

func (i Inode) is(kind uint32) bool { return i.Mode&unix.S_IFMT == kind }

// PartKind says what a [Part] is.
type PartKind int

// The kinds of parts, in the order in which those of an inode come.
const (
	PartInode  PartKind = iota // begins an inode
	PartName                   // Name in directory Ref leads to it
	PartXattr                  // an extended attribute: Name and Value
	PartEntry                  // of a directory: Name leads to inode Ref
	PartTarget                 // of a symbolic link: Value
	PartData                   // of a file: there is data from Start up to End
	PartHole                   // of a file: there is none from Start up to End, where the base has data
)

// Part is one thing that the tree of a subvolume says of an inode.
type Part struct {
	Kind        PartKind
	Inode       Inode
	OldSize     uint64 // of a file, in the base; Inode.Size if it was not there
	New         bool   // a file that the base has not, though perhaps another inode that had its number
	Ref         uint64
	Name, Value []byte // valid until the next part is asked for
	Start, End  uint64 // within the size of the file
}

// Walk says what of a tree to go through.
type Walk struct {
	From uint64 // inode number to begin with

	// Base is the id of the read-only subvolume that this one was made a snapshot of, perhaps over other snapshots, and that was complete in transaction Since. With it,
	// only inodes that have changed since are gone through, and of files only the ranges that differ; 0: everything.
	Base, Since uint64
}

// Walk goes through the inodes of a subvolume, in the order of their numbers. Nested subvolumes are no entries, inodes that nothing leads to are left out, and
// preallocated ranges hold no data.
//
// An inode has changed if its item carries a later transaction: each change of its attributes, entries, names or data writes the item too. A tree block is
// only skipped if it is older than that, and then it is a block of the base. Of a file that has changed, the generations of its extents say too little: a hole that is punched
// leaves the rest of an extent as old as it was, and a reflink is as old as what it was made of. So its extents are compared with those of the base. A range
// holds the same if both have it in the same place of the same extent on the disk, which is never written again while both refer to it.
func (t *Tree) Walk(ctx context.Context, w Walk) iter.Seq2[Part, error] {
	return func(yield func(Part, error) bool) {
		g := walker{ctx: ctx, tree: t, walk: w, yield: yield}
		err := g.run()
		g.base.close()
		if err != nil && err != errStopped {
			yield(Part{}, fmt.Errorf("read the tree of %s: %w", t.path, err))
		}
	}
}

// entry is one of a directory.
type entry struct {
	index, inode uint64
	isDir        bool
}

// entries gives those of a directory in the order of their index, without nested subvolumes.
func (t *Tree) entries(tree, dir uint64) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		key := inodeItems(tree, dir, dir)
		key.minType, key.maxType = dirIndexKey, dirIndexKey
		for it, err := range search(t.fd, key) {
			if err != nil {
				yield(entry{}, err)
				return
			}
			for e := range it.dirItems {
				if e.keyType == inodeItemKey && !yield(entry{it.offset, e.inode, e.isDir}, nil) {
					return
				}
			}
		}
	}
}

// find gives an inode; one without links if there is none.
func (t *Tree) find(tree, number uint64) (Inode, error) {
	key := inodeItems(tree, number, number)
	key.maxType = inodeItemKey
	for it, err := range search(t.fd, key) {
		if err != nil {
			return Inode{}, err
		}
		return it.inodeItem()
	}
	return Inode{}, nil
}
