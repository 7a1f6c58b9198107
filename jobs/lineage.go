package jobs

import "github.com/btrkeep/btrkeep/btrfs"

// lineage tells which subvolumes of a file system descend from one another, by any chain of snapshots, rollbacks, restores and receives:
// those are near in content and make good parents. Ancestors that were deleted still connect their descendants, by their UUID.
type lineage map[btrfs.UUID]btrfs.UUID

// newLineage connects the subvolumes of a file system, and one more that may not be listed: the top level is not.
func newLineage(all []btrfs.Subvolume, more btrfs.Subvolume) lineage {
	l := make(lineage, len(all)+1)
	for _, s := range all {
		l.add(s)
	}
	l.add(more)
	for id := range l {
		l[id] = l.root(id)
	}
	return l
}

func (l lineage) add(s btrfs.Subvolume) {
	l.join(s.UUID, s.ParentUUID)
	l.join(s.UUID, s.ReceivedUUID)
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
