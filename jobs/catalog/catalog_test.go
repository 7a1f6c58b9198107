package catalog

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
)

func TestCatalog(t *testing.T) {
	dir := t.TempDir()
	if c, err := Read(dir); err != nil || len(c) != 0 {
		t.Fatalf("a missing catalog: %v %v", c, err)
	}
	entry := func(n byte) Entry {
		return Entry{UUID: btrfs.UUID{n}, Name: "s", Taken: time.Date(2026, 11, int(n), 0, 0, 0, 0, time.UTC), Ctransid: uint64(n)}
	}
	if err := Add(dir, entry(1), entry(2)); err != nil {
		t.Fatal(err)
	}
	// A power cut tore a line: the others count, and so does what comes behind.
	f, err := os.OpenFile(filepath.Join(dir, File), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"uuid":"0300`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := Add(dir, entry(4)); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := Catalog{{1}: entry(1), {2}: entry(2), {4}: entry(4)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := Forget(dir, func(id btrfs.UUID) bool { return id == btrfs.UUID{2} }); err != nil {
		t.Fatal(err)
	}
	delete(want, btrfs.UUID{2})
	if got, err = Read(dir); err != nil || !cmp.Equal(want, got) {
		t.Errorf("%v %v", err, cmp.Diff(want, got))
	}
}

// A pin is set in the entry that there is, and stays with it whatever else is written.
func TestPin(t *testing.T) {
	dir := t.TempDir()
	if known, err := Pin(dir, btrfs.UUID{1}, "reason"); known || err != nil {
		t.Errorf("in a missing catalog: %v %v", known, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, File)); err == nil {
		t.Error("it is not missing any more")
	}
	one := Entry{UUID: btrfs.UUID{1}, Name: "one", Ctransid: 7, Source: "machine:/home", Volume: btrfs.UUID{9}}
	half := Entry{UUID: btrfs.UUID{2}, Name: "half", Checkpoint: &sendstream.Checkpoint{}}
	if err := Add(dir, one, half); err != nil {
		t.Fatal(err)
	}
	content := func() string {
		b, err := os.ReadFile(filepath.Join(dir, File))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	before := content()
	for _, id := range []btrfs.UUID{{2}, {3}} {
		if known, err := Pin(dir, id, "reason"); known || err != nil {
			t.Errorf("%v: %v %v", id, known, err)
		}
	}
	if content() != before {
		t.Errorf("written: %s", content())
	}
	const reason = `before the "upgrade" – 1 < 2`
	for range 2 {
		if known, err := Pin(dir, one.UUID, reason); !known || err != nil {
			t.Fatalf("%v %v", known, err)
		}
	}
	one.Pinned = reason
	next := Entry{UUID: btrfs.UUID{4}, Name: "next", Checkpoint: half.Checkpoint}
	if err := Replace(dir, half.UUID, next); err != nil {
		t.Fatal(err)
	}
	if err := Forget(dir, func(id btrfs.UUID) bool { return id == next.UUID }); err != nil {
		t.Fatal(err)
	}
	if c, err := Read(dir); err != nil || !cmp.Equal(c, Catalog{one.UUID: one}) {
		t.Errorf("%v %v", err, cmp.Diff(Catalog{one.UUID: one}, c))
	}
	if known, err := Pin(dir, one.UUID, ""); !known || err != nil {
		t.Fatalf("%v %v", known, err)
	}
	if c, err := Read(dir); err != nil || c[one.UUID].Pinned != "" {
		t.Errorf("unpinned: %v %+v", err, c)
	}
}

func TestCatalogIsNoLink(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(dir, File)); err != nil {
		t.Fatal(err)
	}
	if err := Add(dir, Entry{UUID: btrfs.UUID{1}}); err == nil {
		t.Error("wrote through a symbolic link")
	}
	if b, _ := os.ReadFile(victim); string(b) != "precious" {
		t.Errorf("%q", b)
	}
}
