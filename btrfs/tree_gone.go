package btrfs

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"golang.org/x/sys/unix"
)

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
