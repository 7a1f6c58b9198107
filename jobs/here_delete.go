package jobs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// pruneBatch is after how many deletions prune lets the kernel's cleaner catch up: a deletion is only a promise to it.
const pruneBatch = 100

// Clean deletes what killed runs left in the snapshot directory.
func (h *Here) Clean(context.Context) (removed []string, err error) {
	for _, v := range h.seen.leftovers() {
		if e := btrfs.Delete(h.job.SnapshotDir, v.Name, v.UUID); e != nil {
			err = errors.Join(err, fmt.Errorf("delete leftover: %w", e))
			continue
		}
		removed = append(removed, v.Name)
	}
	return removed, err
}

// leftovers are what killed runs left in the snapshot directory.
func (l Look) leftovers() []btrfs.Subvolume {
	return slices.DeleteFunc(slices.Clone(l.All), func(v btrfs.Subvolume) bool {
		return !strings.HasPrefix(v.Name, hiddenSnapshot) || l.Dir == (btrfs.Dir{}) || !l.Dir.Holds(v)
	})
}

// Delete deletes snapshots in the order given, in batches.
func (h *Here) Delete(ctx context.Context, snapshots []btrfs.Subvolume, done func(btrfs.UUID)) error {
	gone := map[btrfs.UUID]bool{}
	var failed error // one that is mounted or holds others must not keep the rest
	for _, s := range snapshots {
		if ctx.Err() != nil {
			failed = errors.Join(failed, context.Cause(ctx))
			break
		}
		if _, own := h.seen.Catalog[s.UUID]; !own || !h.seen.Dir.Holds(s) {
			failed = errors.Join(failed, fmt.Errorf("delete %s: %w", s.Name, ErrForeign))
			continue
		}
		if err := btrfs.Delete(h.job.SnapshotDir, s.Name, s.UUID); errors.Is(err, btrfs.ErrInUse) {
			failed = errors.Join(failed, &InUseError{s.Name})
			continue
		} else if err != nil {
			failed = errors.Join(failed, fmt.Errorf("prune %s: %w", filepath.Join(h.job.SnapshotDir, s.Name), err))
			continue
		}
		gone[s.UUID] = true
		done(s.UUID)
		if len(gone)%pruneBatch == 0 {
			if err := btrfs.WaitDeleted(ctx, h.job.SnapshotDir); err != nil {
				failed = errors.Join(failed, err)
				break
			}
		}
	}
	if len(gone) == 0 {
		return failed
	}
	if err := btrfs.Commit(h.job.SnapshotDir); err != nil {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, h.forget(gone))
}

// forget drops catalog entries of snapshots that are no longer there.
func (h *Here) forget(gone map[btrfs.UUID]bool) error {
	alive := make(map[btrfs.UUID]bool, len(h.seen.All))
	for _, v := range h.seen.All {
		alive[v.UUID] = !gone[v.UUID]
	}
	return catalog.Forget(h.job.SnapshotDir, func(id btrfs.UUID) bool { return !alive[id] })
}

// Pin notes the pin in the catalog of the directory.
func (h *Here) Pin(_ context.Context, id btrfs.UUID, reason string) (bool, error) {
	return catalog.Pin(h.job.SnapshotDir, id, reason)
}

// Lock has nothing to lock: the job's locks do.
func (h *Here) Lock(context.Context, Holder) (func(), error) { return func() {}, nil }

// Close has nothing to close.
func (h *Here) Close() error { return nil }
