package jobs

import (
	"context"
	"fmt"
	"math"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// maxNamed is how many of the files are named that somebody has written into a backup.
const maxNamed = 100

// rootInode is the inode of the root directory of every subvolume.
const rootInode = 256

// structure looks at how the backups of a destination stand.
func (v *verification) structure(ctx context.Context, p *verifiedPlace) {
	for _, b := range p.backups {
		_, listed := p.catalog[b.UUID]
		switch {
		case b.Own:
			v.stands(ctx, p, b)
		case !listed && !b.ReadOnly && b.Rtransid != 0: // which a writable snapshot of a backup has not
			p.found(b.Name, "", "is writable, though it was received as a backup; btrkeep did not make it")
		}
	}
	v.gone(p)
}

// stands looks at one backup of the job's own.
func (v *verification) stands(ctx context.Context, p *verifiedPlace, b Backup) {
	if !b.ReadOnly {
		p.found(b.Name, "", "is writable: what is in it cannot be relied upon")
	}
	twin, known := v.twin(p, b)
	switch {
	case b.ReceivedUUID.IsZero():
		p.found(b.Name, "", "its received UUID is gone, as it is when somebody makes a backup writable: no backup any more, and no parent for others")
	case known && twin.StreamUUID() != b.ReceivedUUID:
		p.found(b.Name, "", "its received UUID is %s, that of its snapshot %s", b.ReceivedUUID, twin.StreamUUID())
	}
	if b.Altered {
		p.found(b.Name, "", "somebody has written into it since it was complete")
		if p.cfg.Local() {
			v.written(ctx, p, b)
		}
	}
	v.descent(ctx, p, b)
}

// twin is the snapshot of which a backup was made by the account of both catalogs, whatever became of its received UUID since.
func (v *verification) twin(p *verifiedPlace, b Backup) (Snapshot, bool) {
	if v.source == nil || !b.Own || p.catalog[b.UUID].Taken.IsZero() {
		return Snapshot{}, false
	}
	i := slices.IndexFunc(v.source.snapshots, func(s Snapshot) bool { return s.Own && s.Name == p.catalog[b.UUID].Name && s.Taken.Equal(b.Taken) })
	if i < 0 {
		return Snapshot{}, false
	}
	return v.source.snapshots[i], true
}

// written names what was written into a backup since it was complete.
func (v *verification) written(ctx context.Context, p *verifiedPlace, b Backup) {
	n := 0
	for i, err := range btrfs.ChangedInodes(ctx, b.Path, p.catalog[b.UUID].Ctransid) {
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			p.found(b.Name, "", "what was written into it cannot be told: %v", err)
			return
		}
		if n++; n > maxNamed {
			continue
		}
		names, err := btrfs.Names(b.Path, i.Inode)
		if err != nil || len(names) == 0 {
			names = []string{fmt.Sprintf("(inode %d)", i.Inode)}
		}
		if i.Inode == rootInode {
			names = []string{"."}
		}
		for _, name := range names {
			p.found(b.Name, name, "%s", change(i, p.catalog[b.UUID].Ctransid))
		}
	}
	if n > maxNamed {
		p.found(b.Name, "", "%d more files or directories were changed in it", n-maxNamed)
	}
}

// change says what was done to a file.
func change(i btrfs.ChangedInode, since uint64) string {
	switch {
	case i.Generation > since:
		return addedLater
	case i.Mode&unix.S_IFMT == unix.S_IFDIR:
		return changedLaterDir
	}
	return changedLater
}

// What the tree alone tells of a change, where nothing is there to compare with.
const (
	addedLater      = "was added after the backup was complete"
	changedLater    = "was changed after the backup was complete"
	changedLaterDir = "was changed, or names in it were added or removed, after the backup was complete"
)

// descent looks at what an incremental backup was received on top of: what was wrong there is wrong here.
func (v *verification) descent(ctx context.Context, p *verifiedPlace, b Backup) {
	i := slices.IndexFunc(p.backups, func(x Backup) bool { return x.UUID == b.ParentUUID && !x.UUID.IsZero() })
	if i < 0 {
		return // in full, or its parent was pruned since
	}
	parent := p.backups[i]
	if parent.Otransid > b.Otransid {
		p.found(b.Name, "", "cannot have been received on top of %s, as its parent's UUID says: that is younger", parent.Name)
	}
	if !parent.Altered {
		return
	}
	first := uint64(math.MaxUint64)
	for i, err := range btrfs.ChangedInodes(ctx, parent.Path, p.catalog[parent.UUID].Ctransid) {
		if err != nil {
			return // told with the parent
		}
		first = min(first, i.Transid)
	}
	if first <= b.Otransid {
		p.found(b.Name, "", "was received on top of %s, into which somebody had written before: what was written there may be in it", parent.Name)
	}
}

// gone looks for backups that are in the account and not on the disk. An entry alone says little: a run that was killed leaves one of what it has just pruned. So
// nothing is called missing that prune could have deleted, or has, or whose name something else has.
func (v *verification) gone(p *verifiedPlace) {
	if v.source == nil {
		return
	}
	var ghosts []Backup
	for id, e := range p.catalog {
		if e.Checkpoint == nil && (e.Source == "" || e.Volume == v.source.Volume.UUID) && !p.has(id, e) {
			ghosts = append(ghosts, Backup{Subvolume: btrfs.Subvolume{UUID: id, Name: e.Name}, Taken: e.Taken, Own: true, Complete: true, Pinned: e.Pinned != ""})
		}
	}
	if len(ghosts) == 0 {
		return
	}
	pruned := map[string]bool{}
	records, err := History(v.Config.StateDir, v.job.Name)
	if err != nil {
		return
	}
	for _, r := range records {
		for _, gone := range r.Pruned {
			if gone.Where == p.cfg.Name {
				pruned[gone.Name] = true
			}
		}
	}
	all := append(slices.Clone(p.backups), ghosts...)
	slices.SortStableFunc(all, func(a, b Backup) int { return a.Taken.Compare(b.Taken) })
	for i, d := range destinationRetention(v.source.snapshots, all, nil, p.cfg.Keep, v.o.Clock.Wall, v.Config.Timezone) {
		isGhost := slices.ContainsFunc(ghosts, func(g Backup) bool { return g.UUID == all[i].UUID })
		if isGhost && !d.Remove && !pruned[all[i].Name] {
			p.found(all[i].Name, "", "is missing: something else than btrkeep has deleted it or moved it away (if that was right, take its line out of %s)", catalog.File)
		}
	}
}

// has reports whether the subvolume of an entry, or one of its name, is there.
func (p *verifiedPlace) has(id btrfs.UUID, e catalog.Entry) bool {
	return slices.ContainsFunc(p.backups, func(b Backup) bool { return b.UUID == id || b.Name == e.Name }) ||
		slices.ContainsFunc(p.hidden, func(l Leftover) bool { return l.UUID == id })
}
