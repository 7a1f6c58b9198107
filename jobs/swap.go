package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// swapPrefix begins the name that the restored subvolume has beside the source, and after the exchange the source itself. The rest is the UUID of the source: whatever
// interrupts a restoration in place, it is certain which of the two has that name.
const swapPrefix = ".btrkeep-swap-"

// beforeInfix is what follows the source's name in that of the subvolume that it was before it was restored.
const beforeInfix = ".before-restore-"

// swap is a restoration in place.
type swap struct {
	*restoring
	v     version
	place *btrfs.Place
	below string   // the snapshot directory's path in the source; "" if it is not in there
	shown []string // where the source is mounted by itself: there it shows what it was until it is mounted anew
}

// above reports whether a path lies in a directory.
func above(dir, path string) bool {
	below, err := filepath.Rel(dir, path)
	return err == nil && below != ".." && !strings.HasPrefix(below, "../")
}

// inPlace replaces the source by the version: made beside it under a hidden name, given the snapshots of the old one, and then, at once, the old one's name.
func (r *restoring) inPlace(ctx context.Context, v version) error {
	if r.o.Job.Remote() {
		return hintf("restore it to a directory here and send it there, or run btrkeep on that machine with --from-dir", "the source is on another machine, %s", r.o.Job.Source)
	}
	if r.src == nil {
		return hintf("restore to a new path: `btrkeep restore JOB --to PATH`", "there is no source in whose place to restore")
	}
	unlock, err := lockJob(r.Config, r.o.Job, Holder{PID: os.Getpid(), Job: r.o.Job.Name, Since: r.o.Clock.Wall})
	if err != nil {
		return err
	}
	defer unlock()
	if r.src, err = r.openSource(ctx, r.o.Job); err != nil {
		return err
	}
	s := &swap{restoring: r, v: v}
	s.mine.To = r.o.Job.Source
	if s.place, err = btrfs.FindPlace(r.o.Job.Source); errors.Is(err, btrfs.ErrTopLevel) {
		return hintf("restore to a new path with --to, and mount that instead", "%s cannot be replaced: %w", r.o.Job.Source, err)
	} else if err != nil {
		return err
	}
	defer s.place.Close()
	if s.place.Mounted && strings.Contains(s.place.Name, beforeInfix) {
		return hintf(fmt.Sprintf("umount %s && mount %s, then restore again", r.o.Job.Source, r.o.Job.Source),
			"%s was restored already, and still shows what it was: %s", r.o.Job.Source, filepath.Join(s.place.Shown, s.place.Name))
	}
	if s.shown, err = btrfs.MountPoints(r.o.Job.Source); err != nil {
		return err
	}
	if r.src.Dir.SubvolumeID == r.src.Volume.ID || r.src.Dir == (btrfs.Dir{}) && r.src.here.defaultDir() {
		if s.below, err = filepath.Rel(r.o.Job.Source, r.o.Job.SnapshotDir); err != nil {
			return err
		}
	} else if above(r.o.Job.Source, r.o.Job.SnapshotDir) {
		return hintf("move the snapshots out of the source, or restore to a new path with --to", "%s lies in the source, but in another subvolume, which cannot be carried over", r.o.Job.SnapshotDir)
	}
	if done, err := s.recover(ctx); done || err != nil {
		return err
	}
	return s.run(ctx)
}

func (s *swap) run(ctx context.Context) error {
	if !s.o.DryRun {
		if err := s.src.here.makeDir(); err != nil {
			return err
		}
	}
	stage := s.staging(s.o.Job.SnapshotDir, s.v)
	if s.src.Dir == (btrfs.Dir{}) {
		stage.dir = s.o.Job.Source // only to be looked at
	}
	from, err := stage.bring(ctx)
	if err != nil || s.o.DryRun {
		return err
	}
	defer stage.close()
	hidden := swapPrefix + s.src.Volume.UUID.String()
	if err := btrfs.Snapshot(from, s.place.Dir, hidden, false); err != nil {
		return err
	}
	if err := s.exchange(ctx, from, hidden, stage); err != nil {
		made, infoErr := btrfs.Info(filepath.Join(s.place.Dir, hidden))
		return errors.Join(err, infoErr, s.discard(hidden, made))
	}
	return s.finish(ctx, hidden)
}

