package jobs

import (
	"cmp"
	"slices"

	"github.com/btrkeep/btrkeep/btrfs"
)

// maxClones bounds the clone sources beside the parent: each one more makes the kernel compare more for every extent.
const maxClones = 4

// candidate is a subvolume of the source's file system that a destination has as well.
type candidate struct {
	btrfs.Subvolume
	at Backup
}

// parents are the common snapshots that an incremental send of one snapshot may be computed against, best first: the nearest
// older one of its family, then the nearest newer one, then any other; btrkeep's own before all of these, since any user of the file system can make
// a subvolume and give it a received UUID. None means a full send.
func parents(snapshot btrfs.Subvolume, all []btrfs.Subvolume, own func(btrfs.UUID) bool, family lineage, backups []Backup) []candidate {
	at := newIndex(backups)
	var found []candidate
	for _, s := range all {
		if !s.ReadOnly || s.UUID == snapshot.UUID {
			continue
		}
		if b, ok := at.find(s); ok {
			found = append(found, candidate{s, b})
		}
	}
	// The order of creation is that of transactions, which no clock disturbs.
	rank := func(c candidate) (class int, distance uint64) {
		older := c.Otransid <= snapshot.Otransid
		distance = c.Otransid - snapshot.Otransid
		if older {
			distance = snapshot.Otransid - c.Otransid
		}
		if !own(c.UUID) {
			class = 3
		}
		switch related := family.related(c.Subvolume, snapshot); {
		case related && older:
			return class, distance
		case related:
			return class + 1, distance
		default:
			return class + 2, distance
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int {
		ac, ad := rank(a)
		bc, bd := rank(b)
		return cmp.Or(cmp.Compare(ac, bc), cmp.Compare(ad, bd))
	})
	return found
}

// clones picks the clone sources for a send with the parent at best[0]: further common snapshots of the family. Only those that the receiver
// finds by their received UUID, as older versions of btrfs-progs look for nothing else.
func clones(best []candidate, family lineage) []candidate {
	var picked []candidate
	for i, c := range best {
		if i > 0 && len(picked) < maxClones && family.related(c.Subvolume, best[0].Subvolume) && c.at.ReceivedUUID == c.StreamUUID() {
			picked = append(picked, c)
		}
	}
	return picked
}

// index finds the backup that has the same content as a snapshot, in a slice that does not change.
type index struct {
	backups  []Backup
	received map[btrfs.UUID]*Backup
	own      map[btrfs.UUID]*Backup // nil until it is needed, which is for what was received at the source
}

func newIndex(backups []Backup) *index {
	x := &index{backups: backups}
	x.received = x.by(func(b *Backup) btrfs.UUID { return b.ReceivedUUID })
	return x
}

func (x *index) by(id func(*Backup) btrfs.UUID) map[btrfs.UUID]*Backup {
	found := make(map[btrfs.UUID]*Backup, len(x.backups))
	for i := range x.backups {
		if b := &x.backups[i]; b.ReadOnly && !b.Altered && !id(b).IsZero() {
			found[id(b)] = b
		}
	}
	return found
}

// find is btrfs.SameContent over all backups: pushed there, restored from there, or both received from a third.
func (x *index) find(s btrfs.Subvolume) (Backup, bool) {
	b := x.received[s.UUID]
	if id := s.ReceivedUUID; b == nil && !id.IsZero() {
		if x.own == nil {
			x.own = x.by(func(b *Backup) btrfs.UUID { return b.UUID })
		}
		b = cmp.Or(x.received[id], x.own[id])
	}
	if b == nil {
		return Backup{}, false
	}
	return *b, true
}
