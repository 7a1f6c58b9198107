package btrfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
)

// What is being read is not deleted, until nobody reads it any more.
func TestHold(t *testing.T) {
	d := newDisk(t)
	ok(t, btrfs.Create(d, "source"))
	ok(t, os.WriteFile(filepath.Join(d, "source", "file"), []byte("text"), 0o600))
	ok(t, btrfs.Snapshot(filepath.Join(d, "source"), d, "snapshot", true))
	path := filepath.Join(d, "snapshot")
	s, err := btrfs.Info(path)
	ok(t, err)
	if _, err := btrfs.Hold(path, btrfs.UUID{1}); err == nil {
		t.Error("held another subvolume")
	}
	first, err := btrfs.Hold(path, s.UUID)
	ok(t, err)
	second, err := btrfs.Hold(path, s.UUID)
	ok(t, err)
	for _, release := range []func(){first, second} {
		if err := btrfs.Delete(d, "snapshot", s.UUID); !errors.Is(err, btrfs.ErrInUse) {
			t.Errorf("%v", err)
		}
		release()
	}
	ok(t, btrfs.Delete(d, "snapshot", s.UUID))
	if _, err := btrfs.Hold(path, s.UUID); err == nil {
		t.Error("held what is gone")
	}
}
