package jobs

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// What takes too long to be asked exactly, or is not there yet, has a size all the same.
func TestEstimateFallsBack(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{}).Path
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(btrfs.Create(disk, "home"))
	must(os.WriteFile(filepath.Join(disk, "home", "file"), make([]byte, 1<<20), 0o600))
	must(btrfs.Snapshot(disk+"/home", disk, "snapshot", true))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	there := Snapshot{Path: filepath.Join(disk, "snapshot")}
	pending := Snapshot{Path: filepath.Join(disk, "home"), Subvolume: btrfs.Subvolume{Otransid: pendingTransaction}}
	for what, got := range map[string]int64{
		"exact":        estimate(t.Context(), t.Context(), Sending{}, there, basis{}, 2),
		"no time":      estimate(t.Context(), ended, Sending{}, there, basis{}, 2),
		"not yet made": estimate(t.Context(), t.Context(), Sending{}, pending, basis{}, 2),
		"no parent":    estimate(t.Context(), t.Context(), Sending{}, there, basis{parent: candidate{Subvolume: btrfs.Subvolume{ID: 1 << 40}}}, 2),
	} {
		if got < 1<<20 || got > 1<<20+4096 {
			t.Errorf("%s: %d bytes", what, got)
		}
	}
	if got := estimate(ended, ended, Sending{}, there, basis{}, 2); got != 0 {
		t.Errorf("no time for anything: %d bytes", got)
	}
}
