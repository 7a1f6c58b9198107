package catalog

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/btrfs"
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
