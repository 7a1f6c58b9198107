package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
	"github.com/btrkeep/btrkeep/jobs/fingerprint"
)

// hiddenIncoming is how the names of subvolumes begin that are being received. A read-only subvolume cannot be moved to another
// directory, so they lie where they will be.
const hiddenIncoming = ".btrkeep-incoming-"

// deleteBatch is after how many deletions the kernel's cleaner may catch up.
const deleteBatch = 100

// subvolumes are those of the file system, asked for at the directory or, if that is yet to be made, above.
func (d *Dir) subvolumes() (*btrfs.Listing, error) {
	for dir := d.path; ; dir = filepath.Dir(dir) {
		all, err := d.opener.View.List(dir)
		if !errors.Is(err, fs.ErrNotExist) || dir == "/" {
			return all, err
		}
	}
}

// children are those of the file system's subvolumes that are right in the directory; none if the first run is yet to make it.
func (d *Dir) children(all *btrfs.Listing) ([]btrfs.Subvolume, error) {
	dir, err := btrfs.LocateDir(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("destination %s: %w", d.path, err)
	}
	return all.In(dir), nil
}

// List lists the subvolumes in the directory, and the backups in those above.
func (d *Dir) List(context.Context) (jobs.Contents, error) {
	all, err := d.subvolumes()
	if err != nil {
		return jobs.Contents{}, fmt.Errorf("list subvolumes of %s: %w", d.path, err)
	}
	children, err := d.children(all)
	if err != nil {
		return jobs.Contents{}, err
	}
	cat, err := catalog.Read(d.path)
	if err != nil {
		return jobs.Contents{}, err
	}
	there := jobs.Contents{Backups: make([]jobs.Backup, 0, len(children))}
	for _, s := range children {
		if !strings.HasPrefix(s.Name, hiddenIncoming) {
			there.Backups = append(there.Backups, d.backup(s, cat))
		} else if l, mine := d.leftover(s, cat); mine {
			there.Leftovers = append(there.Leftovers, l)
		}
	}
	slices.SortStableFunc(there.Backups, func(a, b jobs.Backup) int { return a.Taken.Compare(b.Taken) })
	there.Above = d.above(all)
	return there, nil
}

// mine reports whether an entry is of this source. Two sources that share a directory, from two machines or two configurations, must not prune each other's backups.
// A source that was moved, restored or rolled back is still known by one of the two. All that others keep in a directory is of the job that prunes that.
func (d *Dir) mine(e catalog.Entry) bool {
	return d.job.Received != "" || e.Source == "" || e.Source == d.origin || e.Volume == d.volume && !d.volume.IsZero()
}

// leftover is s as what an interrupted transfer left, with its checkpoint if it is as that was saved. Those of other sources are not mine.
func (d *Dir) leftover(s btrfs.Subvolume, cat catalog.Catalog) (l jobs.Leftover, mine bool) {
	l = jobs.Leftover{Name: s.Name, UUID: s.UUID, Created: s.Created}
	e := cat[s.UUID]
	if e.Checkpoint != nil && s.ReadOnly && e.Ctransid == s.Ctransid && d.opener.Receiver.CanResume() {
		l.Checkpoint = e.Checkpoint
	}
	return l, e.Checkpoint == nil || d.mine(e)
}

func (d *Dir) backup(s btrfs.Subvolume, cat catalog.Catalog) jobs.Backup {
	e, own := cat[s.UUID]
	own = own && d.mine(e)
	b := jobs.Backup{
		Subvolume: s,
		Path:      d.path + "/" + s.Name,
		Complete:  s.ReadOnly && !s.ReceivedUUID.IsZero(),
		Own:       own,
		Pinned:    e.Pinned != "",
		PinReason: e.Pinned,
		Altered:   e.Ctransid != 0 && e.Ctransid != s.Ctransid,
		Origin:    e.Source,
	}
	if b.Taken = e.Taken; b.Taken.IsZero() {
		var ok bool
		if b.Taken, ok = d.job.NameFormat.Parse(s.Name, d.opener.Zone); !ok {
			b.Taken = s.Created
		}
	}
	return b
}

// Clean deletes what interrupted transfers left. A leftover that looks finished goes too: after a power cut its files may be empty, and nothing tells.
func (d *Dir) Clean(_ context.Context, leftovers []jobs.Leftover) (removed []string, err error) {
	ids := map[btrfs.UUID]bool{}
	for _, s := range leftovers {
		if e := btrfs.Delete(d.path, s.Name, s.UUID); errors.Is(e, btrfs.ErrInUse) {
			err = errors.Join(err, &jobs.InUseError{Name: s.Name})
			continue
		} else if e != nil {
			err = errors.Join(err, fmt.Errorf("delete leftover: %w", e))
			continue
		}
		removed, ids[s.UUID] = append(removed, s.Name), true
	}
	return removed, errors.Join(err, catalog.Forget(d.path, func(id btrfs.UUID) bool { return ids[id] }))
}

// Delete deletes backups that are btrkeep's own, and waits for the deletions to be durable: what was pruned does not come back.
func (d *Dir) Delete(ctx context.Context, backups []jobs.Backup) (gone []jobs.Backup, err error) {
	ids := make(map[btrfs.UUID]bool, len(backups))
	for _, b := range backups {
		if ctx.Err() != nil {
			err = errors.Join(err, context.Cause(ctx))
			break
		}
		if !b.Own {
			err = errors.Join(err, fmt.Errorf("delete %s: not made by this job", b.Path))
			continue
		}
		if e := btrfs.Delete(d.path, b.Name, b.UUID); errors.Is(e, btrfs.ErrInUse) {
			err = errors.Join(err, &jobs.InUseError{Name: b.Name})
			continue
		} else if e != nil {
			err = errors.Join(err, &jobs.HintError{Err: fmt.Errorf("prune %s: %w", b.Path, e), Hint: "what is mounted has to be unmounted, what holds other subvolumes emptied of them; until then it stays"})
			continue
		}
		gone, ids[b.UUID] = append(gone, b), true
		if len(gone)%deleteBatch == 0 {
			if e := btrfs.WaitDeleted(ctx, d.path); e != nil {
				err = errors.Join(err, e)
				break
			}
		}
	}
	if len(gone) == 0 {
		return nil, err
	}
	if e := btrfs.Commit(d.path); e != nil {
		return gone, errors.Join(err, fmt.Errorf("commit deletions in %s: %w", d.path, e))
	}
	if store := fingerprint.In(d.path); store.Exists() {
		err = errors.Join(err, store.Forget(slices.Collect(maps.Keys(ids))...))
	}
	return gone, errors.Join(err, catalog.Forget(d.path, func(id btrfs.UUID) bool { return ids[id] }))
}
