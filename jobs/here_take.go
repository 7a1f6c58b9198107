package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// Take makes a snapshot of the source and gives it its name.
//
// The snapshot appears under a hidden name, is entered in the catalog by its UUID, and only then renamed: whatever kills the run, a snapshot at its name is
// known to be btrkeep's, and one under a hidden name is a leftover.
func (h *Here) Take(ctx context.Context, now time.Time) (id btrfs.UUID, err error) {
	if err := h.makeDir(); err != nil {
		return btrfs.UUID{}, err
	}
	if unchanged, err := h.unchanged(ctx); unchanged || err != nil {
		return btrfs.UUID{}, err
	}
	dir := h.job.SnapshotDir
	hidden := fmt.Sprintf("%s%d-%d", hiddenSnapshot, os.Getpid(), now.UnixNano())
	if err := btrfs.Snapshot(h.job.Source, dir, hidden, true); err != nil {
		return btrfs.UUID{}, snapshotError(h.job.Source, err)
	}
	v, err := btrfs.Info(filepath.Join(dir, hidden))
	if err != nil {
		return btrfs.UUID{}, fmt.Errorf("look at the new snapshot: %w", err)
	}
	drop := func() error { return btrfs.Delete(dir, hidden, v.UUID) }
	if v.ParentUUID != h.seen.Volume.UUID { // something else was put in its place meanwhile
		return btrfs.UUID{}, errors.Join(hintf("run it again", "source %s is not the subvolume that it was a moment ago", h.job.Source), drop())
	}
	if err := catalog.Add(dir, catalog.Entry{UUID: v.UUID, Name: h.job.NameFormat.Format(now, h.zone), Taken: now, Ctransid: v.Ctransid, Adhoc: h.job.Adhoc}); err != nil {
		return btrfs.UUID{}, errors.Join(err, drop())
	}
	if err := h.settle(hidden, now); err != nil {
		return btrfs.UUID{}, errors.Join(err, drop())
	}
	if err := btrfs.Commit(dir); err != nil {
		return btrfs.UUID{}, fmt.Errorf("commit the new snapshot: %w", err)
	}
	return v.UUID, nil
}

// nextName is the name of a snapshot taken now: its time, with -2, -3 … behind the highest number of that time. Not the first that is free: a destination may still
// have what was pruned here. The newest is never pruned, so no number comes twice.
func (l Look) nextName(format config.NameFormat, now time.Time, zone *time.Location) string {
	base := format.Format(now, zone)
	highest := 0
	for _, v := range l.All {
		if !l.Dir.Holds(v) {
			continue
		}
		if v.Name == base {
			highest = max(highest, 1)
		} else if digits, ok := strings.CutPrefix(v.Name, base+"-"); ok {
			if n, err := strconv.Atoi(digits); err == nil {
				highest = max(highest, n)
			}
		}
	}
	if highest == 0 {
		return base
	}
	return fmt.Sprintf("%s-%d", base, highest+1)
}

// settle renames the hidden snapshot to its name; something that is no subvolume may be in the way.
func (h *Here) settle(hidden string, now time.Time) error {
	name := h.seen.nextName(h.job.NameFormat, now, h.zone)
	for i := 2; ; i++ {
		err := btrfs.Rename(h.job.SnapshotDir, hidden, name)
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrExist) || i >= 1000 {
			return fmt.Errorf("name the snapshot %s: %w", name, err)
		}
		name = fmt.Sprintf("%s-%d", h.job.NameFormat.Format(now, h.zone), i)
	}
}

// unchanged reports that only_if_changed wants no snapshot, which costs no transaction then. Everything that was written before is on the disk and in the trees
// once it is synced; what is written afterwards belongs to the next run. A file system that turned read-only has lost what was not: that is no "unchanged".
func (h *Here) unchanged(ctx context.Context) (bool, error) {
	if !h.job.OnlyIfChanged || h.seen.FileSystem.ReadOnly {
		return false, nil
	}
	last := newSource(h.job, h.zone, h.seen).lastOwn()
	if last == nil {
		return false, nil
	}
	if err := btrfs.Sync(h.job.Source); err != nil {
		return false, fmt.Errorf("look for changes: %w", err)
	}
	changed, err := h.Changed(ctx, *last)
	if err != nil {
		return false, fmt.Errorf("look for changes: %w", err)
	}
	return !changed, nil
}

// Changed reports whether the source was changed since a snapshot of it. A snapshot is made at the very end of its transaction (otransid), so
// everything in the newer one that has a later transaction came after the older one. What the snapshot directory itself went
// through when it lies inside the source does not count.
func (h *Here) Changed(ctx context.Context, last Snapshot) (bool, error) {
	if last.ParentUUID != h.seen.Volume.UUID {
		return true, nil // the source was rolled back or replaced since: it may be older than the snapshot
	}
	return h.writtenSince(ctx, h.job.Source, last.Otransid)
}

// writtenSince reports whether the source, at path, was changed after a transaction. What its snapshot directory went through does not count.
func (h *Here) writtenSince(ctx context.Context, path string, gen uint64) (bool, error) {
	v, err := btrfs.Info(path)
	if err != nil {
		return false, err
	}
	if v.Ctransid <= gen {
		return false, nil
	}
	var ignore []uint64
	if h.seen.Dir.SubvolumeID == h.seen.Volume.ID {
		ignore = append(ignore, h.seen.Dir.Inode)
		if st, err := os.Lstat(filepath.Join(h.job.SnapshotDir, catalog.File)); err == nil {
			ignore = append(ignore, st.Sys().(*syscall.Stat_t).Ino)
		}
	}
	c, err := btrfs.ChangedSince(ctx, path, gen, ignore...)
	return c.Inodes > 0, err
}

func snapshotError(path string, err error) error {
	err = fmt.Errorf("snapshot %s: %w", path, err)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &HintError{err, "the source's file system is full: a snapshot needs free metadata space; `btrfs filesystem usage` shows where it went, a smaller `keep` gives some back"}
	case errors.Is(err, syscall.EROFS):
		return &HintError{err, "the source's file system is mounted read-only, perhaps after an error: see the kernel's log"}
	}
	return err
}
