package jobs_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
)

// keptAbove is a source of which another tool has sent a snapshot to a directory that it shares with others, as btrbk does. The job has a directory below that.
func keptAbove(t *testing.T) (w *world, shared string) {
	w = newWorld(t, 1)
	shared = filepath.Join(w.dests[0].Path, "shared")
	w.job.Destinations[0].URL = filepath.Join(shared, "of", "home")
	testdisk.Tree(t, w.source(), testdisk.Spec{Seed: 4, Files: 100, MaxSize: 16 << 10})
	must(t, os.Mkdir(shared, 0o755))
	must(t, btrfs.Snapshot(w.source(), w.src.Path, "home.20261120", true))
	sendReceive(t, filepath.Join(w.src.Path, "home.20261120"), shared)
	return w, shared
}

// Backups in a directory above that of the destination are parents, and stay.
func TestAboveAreParents(t *testing.T) {
	w, shared := keptAbove(t)
	if p := w.runner.Plan(t.Context(), w.job, w.clock()); len(p.Transfers) != 1 || p.Transfers[0].Parent != "../../home.20261120" {
		t.Errorf("planned: %+v", p.Transfers)
	}
	first := w.incremental("../../home.20261120")
	w.incremental(first.Snapshot)
	if _, err := btrfs.Info(filepath.Join(shared, "home.20261120")); err != nil {
		t.Errorf("the other tool's backup: %v", err)
	}
	if l := w.complete(0); len(l) != 2 {
		t.Errorf("backups of the job: %v", l)
	}
}

// Where others can write, nothing is taken for a parent: they could give what is not one any received UUID.
func TestAboveWhereManyWrite(t *testing.T) {
	for name, mode := range map[string]os.FileMode{"group": 0o775, "all": 0o777 | os.ModeSticky} {
		t.Run(name, func(t *testing.T) {
			w, shared := keptAbove(t)
			must(t, os.Chmod(shared, mode))
			if tr := transfer(t, w.mustRun(), "d1"); tr.Parent != "" || tr.Result != jobs.ResultOK {
				t.Errorf("%+v", tr)
			}
			w.verify()
		})
	}
}

// One that others may have put into a directory farther above, with an older subvolume, is not what the receiver takes.
func TestAboveIsNotMistaken(t *testing.T) {
	w, shared := keptAbove(t)
	real, err := btrfs.Info(filepath.Join(shared, "home.20261120"))
	must(t, err)
	must(t, btrfs.Create(w.dests[0].Path, "older")) // of a lower id than what comes now
	must(t, btrfs.Delete(shared, real.Name, real.UUID))
	sendReceive(t, filepath.Join(w.src.Path, "home.20261120"), shared)
	forged := filepath.Join(w.dests[0].Path, "older")
	must(t, btrfs.SetReceived(forged, real.ReceivedUUID, 1))
	must(t, btrfs.SetReadOnly(forged))
	must(t, os.Chmod(w.dests[0].Path, 0o777))
	w.incremental("../../home.20261120")
}

// What is interrupted while it is sent against a backup above goes on against that.
func TestAboveInterruptedGoesOn(t *testing.T) {
	w, _ := keptAbove(t)
	w.cfg.Receiver, w.cfg.Checkpoint = config.ReceiverNative, config.Checkpoint{Bytes: interval, Time: config.Duration(time.Minute)}
	grow(t, filepath.Join(w.source(), "large"), 6<<20)
	first := w.interrupted(5 << 20)
	if tr := w.goesOn(first.Snapshot); tr.Parent != "../../home.20261120" {
		t.Errorf("%+v", tr)
	}
}

// The receiver finds a parent by its UUID: where a backup was written into, the copy of it in a directory above is no parent either, since it would take the one that is nearer.
func TestAboveBesideAnAlteredOne(t *testing.T) {
	w := newWorld(t, 1)
	testdisk.Tree(t, w.source(), testdisk.Spec{Seed: 4, Files: 20, MaxSize: 16 << 10})
	first := w.mustRun()
	snapshot := w.runner.List(t.Context(), w.job).Snapshots[0].Path
	shared := filepath.Dir(w.job.Destinations[0].URL)
	sendReceive(t, snapshot, shared)
	altered := w.path(0, first.Snapshot)
	must(t, setFlag(altered, false))
	must(t, os.WriteFile(filepath.Join(altered, "planted"), []byte("x"), 0o600))
	must(t, setFlag(altered, true))
	w.write("new", "file")
	r := w.run()
	if i := slices.IndexFunc(r.Transfers, func(tr jobs.Transfer) bool { return tr.Snapshot == r.Snapshot }); i < 0 || r.Transfers[i].Parent != "" || r.Transfers[i].Result != jobs.ResultOK {
		t.Errorf("%+v", r.Transfers)
	}
	if _, err := os.Lstat(filepath.Join(w.path(0, r.Snapshot), "planted")); err == nil {
		t.Error("what was written into the old backup is in the new one")
	}
	diffs, err := testdisk.Compare(filepath.Join(w.job.SnapshotDir, r.Snapshot), w.path(0, r.Snapshot))
	if err != nil || len(diffs) > 0 {
		t.Errorf("%v %q", err, diffs)
	}
}
