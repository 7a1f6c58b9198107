package btrfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/filetime"
)

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
		Mtime: filetime.Time{Sec: int64(le.Uint64(d[inodeItemMtime:])), Nsec: int64(le.Uint32(d[inodeItemMtime+8:]))},
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
