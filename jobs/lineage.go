package jobs

import "github.com/btrkeep/btrkeep/btrfs"

// lineage tells which subvolumes of a file system descend from one another, by any chain of snapshots, rollbacks, restores and receives:
// those are near in content and make good parents. Ancestors that were deleted still connect their descendants, by their UUID.
//
// What many jobs share is in base, which stays as it is; what one of them knows beside that is in own.
type lineage struct{ base, own relation }

// relation leads each UUID, by as many steps as it takes, to the one that stands for its family.
type relation map[btrfs.UUID]btrfs.UUID

// newLineage connects the subvolumes of a file system, and one more that may not be listed: the top level is not.
func newLineage(all []btrfs.Subvolume, more btrfs.Subvolume) lineage {
	l := lineage{own: make(relation, len(all)+1)}
	for _, s := range all {
		l.add(s)
	}
	l.add(more)
	l.own.shorten(l)
	return l
}

// relate connects the subvolumes of a file system, for several lineages to go on from.
func relate(all []btrfs.Subvolume) relation { return newLineage(all, btrfs.Subvolume{}).own }

// shorten makes every way one step long.
func (r relation) shorten(l lineage) {
	for id := range r {
		r[id] = l.root(id)
	}
}

func (l lineage) add(s btrfs.Subvolume) {
	l.join(s.UUID, s.ParentUUID)
	l.join(s.UUID, s.ReceivedUUID)
}

// root finds the representative of a UUID's family. It writes nothing: the destinations of a run ask side by side.
func (l lineage) root(id btrfs.UUID) btrfs.UUID {
	for {
		up, ok := l.own[id]
		if !ok {
			up, ok = l.base[id]
		}
		if !ok || up == id {
			return id
		}
		id = up
	}
}

func (l lineage) join(a, b btrfs.UUID) {
	if a.IsZero() || b.IsZero() {
		return
	}
	if a, b = l.root(a), l.root(b); a != b {
		l.own[a] = b
	}
}

// related reports whether two subvolumes are of one family.
func (l lineage) related(a, b btrfs.Subvolume) bool { return l.root(a.UUID) == l.root(b.UUID) }
