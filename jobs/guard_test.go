package jobs_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
)

// TROUBLE 14: a clock that jumps and stays is not believed in the second run either; after three days it is.
func TestClockJumpsAndStays(t *testing.T) {
	w := newWorld(t, 1)
	w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Within: config.Duration(30 * day)}, config.Keep{Within: config.Duration(30 * day)}
	for range 3 {
		w.write("f", w.now.String())
		w.mustRun()
	}
	w.now = time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 3 {
		w.write("f", w.now.String())
		if r := w.mustRun(); len(r.Pruned) > 0 || len(r.Warnings) == 0 {
			t.Errorf("run %d by the new clock: pruned %v, warnings %v", i, r.Pruned, r.Warnings)
		}
		w.pass(time.Hour)
	}
	w.pass(4 * day)
	w.write("f", "at last")
	if r := w.mustRun(); len(r.Pruned) == 0 {
		t.Error("the new clock is never believed")
	}
}

// A snapshot that somebody made writable, changed and made read-only again is no parent: what was changed in it would be silently wrong in the next backup.
func TestChangedSnapshotIsNoParent(t *testing.T) {
	w := newWorld(t, 1)
	grow(t, filepath.Join(w.source(), "big"), 1<<20)
	w.write("a", "1")
	first := w.mustRun()
	path := filepath.Join(w.job.SnapshotDir, first.Snapshot)
	must(t, setFlag(path, false))
	must(t, os.Remove(filepath.Join(path, "big")))
	must(t, btrfs.Sync(path))
	must(t, setFlag(path, true))
	must(t, os.Remove(filepath.Join(w.source(), "big")))
	r := w.mustRun()
	if tr := transfer(t, r, "d1"); tr.Parent != "" {
		t.Errorf("parent %q", tr.Parent)
	}
	if diffs, err := testdisk.Compare(filepath.Join(w.job.SnapshotDir, r.Snapshot), w.path(0, r.Snapshot)); err != nil || len(diffs) > 0 {
		t.Errorf("%v %v", diffs, err)
	}
	if !slices.ContainsFunc(r.Warnings, func(s string) bool { return strings.Contains(s, first.Snapshot) }) {
		t.Errorf("warnings: %v", r.Warnings)
	}
}

// TROUBLE 37: two sources that share a destination directory, as from two machines: neither prunes the other's backups.
func TestSharedDestinationDirectory(t *testing.T) {
	a := newWorld(t, 1)
	other := testdisk.New(t, testdisk.Options{Size: 512 << 20, MountOptions: "noatime"})
	must(t, btrfs.Create(other.Path, "home"))
	b := newWorldOn(t, other, a.dests[0])
	b.now = a.now.Add(30 * time.Second)
	a.write("a", "1")
	first := a.mustRun()
	b.job.Destinations[0].Keep = config.Keep{Last: 1}
	for range 3 {
		b.write("b", b.now.String())
		b.mustRun()
	}
	if _, err := btrfs.Info(a.path(0, first.Snapshot)); err != nil {
		t.Errorf("the other source's only backup is gone: %v", err)
	}
	if n := len(b.complete(0)); n != 2 {
		t.Errorf("%d backups, want one of each", n)
	}
}

// Prune is no backup: it makes nothing look well, runs no hooks, and does not put off a run that is due.
func TestPruneIsNoBackup(t *testing.T) {
	w := newWorld(t, 1)
	w.write("a", "1")
	w.mustRun()
	w.job.Destinations[0].URL += "/nowhere\x00"
	w.run()
	w.job.Destinations[0].URL = strings.TrimSuffix(w.job.Destinations[0].URL, "/nowhere\x00")
	w.job.Hooks.BeforeSnapshot = []string{"/bin/false"}
	if r := w.run(); r.Result == jobs.ResultOK {
		t.Fatalf("%+v", r)
	}
	before, err := jobs.LoadState(w.cfg.StateDir, w.job)
	must(t, err)
	ran := filepath.Join(t.TempDir(), "ran")
	w.job.Hooks.OnSuccess = []string{"/usr/bin/touch", ran}
	w.pass(time.Hour)
	r := w.runner.Prune(context.Background(), w.placed(), jobs.Options{Clock: w.clock()})
	if r.Result != jobs.ResultOK || len(r.Transfers) > 0 {
		t.Errorf("%+v", r)
	}
	after, err := jobs.LoadState(w.cfg.StateDir, w.job)
	must(t, err)
	if !after.LastRun.Equal(before.LastRun) || after.LastResult != before.LastResult || after.LastError != before.LastError {
		t.Errorf("state went from %+v to %+v", before, after)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("on_success ran")
	}
	if s := w.runner.Status(context.Background(), w.placed(), w.now); !s.Alarming() {
		t.Errorf("no snapshot can be made, and all is well: %+v", s)
	}
}

