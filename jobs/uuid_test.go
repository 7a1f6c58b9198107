package jobs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
)

// incremental makes a run that must be against the named parent ("" for any).
func (w *world) incremental(parent string) jobs.Record {
	w.t.Helper()
	w.write("changed", w.now.String())
	r := w.mustRun()
	tr := transfer(w.t, r, "d1")
	if tr.Parent == "" || (parent != "" && tr.Parent != parent) {
		w.t.Errorf("parent %q, want %q", tr.Parent, parent)
	}
	w.verify()
	return r
}

func btrfsProgram(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("btrfs", args...).CombinedOutput(); err != nil {
		t.Fatalf("btrfs %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// TROUBLE 2: a leftover is the earliest item of its day; the good backup of that day stays.
func TestLeftoverDoesNotCount(t *testing.T) {
	w := newWorld(t, 1)
	w.job.Destinations[0].Keep, w.job.Keep = config.Keep{Daily: 2}, config.Keep{Daily: 2}
	w.write("a", "1")
	good := w.mustRun()
	// What a killed receive leaves: writable, hidden; and one that looks finished, but whose data nobody has synced.
	dir := w.job.Destinations[0].URL
	must(t, btrfs.Create(dir, ".btrkeep-incoming-1"))
	must(t, btrfs.Create(dir, ".btrkeep-incoming-2"))
	must(t, btrfs.SetReceived(filepath.Join(dir, ".btrkeep-incoming-2"), btrfs.UUID{9}, 9))
	must(t, btrfs.SetReadOnly(filepath.Join(dir, ".btrkeep-incoming-2")))
	must(t, btrfs.Snapshot(w.source(), w.job.SnapshotDir, ".btrkeep-new-1", true))
	if got := w.complete(0); !slices.Equal(got, []string{good.Snapshot}) {
		t.Errorf("a leftover is listed: %v", got)
	}
	w.pass(day)
	w.incremental(good.Snapshot)
	if got := w.complete(0); len(got) != 2 || got[0] != good.Snapshot {
		t.Errorf("backups: %v", got)
	}
	for _, pattern := range []string{filepath.Join(dir, ".btrkeep-incoming-*"), filepath.Join(w.job.SnapshotDir, ".btrkeep-new-*")} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// TROUBLE 16: the source is rolled back to an old snapshot of itself.
func TestRolledBackSource(t *testing.T) {
	w := newWorld(t, 1)
	w.job.SnapshotDir = filepath.Join(w.src.Path, "snapshots")
	must(t, os.Mkdir(w.job.SnapshotDir, 0o700))
	w.job.Keep = config.Keep{Last: 3}
	testdisk.Tree(t, w.source(), testdisk.Spec{Seed: 4, Files: 100, MaxSize: 64 << 10})
	first := w.mustRun()
	w.incremental("")
	must(t, os.Rename(w.source(), w.source()+".broken"))
	must(t, btrfs.Snapshot(filepath.Join(w.job.SnapshotDir, first.Snapshot), w.src.Path, "home", false))
	w.incremental("")
	for range 4 {
		w.incremental("")
	}
	if got := w.snapshots(); len(got) != 3 {
		t.Errorf("old snapshots are not pruned: %v", got)
	}
}

// TROUBLE 17: the source is restored from its backup by send and receive onto a new disk.
func TestRestoredSource(t *testing.T) {
	w := newWorld(t, 1)
	testdisk.Tree(t, w.source(), testdisk.Spec{Seed: 5, Files: 100, MaxSize: 64 << 10})
	w.mustRun()
	last := w.incremental("")
	fresh := testdisk.New(t, testdisk.Options{Size: 512 << 20, MountOptions: "noatime"})
	sendReceive(t, w.path(0, last.Snapshot), fresh.Path)
	must(t, btrfs.Snapshot(filepath.Join(fresh.Path, last.Snapshot), fresh.Path, "home", false))
	w.src, w.job.Source = fresh, filepath.Join(fresh.Path, "home")
	w.job.SnapshotDir = filepath.Join(w.job.Source, config.DefaultSnapshotDir)
	must(t, os.RemoveAll(w.job.SnapshotDir)) // the empty stub that came with the backup
	w.incremental(last.Snapshot)
	w.incremental("")
}

// TROUBLE 18: the backup machine becomes the source, and the old source the destination.
func TestRolesSwapped(t *testing.T) {
	w := newWorld(t, 1)
	testdisk.Tree(t, w.source(), testdisk.Spec{Seed: 6, Files: 100, MaxSize: 64 << 10})
	last := w.mustRun()
	must(t, btrfs.Snapshot(w.path(0, last.Snapshot), w.dests[0].Path, "home", false))
	oldDir := w.job.SnapshotDir
	w.job.Source = filepath.Join(w.dests[0].Path, "home")
	w.job.SnapshotDir = filepath.Join(w.dests[0].Path, "backups")
	w.job.Destinations[0].URL = oldDir
	w.write("changed", "at the other end")
	r := w.mustRun()
	if tr := transfer(t, r, "d1"); tr.Parent != last.Snapshot {
		t.Errorf("parent %q, want %q", tr.Parent, last.Snapshot)
	}
	if diffs, err := testdisk.Compare(filepath.Join(w.job.SnapshotDir, r.Snapshot), filepath.Join(oldDir, r.Snapshot)); err != nil || len(diffs) > 0 {
		t.Errorf("%v %v", diffs, err)
	}
}

// TROUBLE 19: a copy of a copy: A to B to C by hand, then A to C incrementally, as both B's and C's have A's UUID as received.
func TestCopyOfACopy(t *testing.T) {
	w := newWorld(t, 2)
	c := w.job.Destinations[1].URL
	w.job.Destinations = w.job.Destinations[:1]
	testdisk.Tree(t, w.source(), testdisk.Spec{Seed: 7, Files: 100, MaxSize: 64 << 10})
	last := w.mustRun()
	must(t, os.MkdirAll(c, 0o700))
	sendReceive(t, w.path(0, last.Snapshot), c)
	w.job.Destinations[0].URL = c
	w.incremental(last.Snapshot)
}

// TROUBLE 21: a backup that was made writable and changed is no parent, whether or not it kept its received UUID.
func TestChangedBackupIsNoParent(t *testing.T) {
	for _, raw := range []bool{false, true} {
		w := newWorld(t, 1)
		w.write("a", "1")
		first := w.mustRun()
		second := w.incremental("")
		path := w.path(0, second.Snapshot)
		if raw {
			must(t, setFlag(path, false))
		} else {
			btrfsProgram(t, "property", "set", "-f", path, "ro", "false")
		}
		must(t, os.WriteFile(filepath.Join(path, "a"), []byte("changed behind btrkeep's back"), 0o644))
		btrfsProgram(t, "filesystem", "sync", path)
		if raw {
			must(t, setFlag(path, true))
		} else {
			btrfsProgram(t, "property", "set", path, "ro", "true")
		}
		w.write("b", "2")
		r := w.run()
		for _, tr := range r.Transfers {
			if tr.Result == jobs.ResultOK && tr.Parent != first.Snapshot {
				t.Errorf("raw %v: parent is %q: %+v", raw, tr.Parent, tr)
			}
		}
		// Its name is in the way of sending it again, which is an error that names it; the new snapshot is there and right.
		if diffs, err := testdisk.Compare(filepath.Join(w.job.SnapshotDir, r.Snapshot), w.path(0, r.Snapshot)); err != nil || len(diffs) > 0 {
			t.Errorf("raw %v: %v %v", raw, diffs, err)
		}
	}
}

// TROUBLE 22: backups and parents are deleted by hand.
func TestDeletedByHand(t *testing.T) {
	w := newWorld(t, 1)
	w.write("a", "1")
	var names []string
	names = append(names, w.mustRun().Snapshot)
	for range 3 {
		names = append(names, w.incremental("").Snapshot)
	}
	w.job.Destinations[0].Keep = config.Keep{Last: 2} // else the gap would be filled again
	btrfsProgram(t, "subvolume", "delete", w.path(0, names[3]))
	w.write("b", "1")
	r := w.mustRun()
	if len(r.Transfers) != 2 || r.Transfers[0].Snapshot != names[3] || r.Transfers[0].Parent != names[2] || r.Transfers[1].Parent != names[3] {
		t.Errorf("want the deleted one sent again, then the new one against it: %+v", r.Transfers)
	}
	btrfsProgram(t, "subvolume", "delete", filepath.Join(w.job.SnapshotDir, w.snapshots()[len(w.snapshots())-1]))
	w.incremental("")
	for _, n := range w.snapshots() {
		btrfsProgram(t, "subvolume", "delete", filepath.Join(w.job.SnapshotDir, n))
	}
	w.write("b", "1")
	if tr := transfer(t, w.mustRun(), "d1"); tr.Parent != "" {
		t.Errorf("without any common snapshot the send must be full: %+v", tr)
	}
	w.verify()
}

// TROUBLE 34: nested subvolumes are named in a warning.
func TestNestedSubvolumes(t *testing.T) {
	w := newWorld(t, 1)
	must(t, btrfs.Create(w.source(), "nested"))
	r := w.mustRun()
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "nested") {
		t.Errorf("warnings: %v", r.Warnings)
	}
	w.verify()
}

// What btrkeep did not make is never deleted, not even with a name, a parent and a place that would fit.
func TestForeignIsKept(t *testing.T) {
	w := newWorld(t, 1)
	w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 1}, config.Keep{Last: 1}
	w.write("a", "1")
	w.mustRun()
	const name = "20200101T000000Z"
	must(t, btrfs.Snapshot(w.source(), w.job.SnapshotDir, name, true))
	sendReceive(t, filepath.Join(w.job.SnapshotDir, name), w.job.Destinations[0].URL)
	for range 3 {
		w.incremental("")
	}
	for _, dir := range []string{w.job.SnapshotDir, w.job.Destinations[0].URL} {
		if _, err := btrfs.Info(filepath.Join(dir, name)); err != nil {
			t.Errorf("deleted: %v", err)
		}
	}
	if n := len(w.snapshots()); n != 2 {
		t.Errorf("%v", w.snapshots())
	}
}

// TROUBLE 43: the source is gone, or has another name: snapshots and backups stay, and status is not well.
func TestSourceGone(t *testing.T) {
	for name, gone := range map[string]func(w *world){
		"deleted": func(w *world) { btrfsProgram(t, "subvolume", "delete", w.source()) },
		"renamed": func(w *world) { must(t, os.Rename(w.source(), w.source()+".new")) },
		"replaced by a directory": func(w *world) {
			must(t, os.Rename(w.source(), w.source()+".new"))
			must(t, os.Mkdir(w.source(), 0o755))
		},
	} {
		t.Run("TROUBLE 43: "+name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.job.SnapshotDir = filepath.Join(w.src.Path, "snapshots")
			must(t, os.Mkdir(w.job.SnapshotDir, 0o700))
			w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Within: 1}, config.Keep{Within: 1}
			w.write("a", "1")
			first := w.mustRun()
			gone(w)
			w.pass(300 * day)
			if r := w.run(); r.Result != jobs.ResultFailed || len(r.Pruned) > 0 {
				t.Errorf("%+v", r)
			}
			if r := w.runner.Prune(t.Context(), w.placed(), jobs.Options{Clock: w.clock()}); r.Result != jobs.ResultFailed || len(r.Pruned) > 0 {
				t.Errorf("prune: %+v", r)
			}
			for _, path := range []string{filepath.Join(w.job.SnapshotDir, first.Snapshot), w.path(0, first.Snapshot)} {
				if _, err := btrfs.Info(path); err != nil {
					t.Error(err)
				}
			}
			if s := w.runner.Status(t.Context(), w.placed(), w.now); !s.Alarming() {
				t.Errorf("status: %+v", s)
			}
		})
	}
}

// TROUBLE 35: the snapshot directory and the source are on a disk mounted with subvol=.
func TestSourceMountedBySubvolume(t *testing.T) {
	w := newWorld(t, 1)
	must(t, btrfs.Create(w.src.Path, "@"))
	must(t, btrfs.Sync(w.src.Path))
	w.src.Unmount()
	w.src.Mount("noatime,subvol=@")
	w.job.Source = w.src.Path
	w.job.SnapshotDir = filepath.Join(w.src.Path, config.DefaultSnapshotDir)
	w.write("a", "1")
	first := w.mustRun()
	w.incremental(first.Snapshot)
}

// After the state directory is lost everything goes on incrementally, and prune too.
func TestLostState(t *testing.T) {
	w := newWorld(t, 1)
	w.job.Keep = config.Keep{Last: 2}
	w.write("a", "1")
	last := w.mustRun()
	must(t, os.RemoveAll(w.cfg.StateDir))
	for range 3 {
		last = w.incremental(last.Snapshot)
	}
	if got := w.snapshots(); len(got) != 2 {
		t.Errorf("%v", got)
	}
}
