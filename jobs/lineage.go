package jobs

import "github.com/btrkeep/btrkeep/btrfs"

// lineage tells which subvolumes of a file system descend from one another, by any chain of snapshots, rollbacks, restores and receives:
// those are near in content and make good parents. Ancestors that were deleted still connect their descendants, by their UUID.
type lineage map[btrfs.UUID]btrfs.UUID

func newLineage(all []btrfs.Subvolume) lineage {
	l := lineage{}
	for _, s := range all {
		l.join(s.UUID, s.ParentUUID)
		l.join(s.UUID, s.ReceivedUUID)
	}
	for id := range l {
		l[id] = l.root(id)
	}
	return l
}

// root finds the representative of a UUID's family. It writes nothing: the destinations of a run ask side by side.
func (l lineage) root(id btrfs.UUID) btrfs.UUID {
	for {
		up, ok := l[id]
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
		l[a] = b
	}
}

// related reports whether two subvolumes are of one family.
func (l lineage) related(a, b btrfs.Subvolume) bool { return l.root(a.UUID) == l.root(b.UUID) }