// What an unlock empties is its own file.
func TestUnlockDoesNotFollowLinks(t *testing.T) {
	dir := t.TempDir()
	path, victim := filepath.Join(dir, "lock"), filepath.Join(dir, "victim")
	must(t, os.WriteFile(victim, []byte("precious"), 0o600))
	unlock, err := jobs.Lock(path, jobs.Holder{PID: os.Getpid()})
	must(t, err)
	must(t, os.Remove(path))
	must(t, os.Symlink(victim, path))
	unlock()
	if b, _ := os.ReadFile(victim); string(b) != "precious" {
		t.Errorf("the link's target is %q", b)
	}
}

// A rollback to an older state is a change, though nothing was written.
func TestRollbackIsAChange(t *testing.T) {
	w := newWorld(t, 1)
	w.job.OnlyIfChanged = true
	w.job.SnapshotDir = filepath.Join(w.src.Path, "snapshots")
	must(t, os.Mkdir(w.job.SnapshotDir, 0o700))
	w.write("a", "1")
	first := w.mustRun()
	w.write("a", "2")
	w.mustRun()
	must(t, os.Rename(w.source(), w.source()+".old"))
	must(t, btrfs.Snapshot(filepath.Join(w.job.SnapshotDir, first.Snapshot), w.src.Path, "home", false))
	if r := w.mustRun(); r.Unchanged {
		t.Error("the rolled back source was taken for unchanged")
	}
	w.verify()
}

// A backup that cannot be deleted, as it is mounted, does not keep the others from being pruned.
func TestMountedBackup(t *testing.T) {
	w := newWorld(t, 1)
	var names []string
	for range 4 {
		w.write("a", w.now.String())
		names = append(names, w.mustRun().Snapshot)
	}
	at := t.TempDir()
	must(t, unix.Mount(w.dests[0].Device, at, "btrfs", 0, "subvol=backups/"+names[0]))
	t.Cleanup(func() { _ = unix.Unmount(at, 0) })
	w.job.Destinations[0].Keep = config.Keep{Last: 2}
	w.write("a", "last")
	r := w.run()
	if got := w.complete(0); len(got) != 3 || got[0] != names[0] {
		t.Errorf("backups: %v, want the mounted one and two", got)
	}
	if len(r.Pruned) != 2 {
		t.Errorf("pruned: %v", r.Pruned)
	}
	if !strings.Contains(r.Transfers[len(r.Transfers)-1].Error, "mounted") {
		t.Errorf("%+v", r)
	}
}

// `btrkeep backup --latest-only` of a source that has a job as well: the job's snapshots stay, and so does its schedule.
func TestAdhocBesideAJob(t *testing.T) {
	w := newWorld(t, 2)
	full := w.job
	w.job.Destinations = full.Destinations[:1]
	for range 3 {
		w.write("a", w.now.String())
		w.mustRun()
	}
	before, err := jobs.LoadState(w.cfg.StateDir, w.job)
	must(t, err)
	adhoc := full
	adhoc.Name, adhoc.Adhoc, adhoc.Keep, adhoc.Destinations = "by-hand", true, config.Keep{Last: 1}, full.Destinations[1:]
	for range 3 {
		w.pass(time.Hour)
		w.write("a", w.now.String())
		if r := w.runner.Run(context.Background(), adhoc, jobs.Options{Clock: w.clock()}); r.Result != jobs.ResultOK || len(r.Transfers) != 1 {
			t.Fatalf("%+v", r)
		}
	}
	if got := w.snapshots(); len(got) != 4 {
		t.Errorf("%v, want the job's three and the newest", got)
	}
	after, err := jobs.LoadState(w.cfg.StateDir, w.job)
	must(t, err)
	if !after.LastRun.Equal(before.LastRun) {
		t.Error("a backup by hand put off the job's next run")
	}
	w.write("a", "last")
	for _, tr := range w.mustRun().Transfers {
		if tr.Parent == "" {
			t.Errorf("%+v", tr)
		}
	}
	w.verify()
}
