package fingerprint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/btrkeep/btrkeep/btrfs"
)

// Make makes the fingerprint of a backup, which is complete and on the disk, and replaces one that there may be. path is the backup's root, info what it was found to be.
//
// With a base that is still there and has a usable fingerprint, only what differs from it is read; else everything, which costs what reading the
// backup costs. When ctx ends, there is no fingerprint.
func (s Store) Make(ctx context.Context, path string, info btrfs.Subvolume, base *Base, o Options) (Summary, error) {
	sum, err := s.make(ctx, path, info, base, o)
	if err != nil {
		return Summary{}, fmt.Errorf("fingerprint of %s: %w", path, err)
	}
	return sum, nil
}

func (s Store) make(ctx context.Context, path string, info btrfs.Subvolume, base *Base, o Options) (Summary, error) {
	tree, err := btrfs.OpenTree(path)
	if err != nil {
		return Summary{}, err
	}
	defer tree.Close()
	switch now := tree.Info(); {
	case now.UUID != info.UUID:
		return Summary{}, fmt.Errorf("it is another subvolume: its UUID is %s, not %s", now.UUID, info.UUID)
	case !now.ReadOnly:
		return Summary{}, errors.New("it is writable")
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return Summary{}, err
	}
	m := &making{store: s, tree: tree, options: o}
	if m.on(base, path) {
		sum, err := m.delta(ctx)
		if !errors.Is(err, ErrDamaged) {
			return sum, err
		}
	}
	return m.whole(ctx)
}

// making is the making of one fingerprint.
type making struct {
	store   Store
	tree    *btrfs.Tree
	options Options
	base    btrfs.Walk
	header  header // of a delta
}

// on looks whether a base can be built on.
func (m *making) on(base *Base, path string) bool {
	if base == nil || base.UUID == m.tree.Info().UUID {
		return false
	}
	all, err := btrfs.List(path)
	if err != nil {
		return false
	}
	for _, s := range all {
		if s.UUID != base.UUID || !s.ReadOnly {
			continue
		}
		c, err := m.store.open(base.UUID)
		if err != nil {
			return false
		}
		defer c.close()
		m.header.Base, m.header.Depth = base.UUID, c[0].Depth+1
		// Whatever is told, nothing changed in the backup before it was made.
		m.base = btrfs.Walk{Base: s.ID, Since: min(base.Since, m.tree.Info().Otransid)}
		return len(c) < maxChain
	}
	return false
}

// whole reads everything.
func (m *making) whole(ctx context.Context) (Summary, error) {
	return m.write(ctx, header{}, btrfs.Walk{}, nil)
}

// delta reads what differs from the base. When that makes the chain too long or too heavy, the whole is put together of its parts.
func (m *making) delta(ctx context.Context) (Summary, error) {
	gone, err := m.tree.Gone(ctx, m.base.Base, m.base.Since)
	if err != nil {
		return Summary{}, err
	}
	sum, err := m.write(ctx, m.header, m.base, gone)
	if err != nil {
		return sum, err
	}
	c, err := m.store.open(m.tree.Info().UUID)
	if err != nil {
		return sum, err
	}
	defer c.close()
	if len(c) < maxChain && !c.outweighed() {
		return sum, nil
	}
	sum.Whole = true
	sum.Size, err = m.join(c)
	return sum, err
}

// write makes a fingerprint's file.
func (m *making) write(ctx context.Context, h header, walk btrfs.Walk, gone []uint64) (Summary, error) {
	h.Backup = m.tree.Info().UUID
	w, err := create(m.store.path(h.Backup, whole), h)
	if err != nil {
		return Summary{}, err
	}
	s := &scan{tree: m.tree, walk: walk, workers: m.options.Workers, ioPriority: m.options.IOPriority, progress: m.options.Progress}
	sum := Summary{Whole: walk.Base == 0}
	for r, err := range s.records(ctx) {
		if err == nil {
			err = r.err
		}
		for err == nil && len(gone) > 0 && gone[0] < r.inode {
			err = w.write(record{inode: gone[0], kind: isGone})
			gone = gone[1:]
		}
		if r.kind == isInode {
			sum.Inodes++
		}
		if err == nil && (r.kind != isZeros || walk.Base != 0) {
			err = w.write(r.record)
		}
		if err != nil {
			return sum, errors.Join(err, w.abort())
		}
	}
	for _, inode := range gone {
		if err := w.write(record{inode: inode, kind: isGone}); err != nil {
			return sum, errors.Join(err, w.abort())
		}
	}
	sum.Chunks, sum.BytesRead = s.chunks.Load(), s.bytes.Load()
	sum.Size, err = w.commit()
	return sum, err
}

// join writes what a chain comes to in place of its newest file.
func (m *making) join(c chain) (size int64, err error) {
	if err := c.check(); err != nil {
		return 0, err
	}
	all, err := merge(c)
	if err != nil {
		return 0, err
	}
	w, err := create(m.store.path(c[0].Backup, whole), header{Backup: c[0].Backup})
	if err != nil {
		return 0, err
	}
	for {
		r, err := all.next()
		if err == io.EOF {
			return w.commit()
		}
		if err == nil {
			err = w.write(r)
		}
		if err != nil {
			return 0, errors.Join(err, w.abort())
		}
	}
}
