package fingerprint

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
)

// VerifyOptions of a comparison. The zero value compares everything but data.
type VerifyOptions struct {
	Parts uint64 // data is compared of one part of the chunks in Parts, chosen by inode and place; 1: of all; 0: of none
	Part  uint64 // which one

	After      Cursor            // where an earlier comparison, with the same parts, was cut
	Workers    int               // that read at the same time; 0: as many as Go uses processors, at least two
	IOPriority int               // ioprio_set(2) value for all that read; 0 = inherit
	Progress   func(bytes int64) // told, from any goroutine, how much data was read
}

// wanted reports whether a chunk is to be compared.
func (o VerifyOptions) wanted(inode, index uint64) bool {
	if o.Parts == 0 || o.After.reached(inode, index) {
		return false
	}
	h := (inode*0x9e3779b97f4a7c15 ^ index) * 0xff51afd7ed558ccd
	return (h^h>>32)%o.Parts == o.Part
}

// Cursor is a place in a comparison: everything up to it was compared.
type Cursor struct {
	Inode uint64 // 0: the beginning
	Index uint64 // 0: what is not data; else the last chunk of data, counted from 1
}

func (c Cursor) reached(inode, index uint64) bool {
	return inode < c.Inode || inode == c.Inode && index <= c.Index
}

// Result is how far a comparison came.
type Result struct {
	Inodes   int64 // that were compared
	Chunks   int64 // of data that were read
	Bytes    int64 // of data that were read
	After    Cursor
	Complete bool // it came to the end, or to where the file system itself is damaged
}

// Verify reports in what the subvolume at path is not what the fingerprint of a backup says: that backup itself, or a snapshot that was restored from it
// and is to hold the same. What cannot be read, a block with a wrong checksum, is a difference. report is called from one goroutine.
//
// When ctx ends, the comparison is cut, and its result says from where the next one goes on. Errors: ErrNone; ErrDamaged, before
// anything was compared; and those of the machine.
func (s Store) Verify(ctx context.Context, path string, backup btrfs.UUID, o VerifyOptions, report func(Difference)) (Result, error) {
	r, err := s.verify(ctx, path, backup, o, report)
	if err != nil {
		return Result{After: o.After}, fmt.Errorf("compare %s with its fingerprint: %w", path, err)
	}
	return r, nil
}

func (s Store) verify(ctx context.Context, path string, backup btrfs.UUID, o VerifyOptions, report func(Difference)) (Result, error) {
	if o.Parts > 0 && o.Part >= o.Parts {
		return Result{}, fmt.Errorf("part %d of %d", o.Part, o.Parts)
	}
	c, err := s.open(backup)
	if err != nil {
		return Result{}, err
	}
	defer c.close()
	if err := c.check(); err != nil {
		return Result{}, err
	}
	all, err := merge(c)
	if err != nil {
		return Result{}, err
	}
	tree, err := btrfs.OpenTree(path)
	if err != nil {
		return Result{}, err
	}
	defer tree.Close()
	if !tree.Info().ReadOnly {
		if err := btrfs.Sync(path); err != nil {
			return Result{}, err
		}
	}
	scan := &scan{
		tree: tree, walk: btrfs.Walk{From: o.After.Inode}, wanted: o.wanted, cold: true,
		workers: o.Workers, ioPriority: o.IOPriority, progress: o.Progress,
	}
	v := &verification{want: all, after: o.After, differences: differences{path: path, report: report}}
	complete, err := v.run(ctx, scan)
	if err != nil {
		return Result{}, err
	}
	v.finish()
	return Result{Inodes: v.inodes, Chunks: scan.chunks.Load(), Bytes: scan.bytes.Load(), After: v.after, Complete: complete}, nil
}

// verification compares what a fingerprint says with what a scan finds, both in order.
type verification struct {
	want     *merged
	expected record // the next one
	ended    bool   // there is none

	after   Cursor
	inodes  int64
	present uint64      // inode that both have
	file    *attributes // of that
	differences
}

func (v *verification) run(ctx context.Context, s *scan) (complete bool, err error) {
	for !v.ended && v.after.reached(v.expected.inode, v.expected.index) { // at first by the zero record
		v.present = v.expected.inode
		if err := v.advance(); err != nil {
			return false, err
		}
	}
	for r, err := range s.records(ctx) {
		if err != nil {
			return v.broken(ctx, err)
		}
		if v.after.reached(r.inode, r.last()) && v.after != (Cursor{}) {
			if r.kind == isInode {
				v.file = r.attributes
			}
			continue
		}
		if err := v.missing(r.inode, r.index); err != nil {
			return false, err
		}
		if err := v.compare(r); err != nil {
			return false, err
		}
		v.after = Cursor{r.inode, r.last()}
	}
	return true, v.missing(^uint64(0), 0)
}

// broken is the end of a scan before its time.
func (v *verification) broken(ctx context.Context, err error) (complete bool, _ error) {
	switch {
	case ctx.Err() != nil:
		return false, nil
	case errors.Is(err, unix.EIO), errors.Is(err, unix.EUCLEAN):
		v.differ(rootInode, "cannot be read from inode %d on: %v", v.after.Inode, err)
		return true, nil
	}
	return false, err
}

// advance takes the next thing that the fingerprint says.
func (v *verification) advance() error {
	r, err := v.want.next()
	if err == io.EOF {
		v.expected, v.ended = record{}, true
		return nil
	}
	v.expected = r
	return err
}

// missing takes what the fingerprint says before a place, to which the scan has come.
func (v *verification) missing(inode, index uint64) error {
	for !v.ended && v.expected.before(inode, index) {
		e := v.expected
		switch {
		case e.kind == isInode:
			v.lost(e)
		case e.inode == v.present:
			v.content(v.file, e.inode, e.index)
		}
		if err := v.advance(); err != nil {
			return err
		}
	}
	return nil
}

// compare takes what the scan has found. Nothing is expected before it any more.
func (v *verification) compare(r result) error {
	e := v.expected
	here := !v.ended && e.inode == r.inode && r.index <= e.index && e.index <= r.last()
	switch {
	case r.kind == isInode:
		v.inodes++
		v.present, v.file = r.inode, r.attributes
		if here {
			v.attributes(r.inode, e.attributes, r.attributes)
		} else {
			v.present = 0
			v.differ(r.inode, "is new")
		}
	case r.inode != v.present: // a new one
	case r.kind == isUnread:
		for !v.ended && v.expected.before(r.inode, r.last()+1) {
			if err := v.advance(); err != nil {
				return err
			}
		}
		return nil
	case r.err != nil:
		v.unreadable(v.file, r)
	case here != (r.kind == isChunk) || here && e.sum != r.sum:
		v.content(v.file, r.inode, r.index)
	}
	if here {
		return v.advance()
	}
	return nil
}