// exchange completes the new subvolume and gives it the source's name. After an error the source is what it was.
func (s *swap) exchange(ctx context.Context, from, hidden string, stage *staging) error {
	if err := s.furnish(from, filepath.Join(s.place.Dir, hidden), stage.brought); err != nil {
		return err
	}
	if err := stage.clear(ctx); err != nil {
		return err
	}
	s.release() // from here on the twin counts
	if err := btrfs.Commit(s.place.Dir); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return btrfs.Exchange(s.place.Dir, s.place.Name, hidden)
}

// furnish gives the new subvolume the snapshots of the old one, and the one it is made of.
func (s *swap) furnish(from, volume string, brought bool) error {
	info, err := btrfs.Info(volume)
	if err != nil {
		return err
	}
	if s.below == "" {
		if err := catalog.SetVolume(s.o.Job.SnapshotDir, info.UUID, func(catalog.Entry) bool { return true }); err != nil || !brought {
			return err
		}
		return s.keepCommon(from, volume, s.v, false)
	}
	dir := filepath.Join(volume, s.below)
	if err := prepareSnapshotDir(dir, s.o.Clock.Wall); err != nil {
		return err
	}
	cat, err := catalog.Read(s.o.Job.SnapshotDir)
	if err != nil {
		return err
	}
	own := slices.DeleteFunc(slices.Clone(s.src.snapshots), func(n Snapshot) bool { return !n.Own || s.src.altered[n.UUID] })
	if brought {
		own = append(own, Snapshot{Subvolume: s.v.Subvolume, Path: from, Taken: s.v.taken})
		s.mine.Common = filepath.Join(s.o.Job.SnapshotDir, s.v.Name)
	}
	return moveSnapshots(own, cat, dir, info.UUID, s.o.Clock.Wall)
}

// finish takes from the old subvolume, which has the hidden name by now, the snapshots that the new one has as well, and gives it its final name: last, since it is
// by the hidden one that the next restoration finds what an interrupted one has not done.
func (s *swap) finish(ctx context.Context, hidden string) (err error) {
	if s.below != "" && len(s.shown) == 0 { // a source that is still the old one must keep its snapshots until it is mounted anew
		err = s.dropMoved(ctx, filepath.Join(s.place.Dir, hidden, s.below), filepath.Join(s.place.Dir, s.place.Name, s.below))
	}
	return errors.Join(err, s.nameBefore(hidden))
}

func (s *swap) nameBefore(hidden string) error {
	base := s.place.Name + beforeInfix + s.o.Clock.Wall.UTC().Format("20060102T150405Z")
	before := base
	for i := 2; ; i++ {
		err := btrfs.Rename(s.place.Dir, hidden, before)
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrExist) || i > 1000 {
			return fmt.Errorf("the source is restored; what it was is called %s: %w", hidden, err)
		}
		before = fmt.Sprintf("%s-%d", base, i)
	}
	if err := btrfs.Commit(s.place.Dir); err != nil {
		return err
	}
	s.mine.Before = filepath.Join(s.place.Shown, before)
	s.explain()
	return nil
}

// explain says what is to be done now.
func (s *swap) explain() {
	source := s.o.Job.Source
	for _, point := range s.shown {
		s.note("%s shows what was there until it is mounted anew: umount %s && mount %s, or restart the machine; where /etc/fstab or the boot loader names it by subvolid=, name it by subvol= instead, "+
			"and where it is the default subvolume, choose the new one with btrfs subvolume set-default", point, point, point)
	}
	if s.place.Mounted {
		s.note("what it was is now %s, counted from the top level of the file system; mount that with subvolid=5 to delete it when nobody misses anything", s.mine.Before)
	} else {
		s.note("programs that have files in %s open still work on what it was: restart them", source)
		s.note("what it was is kept as %s; when nobody misses anything: btrfs subvolume delete %s", s.mine.Before, s.mine.Before)
	}
	if s.below != "" && (len(s.shown) > 0 || s.leaves()) {
		s.note("snapshots are left in %s; they are to be deleted before it", filepath.Join(s.mine.Before, s.below))
	}
	if len(s.src.nested) > 0 {
		s.note("subvolumes that were inside the source are not in its snapshots and now lie in %s: %s", s.mine.Before, quoted(s.src.nested))
	}
}

