package btrfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"os"
	"slices"

	"golang.org/x/sys/unix"
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
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Inode is what a tree says of an inode besides names, attributes and data.
type Inode struct {
	Number                uint64
	Generation            uint64 // the transaction that made it: with the number it is never used twice
	Mode, UID, GID, Links uint32
	Size                  uint64
	Rdev                  uint64 // as in stat(2)
	Mtime                 unix.Timespec
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

type walker struct {
	ctx     context.Context
	tree    *Tree
	walk    Walk
	yield   func(Part, error) bool
	inode   Inode // whose items come; its number is 0 if they are left out
	oldSize uint64
	isNew   bool
	base    baseFile
}

// errStopped ends a walk that its user has had enough of.
var errStopped = errors.New("stopped")

func (g *walker) run() error {
	n := 0
	for it, err := range g.items() {
		if err != nil {
			return err
		}
		if n%1024 == 0 && g.ctx.Err() != nil {
			return context.Cause(g.ctx)
		}
		n++
		if err := g.item(it); err != nil {
			return err
		}
	}
	return g.endFile()
}

// items gives all items of the inodes that are wanted.
func (g *walker) items() iter.Seq2[item, error] {
	t, w := g.tree, g.walk
	if w.Base == 0 {
		return search(t.fd, inodeItems(t.info.ID, max(w.From, rootDirInode), lastFreeObjectID))
	}
	return func(yield func(item, error) bool) {
		for inode, err := range t.changed(max(w.From, rootDirInode), w.Since) {
			if err != nil {
				yield(item{}, err)
				return
			}
			for it, err := range search(t.fd, inodeItems(t.info.ID, inode.Number, inode.Number)) {
				if !yield(it, err) {
					return
				}
			}
		}
	}
}

func inodeItems(tree, from, to uint64) searchKey {
	return searchKey{
		treeID:      tree,
		minObjectID: from, minType: inodeItemKey,
		maxObjectID: to, maxType: extentDataKey, maxOffset: math.MaxUint64,
		maxTransid: math.MaxUint64,
	}
}

// changed gives the inodes that were written after transaction since.
func (t *Tree) changed(from, since uint64) iter.Seq2[Inode, error] {
	return func(yield func(Inode, error) bool) {
		if since == math.MaxUint64 {
			return
		}
		key := inodeItems(t.info.ID, from, lastFreeObjectID)
		key.minTransid = since + 1
		for it, err := range search(t.fd, key) {
			var inode Inode
			if err == nil {
				if it.typ != inodeItemKey || len(it.data) >= inodeItemTransid+8 && binary.LittleEndian.Uint64(it.data[inodeItemTransid:]) <= since {
					continue // neighbours in a changed block
				}
				inode, err = it.inodeItem()
			}
			if !yield(inode, err) || err != nil {
				return
			}
		}
	}
}

// inodeItem reads an inode item.
func (it item) inodeItem() (Inode, error) {
	le, d := binary.LittleEndian, it.data
	if len(d) < inodeItemBytes {
		return Inode{}, fmt.Errorf("the item of inode %d has %d bytes", it.objectID, len(d))
	}
	rdev := le.Uint64(d[inodeItemRdev:])
	return Inode{
		Number: it.objectID, Generation: le.Uint64(d[inodeItemMadeIn:]),
		Mode: le.Uint32(d[inodeItemMode:]), UID: le.Uint32(d[inodeItemUID:]), GID: le.Uint32(d[inodeItemGID:]), Links: le.Uint32(d[inodeItemLinks:]),
		Size: le.Uint64(d[inodeItemSize:]), Rdev: unix.Mkdev(uint32(rdev>>20), uint32(rdev&(1<<20-1))), // the kernel's own form
		Mtime: unix.Timespec{Sec: int64(le.Uint64(d[inodeItemMtime:])), Nsec: int64(le.Uint32(d[inodeItemMtime+8:]))},
	}, nil
}

func (g *walker) item(it item) error {
	if it.typ == inodeItemKey {
		return g.begin(it)
	}
	if it.objectID != g.inode.Number {
		return nil
	}
	switch it.typ {
	case inodeRefKey, inodeExtrefKey:
		for dir, name := range it.names {
			if err := g.part(Part{Kind: PartName, Ref: dir, Name: name}); err != nil {
				return err
			}
		}
	case xattrItemKey:
		for e := range it.dirItems {
			if err := g.part(Part{Kind: PartXattr, Name: e.name, Value: e.value}); err != nil {
				return err
			}
		}
	case dirIndexKey:
		for e := range it.dirItems {
			if e.keyType == inodeItemKey { // else a nested subvolume
				if err := g.part(Part{Kind: PartEntry, Ref: e.inode, Name: e.name}); err != nil {
					return err
				}
			}
		}
	case extentDataKey:
		return g.extent(it)
	}
	return nil
}

func (g *walker) part(p Part) error {
	p.Inode, p.OldSize, p.New = g.inode, g.oldSize, g.isNew
	if !g.yield(p, nil) {
		return errStopped
	}
	return nil
}

// begin takes the next inode.
func (g *walker) begin(it item) error {
	if err := g.endFile(); err != nil {
		return err
	}
	inode, err := it.inodeItem()
	if err != nil {
		return err
	}
	if inode.Links == 0 {
		inode.Number = 0
	}
	g.inode, g.oldSize, g.isNew = inode, inode.Size, false
	if inode.Number == 0 {
		return nil
	}
	if g.walk.Base != 0 && inode.is(unix.S_IFREG) {
		was, err := g.base.open(g.tree.fd, g.walk.Base, inode)
		if err != nil {
			return err
		}
		if g.isNew = !was; was {
			g.oldSize = g.base.size
		}
	}
	return g.part(Part{Kind: PartInode})
}

func (g *walker) extent(it item) error {
	if g.inode.is(unix.S_IFLNK) {
		if len(it.data) < extentInlineData {
			return fmt.Errorf("the item of the target of inode %d has %d bytes", it.objectID, len(it.data))
		}
		return g.part(Part{Kind: PartTarget, Value: it.data[extentInlineData:]})
	}
	if !g.inode.is(unix.S_IFREG) {
		return nil
	}
	s, err := it.segment()
	if err != nil || s.start == s.end {
		return err
	}
	return g.segment(s)
}

// segment reports what of a file's next range with data differs from the base, and what the base has before it.
func (g *walker) segment(s segment) error {
	if err := g.hole(s.start); err != nil {
		return err
	}
	for at := s.start; at < s.end; {
		b, err := g.base.at(at)
		if err != nil {
			return err
		}
		until, same := s.end, false
		switch {
		case b.start > at:
			until = min(until, b.start)
		case b.end > at:
			until, same = min(until, b.end), s.same(b)
		}
		if end := min(until, g.inode.Size); !same && at < end {
			if err := g.part(Part{Kind: PartData, Start: at, End: end}); err != nil {
				return err
			}
		}
		at = until
	}
	_, err := g.base.at(s.end)
	return err
}

// hole reports the data of the base up to end, since the last segment.
func (g *walker) hole(end uint64) error {
	for end = min(end, g.inode.Size); ; {
		b, err := g.base.next(end)
		if err != nil || b.start >= b.end {
			return err
		}
		if err := g.part(Part{Kind: PartHole, Start: b.start, End: b.end}); err != nil {
			return err
		}
	}
}

// endFile ends the inode whose items came.
func (g *walker) endFile() error {
	defer g.base.close()
	return g.hole(g.inode.Size)
}

// segment is a range of a file that has data.
type segment struct {
	start, end  uint64
	disk        uint64 // where the extent begins; 0: data in the inode
	place       uint64 // of the file's first byte in the extent, if it went on to there
	compression byte
	inline      []byte // size, compression and data
}

// segment reads a file extent item; the segment of a hole and of a preallocated range is empty.
func (it item) segment() (segment, error) {
	le, d := binary.LittleEndian, it.data
	if len(d) < extentInlineData || d[extentType] != extentInline && len(d) < extentSize {
		return segment{}, fmt.Errorf("the item of an extent of inode %d at %d has %d bytes", it.objectID, it.offset, len(d))
	}
	s := segment{start: it.offset, end: it.offset}
	switch {
	case d[extentType] == extentInline:
		s.end, s.inline = it.offset+le.Uint64(d[extentRAMBytes:]), d[extentRAMBytes:]
	case d[extentType] == extentRegular && le.Uint64(d[extentDiskBytenr:]) != 0:
		s.end, s.disk = it.offset+le.Uint64(d[extentNumBytes:]), le.Uint64(d[extentDiskBytenr:])
		s.place, s.compression = le.Uint64(d[extentOffset:])-it.offset, d[extentCompression]
	}
	if s.end < s.start {
		return segment{}, fmt.Errorf("an extent of inode %d at %d is too long", it.objectID, it.offset)
	}
	return s, nil
}

// same reports whether two segments hold the same where they overlap.
func (s segment) same(b segment) bool {
	return s.disk == b.disk && s.place == b.place && s.compression == b.compression && bytes.Equal(s.inline, b.inline)
}

// baseFile goes through the segments of a file in the base. The zero value has none.
type baseFile struct {
	size    uint64
	pull    func() (item, error, bool)
	stop    func()
	current segment // what is not yet dealt with
}

// open begins with a file; was is false if the base has none that is the same.
func (b *baseFile) open(fd int, tree uint64, inode Inode) (was bool, err error) {
	b.pull, b.stop = iter.Pull2(search(fd, inodeItems(tree, inode.Number, inode.Number)))
	it, err, more := b.pull()
	var old Inode
	if more && err == nil && it.typ == inodeItemKey {
		old, err = it.inodeItem()
	}
	if err != nil || old.Generation != inode.Generation || !old.is(unix.S_IFREG) {
		b.close()
		return false, err
	}
	b.size = old.Size
	return true, nil
}

func (b *baseFile) close() {
	if b.stop != nil {
		b.stop()
	}
	*b = baseFile{}
}

// at gives the segment that holds the place, from there on, or the next one behind it; an empty one if there is none. What is before the place is dealt with.
func (b *baseFile) at(place uint64) (segment, error) {
	for b.current.end <= max(place, b.current.start) { // that of a preallocated range is empty
		if b.pull == nil {
			return segment{}, nil
		}
		it, err, more := b.pull()
		switch {
		case err != nil:
			return segment{}, err
		case !more:
			b.close()
		case it.typ == extentDataKey:
			if b.current, err = it.segment(); err != nil {
				return segment{}, err
			}
		}
	}
	b.current.start = max(b.current.start, place)
	return b.current, nil
}

// next takes what the base has up to end; an empty segment if there is nothing.
func (b *baseFile) next(end uint64) (segment, error) {
	s, err := b.at(b.current.start)
	if err != nil || s.start >= end {
		return segment{}, err
	}
	s.end = min(s.end, end)
	b.current.start = s.end
	return s, nil
}

// dirItem is what directory entries and extended attributes are kept in.
type dirItem struct {
	inode       uint64
	keyType     byte
	isDir       bool
	name, value []byte
}

// dirItems goes through those in an item.
func (it item) dirItems(yield func(dirItem) bool) {
	le := binary.LittleEndian
	for b := it.data; len(b) >= dirItemSize; {
		nameEnd := dirItemSize + int(le.Uint16(b[dirItemNameLen:]))
		end := nameEnd + int(le.Uint16(b[dirItemDataLen:]))
		if end > len(b) {
			return
		}
		e := dirItem{le.Uint64(b[dirItemInode:]), b[dirItemKeyType], b[dirItemType] == dirItemIsDir, b[dirItemSize:nameEnd], b[nameEnd:end]}
		if !yield(e) {
			return
		}
		b = b[end:]
	}
}

// Gone gives, in order, the inodes of the base that the subvolume has no longer: see [Walk]. It takes time in proportion to them and to the directories that have changed.
func (t *Tree) Gone(ctx context.Context, base, since uint64) ([]uint64, error) {
	g := gone{ctx: ctx, tree: t, base: base}
	if err := g.run(since); err != nil {
		return nil, fmt.Errorf("what is gone from %s: %w", t.path, err)
	}
	slices.Sort(g.inodes)
	return slices.Compact(g.inodes), nil
}

// gone looks for the entries that directories of the base have lost.
type gone struct {
	ctx    context.Context
	tree   *Tree
	base   uint64
	inodes []uint64
	dirs   []uint64 // that are gone themselves, whose entries are to be looked at
}

func (g *gone) run(since uint64) error {
	for inode, err := range g.tree.changed(rootDirInode, since) {
		if err != nil {
			return err
		}
		if inode.is(unix.S_IFDIR) {
			if err := g.compare(inode.Number); err != nil {
				return err
			}
		}
	}
	for len(g.dirs) > 0 {
		dir := g.dirs[len(g.dirs)-1]
		g.dirs = g.dirs[:len(g.dirs)-1]
		for e, err := range g.tree.entries(g.base, dir) {
			if err == nil {
				err = g.lost(e)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// compare looks at the entries that a directory had and has no more. An entry keeps its index as long as it stays.
func (g *gone) compare(dir uint64) error {
	pull, stop := iter.Pull2(g.tree.entries(g.tree.info.ID, dir))
	defer stop()
	now, err, more := pull()
	for was, failed := range g.tree.entries(g.base, dir) {
		if failed != nil {
			return failed
		}
		for more && err == nil && now.index < was.index {
			now, err, more = pull()
		}
		if err != nil {
			return err
		}
		if more && now == was {
			continue
		}
		if err := g.lost(was); err != nil {
			return err
		}
	}
	return err
}

// lost takes an inode that has lost a name. It may have another one, and its number may be that of a new one: numbers are given anew when the highest ones
// are free and the subvolume is loaded again.
func (g *gone) lost(e entry) error {
	if err := g.ctx.Err(); err != nil {
		return context.Cause(g.ctx)
	}
	now, err := g.tree.find(g.tree.info.ID, e.inode)
	if err != nil {
		return err
	}
	if now.Links == 0 {
		g.inodes = append(g.inodes, e.inode)
	} else {
		was, err := g.tree.find(g.base, e.inode)
		if err != nil || was.Generation == now.Generation {
			return err
		}
	}
	if e.isDir {
		g.dirs = append(g.dirs, e.inode)
	}
	return nil
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
