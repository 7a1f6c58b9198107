package jobs

import (
	"slices"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
)

func id(n byte) btrfs.UUID { return btrfs.UUID{n} }

func TestParents(t *testing.T) {
	const source, other = 100, 200
	snapshot := func(n byte, of byte, otransid uint64) btrfs.Subvolume {
		return btrfs.Subvolume{ID: uint64(n), UUID: id(n), ParentUUID: id(of), Otransid: otransid, ReadOnly: true}
	}
	all := []btrfs.Subvolume{
		{ID: 1000, UUID: id(source)}, {ID: 1001, UUID: id(other)},
		snapshot(1, source, 10), snapshot(2, source, 20), snapshot(3, source, 30), snapshot(4, source, 40), snapshot(5, other, 29),
	}
	backup := func(n byte) Backup {
		return Backup{Subvolume: btrfs.Subvolume{UUID: id(n + 50), ReceivedUUID: id(n), ReadOnly: true}, Complete: true}
	}
	altered := backup(2)
	altered.Altered = true
	writable := backup(2)
	writable.ReadOnly = false
	tests := []struct {
		name    string
		backups []Backup
		want    []uint64
	}{
		{"none: a full send", nil, nil},
		{"the nearest older one first, then the nearest newer, then any", []Backup{backup(1), backup(2), backup(4), backup(5)}, []uint64{2, 1, 4, 5}},
		{"a newer one rather than a stranger", []Backup{backup(4), backup(5)}, []uint64{4, 5}},
		{"a stranger rather than none", []Backup{backup(5)}, []uint64{5}},
		{"not one that was written into", []Backup{backup(1), altered}, []uint64{1}},
		{"not a writable one", []Backup{backup(1), writable}, []uint64{1}},
		{"not one that is only at the destination", []Backup{backup(9)}, nil},
		{"restored from there: the snapshot was received from the backup", []Backup{{Subvolume: btrfs.Subvolume{UUID: id(77), ReadOnly: true}}}, []uint64{6}},
	}
	restored := snapshot(6, source, 25)
	restored.ReceivedUUID = id(77)
	all = append(all, restored)
	family := newLineage(all, btrfs.Subvolume{})
	for _, tt := range tests {
		var got []uint64
		for _, c := range parents(all[4], all, func(btrfs.UUID) bool { return true }, family, tt.backups) {
			got = append(got, c.ID)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: parents of 3 are %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestLineageSurvivesMissingAncestors(t *testing.T) {
	// Two snapshots of a subvolume that is deleted; a restore of one; a stranger.
	a := btrfs.Subvolume{UUID: id(1), ParentUUID: id(9)}
	b := btrfs.Subvolume{UUID: id(2), ParentUUID: id(9)}
	back := btrfs.Subvolume{UUID: id(3), ReceivedUUID: id(2)}
	stranger := btrfs.Subvolume{UUID: id(4), ParentUUID: id(8)}
	l := newLineage([]btrfs.Subvolume{a, b, back}, stranger)
	if !l.related(a, b) || !l.related(a, back) || l.related(a, stranger) {
		t.Error("families are wrong")
	}
}