// dropMoved deletes from the old snapshot directory what has a twin in the new one.
func (s *swap) dropMoved(ctx context.Context, older, newer string) error {
	cat, err := catalog.Read(older)
	if err != nil {
		return err
	}
	gone := map[btrfs.UUID]bool{}
	names, err := os.ReadDir(older)
	if err != nil {
		return err
	}
	for _, n := range names {
		old, infoErr := btrfs.Info(filepath.Join(older, n.Name()))
		if infoErr != nil || cat[old.UUID].UUID.IsZero() || !isOwnTwin(newer, old) {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		if e := btrfs.Delete(older, n.Name(), old.UUID); errors.Is(e, btrfs.ErrInUse) {
			s.note("%s is being read: it stays in %s", n.Name(), older)
		} else if e != nil {
			err = errors.Join(err, e)
		} else {
			gone[old.UUID] = true
		}
	}
	return errors.Join(err, catalog.Forget(older, func(id btrfs.UUID) bool { return gone[id] }), btrfs.Commit(older))
}

// leaves reports whether the old snapshot directory has snapshots that the new one has not: those of others, and those that somebody has written into.
func (s *swap) leaves() bool {
	return slices.ContainsFunc(s.src.snapshots, func(n Snapshot) bool { return !n.Own || s.src.altered[n.UUID] })
}

// recover looks for what an interrupted restoration has left beside the source: a new subvolume that never took its place is deleted, an old one that has lost it gets its final name. done
// means that what was asked for is in place already.
func (s *swap) recover(ctx context.Context) (done bool, err error) {
	names, err := os.ReadDir(s.place.Dir)
	if err != nil {
		return false, err
	}
	for _, n := range names {
		id, ours := strings.CutPrefix(n.Name(), swapPrefix)
		if !ours {
			continue
		}
		left, err := btrfs.Info(filepath.Join(s.place.Dir, n.Name()))
		if err != nil {
			continue // not a subvolume: not ours
		}
		switch {
		case id == left.UUID.String(): // the exchange has happened
			if s.o.DryRun {
				s.note("an interrupted restoration would be finished: %s", n.Name())
				continue
			}
			// The source that is mounted may be this one: then nothing can be done before it is mounted anew.
			restored, err := s.isRestored(ctx)
			if err != nil {
				return false, err
			}
			done = done || restored || left.UUID == s.src.Volume.UUID
			if err := s.finish(ctx, n.Name()); err != nil {
				return done, err
			}
		case id == s.src.Volume.UUID.String() && !s.o.DryRun: // it has not
			if err := s.discard(n.Name(), left); err != nil {
				return false, err
			}
		}
	}
	return done, nil
}

// isRestored reports whether the source is made of the version, and has not been changed since.
func (s *swap) isRestored(ctx context.Context) (bool, error) {
	changed, err := s.src.here.writtenSince(ctx, s.o.Job.Source, s.src.Volume.Otransid)
	if err != nil || changed {
		return false, err
	}
	return s.src.Volume.ParentUUID == s.v.UUID || slices.ContainsFunc(s.src.snapshots, func(n Snapshot) bool {
		return btrfs.SameContent(n.Subvolume, s.v.Subvolume) && (n.UUID == s.src.Volume.ParentUUID || n.ParentUUID == s.src.Volume.ParentUUID)
	}), nil
}

// discard deletes a new subvolume that never took its place, with the snapshots that it was given.
func (s *swap) discard(name string, left btrfs.Subvolume) error {
	if left.UUID == s.src.Volume.UUID || left.UUID.IsZero() {
		return fmt.Errorf("%s is the source itself", name) // whatever led here: never
	}
	if s.below != "" {
		dir := filepath.Join(s.place.Dir, name, s.below)
		names, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		for _, n := range names {
			v, err := btrfs.Info(filepath.Join(dir, n.Name()))
			if err != nil || v.ParentID != left.ID { // not one of the twins
				continue
			}
			if err := btrfs.Delete(dir, n.Name(), v.UUID); err != nil {
				return fmt.Errorf("clean up after an interrupted restoration: %w", err)
			}
		}
	}
	if err := btrfs.Delete(s.place.Dir, name, left.UUID); err != nil {
		return fmt.Errorf("clean up after an interrupted restoration: %w", err)
	}
	return nil
}
