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
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// take makes a snapshot of the source and gives it its name. With only_if_changed a snapshot that turns out to equal the newest one is dropped
// again, and taken is nil.
//
// The snapshot appears under a hidden name, is entered in the catalog by its UUID, and only then renamed: whatever kills the run, a snapshot at its name is
// known to be btrkeep's, and one under a hidden name is a leftover.
func (s *source) take(ctx context.Context, now time.Time) (taken *Snapshot, err error) {
	if err := s.makeDir(); err != nil {
		return nil, err
	}
	if unchanged, err := s.unchanged(ctx); unchanged || err != nil {
		return nil, err
	}
	dir := s.job.SnapshotDir
	hidden := fmt.Sprintf("%s%d-%d", hiddenSnapshot, os.Getpid(), now.UnixNano())
	if err := btrfs.Snapshot(s.job.Source, dir, hidden, true); err != nil {
		return nil, snapshotError(s.job.Source, err)
	}
	v, err := btrfs.Info(filepath.Join(dir, hidden))
	if err != nil {
		return nil, fmt.Errorf("look at the new snapshot: %w", err)
	}
	drop := func() error { return btrfs.Delete(dir, hidden, v.UUID) }
	if err := catalog.Add(dir, catalog.Entry{UUID: v.UUID, Name: s.job.NameFormat.Format(now, s.zone), Taken: now, Ctransid: v.Ctransid, Adhoc: s.job.Adhoc}); err != nil {
		return nil, errors.Join(err, drop())
	}
	name, err := s.settle(hidden, now)
	if err != nil {
		return nil, errors.Join(err, drop())
	}
	if err := btrfs.Commit(dir); err != nil {
		return nil, fmt.Errorf("commit the new snapshot: %w", err)
	}
	if err := s.refresh(); err != nil {
		return nil, err
	}
	for i, n := range s.snapshots {
		if n.UUID == v.UUID {
			return &s.snapshots[i], nil
		}
	}
	return nil, fmt.Errorf("snapshot %s vanished right after it was made", name)
}

// nextName is the name of a snapshot taken now: its time, with -2, -3 … behind the highest number of that time. Not the first that is free: a destination may still
// have what was pruned here. The newest is never pruned, so no number comes twice.
func (s *source) nextName(now time.Time) string {
	base := s.job.NameFormat.Format(now, s.zone)
	highest := 0
	for _, v := range s.all {
		if !s.dir.Holds(v) {
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
func (s *source) settle(hidden string, now time.Time) (string, error) {
	name := s.nextName(now)
	for i := 2; ; i++ {
		err := btrfs.Rename(s.job.SnapshotDir, hidden, name)
		if err == nil {
			return name, nil
		}
		if !errors.Is(err, fs.ErrExist) || i >= 1000 {
			return "", fmt.Errorf("name the snapshot %s: %w", name, err)
		}
		name = fmt.Sprintf("%s-%d", s.job.NameFormat.Format(now, s.zone), i)
	}
}

// unchanged reports that only_if_changed wants no snapshot, which costs no transaction then. Everything that was written before is on the disk and in the trees
// once it is synced; what is written afterwards belongs to the next run. A file system that turned read-only has lost what was not: that is no "unchanged".
func (s *source) unchanged(ctx context.Context) (bool, error) {
	last := s.lastOwn()
	if !s.job.OnlyIfChanged || last == nil || s.fsys.ReadOnly {
		return false, nil
	}
	if err := btrfs.Sync(s.job.Source); err != nil {
		return false, fmt.Errorf("look for changes: %w", err)
	}
	changed, err := s.changedSince(ctx, *last, s.job.Source)
	if err != nil {
		return false, fmt.Errorf("look for changes: %w", err)
	}
	return !changed, nil
}

// changedSince reports whether the source was changed between two snapshots of it. A snapshot is made at the very end of its transaction (otransid), so
// everything in the newer one that has a later transaction came after the older one. What the snapshot directory itself went
// through when it lies inside the source does not count.
func (s *source) changedSince(ctx context.Context, last Snapshot, path string) (bool, error) {
	if last.ParentUUID != s.volume.UUID {
		return true, nil // the source was rolled back or replaced since: it may be older than the snapshot
	}
	return s.writtenSince(ctx, path, last.Otransid)
}

// writtenSince reports whether the source, at path, was changed after a transaction. What its snapshot directory went through does not count.
func (s *source) writtenSince(ctx context.Context, path string, gen uint64) (bool, error) {
	v, err := btrfs.Info(path)
	if err != nil {
		return false, err
	}
	if v.Ctransid <= gen {
		return false, nil
	}
	var ignore []uint64
	if s.dir.SubvolumeID == s.volume.ID {
		ignore = append(ignore, s.dir.Inode)
		if st, err := os.Lstat(filepath.Join(s.job.SnapshotDir, catalog.File)); err == nil {
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

// clean deletes what killed runs left in the snapshot directory.
func (s *source) clean() (removed []string, err error) {
	for _, v := range s.leftovers {
		if e := btrfs.Delete(s.job.SnapshotDir, v.Name, v.UUID); e != nil {
			err = errors.Join(err, fmt.Errorf("delete leftover: %w", e))
			continue
		}
		removed = append(removed, v.Name)
	}
	return removed, err
}

// forget drops catalog entries of snapshots that are no longer there.
func (s *source) forget() error {
	if s.dir == (btrfs.Dir{}) {
		return nil
	}
	alive := make(map[btrfs.UUID]bool, len(s.all))
	for _, v := range s.all {
		alive[v.UUID] = true
	}
	return catalog.Forget(s.job.SnapshotDir, func(id btrfs.UUID) bool { return !alive[id] })
}

// nestedWarning names the subvolumes that the snapshots do not contain.
func (s *source) nestedWarning() string {
	if len(s.nested) == 0 {
		return ""
	}
	return fmt.Sprintf("%s holds other subvolumes, which are not in its snapshots: %s; give each a job of its own", s.job.Source, quoted(s.nested))
}

// quoted are names that any user may have chosen, the first few of them.
func quoted(names []string) string {
	const most = 5
	var all []string
	for _, n := range names[:min(len(names), most)] {
		all = append(all, strconv.Quote(n))
	}
	text := strings.Join(all, ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
