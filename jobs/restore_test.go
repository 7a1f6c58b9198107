package jobs_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
)

// restore restores something of the job, which has to work.
func (w *world) restore(o jobs.Restoration) jobs.Restored {
	w.t.Helper()
	r := w.tryRestore(o)
	if r.Error != "" {
		w.t.Fatalf("restore: %+v", r)
	}
	return r
}

func (w *world) tryRestore(o jobs.Restoration) jobs.Restored {
	w.t.Helper()
	o.Clock = w.clock()
	if o.FromDir == "" {
		o.Job = w.job
	}
	return w.runner.Restore(context.Background(), o)
}

// three makes a job with three different snapshots, in directories of their own for the comparison: snapshots come and go.
func three(t *testing.T, w *world) (names []string) {
	w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 3}, config.Keep{Last: 3}
	testdisk.Tree(t, w.source(), testdisk.Spec{Seed: 11, Files: 120, MaxSize: 64 << 10})
	for i := range 3 {
		must(t, testdisk.Mutate(w.source(), uint64(20+i), 25))
		names = append(names, w.mustRun().Snapshot)
	}
	return names
}

// restoredAs makes sure that a restored subvolume is writable, is no received one, and holds what the snapshot holds.
func restoredAs(t *testing.T, snapshot, restored string) {
	t.Helper()
	s, err := btrfs.Info(restored)
	must(t, err)
	if s.ReadOnly || !s.ReceivedUUID.IsZero() {
		t.Errorf("%s: %+v", restored, s)
	}
	diffs, err := testdisk.Compare(snapshot, restored)
	must(t, err)
	// The snapshot directory is btrkeep's own. And where a hole arrived as zeros, going back and forth may make it a hole again.
	diffs = slices.DeleteFunc(diffs, func(d string) bool { return strings.HasPrefix(d, `"./.btrkeep`) || strings.Contains(d, ": holes: ") })
	if len(diffs) > 0 {
		t.Errorf("%s differs from %s:\n%s", restored, snapshot, strings.Join(diffs, "\n"))
	}
}

// goesOnIncrementally makes the runs after a restoration: the next one is incremental, all backups are right, and the old snapshots go by policy as before.
func (w *world) goesOnIncrementally() {
	w.t.Helper()
	w.incremental("")
	w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 2}, config.Keep{Last: 2}
	w.incremental("")
	w.incremental("")
	if s, b := w.snapshots(), w.complete(0); len(s) != 2 || len(b) != 2 {
		w.t.Errorf("not pruned: snapshots %v, backups %v\n%s", s, b, w.log.String())
	}
	for _, dir := range []string{w.src.Path, w.source(), w.job.SnapshotDir, w.dests[0].Path} {
		if left, _ := filepath.Glob(filepath.Join(dir, ".btrkeep-[rsn]*")); len(left) > 0 {
			w.t.Errorf("left behind: %v", left)
		}
	}
}

func TestRestoreToNewPath(t *testing.T) {
	w := newWorld(t, 1)
	names := three(t, w)
	for _, tc := range []struct {
		name, from string
		to         string
		transfer   bool
	}{
		{"from the source", "", filepath.Join(w.src.Path, "one"), false},
		{"from the disk though the source has it", "d1", filepath.Join(w.src.Path, "two"), false},
		{"on the destination's disk", "d1", filepath.Join(w.dests[0].Path, "three"), false},
		{"from the source to another disk", jobs.AtSource, filepath.Join(testdisk.New(t, testdisk.Options{}).Path, "four"), true},
		{"from the destination to another disk", "d1", filepath.Join(testdisk.New(t, testdisk.Options{}).Path, "five"), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := jobs.Restoration{At: names[1], From: tc.from, To: tc.to}
			o.DryRun = true
			if r := w.restore(o); r.Snapshot != names[1] || (r.Transfer != nil) != tc.transfer {
				t.Errorf("%+v", r)
			}
			if _, err := os.Lstat(tc.to); err == nil {
				t.Fatal("a dry run made something")
			}
			o.DryRun = false
			r := w.restore(o)
			if r.Snapshot != names[1] || (r.Transfer != nil) != tc.transfer || tc.from != "" && r.From != tc.from {
				t.Errorf("%+v", r)
			}
			restoredAs(t, filepath.Join(w.job.SnapshotDir, names[1]), tc.to)
			entries, err := os.ReadDir(filepath.Dir(tc.to))
			must(t, err)
			for _, e := range entries {
				if strings.HasPrefix(e.Name(), ".btrkeep-") {
					t.Errorf("left behind: %s", e.Name())
				}
			}
			if r := w.tryRestore(o); r.Error == "" || r.Hint == "" {
				t.Errorf("restored over what is there: %+v", r)
			}
		})
	}
	w.goesOnIncrementally()
}

// The snapshot that is wanted is only at the destination any more: it comes back incrementally.
func TestRestoreWhatTheSourceLacks(t *testing.T) {
	w := newWorld(t, 1)
	names := three(t, w)
	w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 1}, config.Keep{Last: 9}
	w.incremental("")
	to := filepath.Join(w.src.Path, "back")
	r := w.restore(jobs.Restoration{At: names[0], To: to})
	// btrfs receive finds what a stream clones from by its received UUID alone, and what is at the source has none. Nor is it known of a source on another machine that its disk is here.
	full := w.cfg.Receiver == config.ReceiverProgs || w.place == "pull"
	if r.From != "d1" || r.Transfer == nil || r.Transfer.Parent == "" && !full || r.Common != "" {
		t.Errorf("%+v", r)
	}
	restoredAs(t, w.path(0, names[0]), to)
	w.goesOnIncrementally()
}

func TestRestoreInPlace(t *testing.T) {
	setups := map[string]func(t *testing.T, w *world){
		"snapshots inside the source": func(*testing.T, *world) {},
		"snapshots beside the source": func(t *testing.T, w *world) {
			w.job.SnapshotDir = filepath.Join(w.src.Path, "snapshots")
			must(t, os.Mkdir(w.job.SnapshotDir, 0o700))
		},
	}
	for name, setup := range setups {
		for _, where := range []string{jobs.AtSource, "d1"} {
			t.Run(name+", from "+where, func(t *testing.T) {
				w := newWorld(t, 1)
				setup(t, w)
				names := three(t, w)
				w.job.Destinations[0].Keep = config.Keep{Last: 9}
				if where == "d1" {
					w.job.Keep = config.Keep{Last: 1}
					names = append(names, w.incremental("").Snapshot)
				}
				w.write("precious", "made after the last snapshot")
				o := jobs.Restoration{At: names[0], InPlace: true}
				o.DryRun = true
				before, err := btrfs.Info(w.source())
				must(t, err)
				w.restore(o)
				if now, err := btrfs.Info(w.source()); err != nil || now.UUID != before.UUID {
					t.Fatalf("the dry run changed the source: %v %v", now, err)
				}
				o.DryRun = false
				r := w.restore(o)
				if r.From != where || (r.Transfer != nil) != (where == "d1") || len(r.Notes) == 0 {
					t.Errorf("%+v", r)
				}
				restoredAs(t, w.path(0, names[0]), w.source())
				if old, err := btrfs.Info(r.Before); err != nil || old.UUID != before.UUID {
					t.Errorf("what was there: %v %v", old, err)
				}
				if b, err := os.ReadFile(filepath.Join(r.Before, "precious")); err != nil || string(b) != "made after the last snapshot" {
					t.Errorf("%q %v", b, err)
				}
				got := w.snapshots()
				for _, name := range names[len(names)-1:] {
					if !slices.Contains(got, name) {
						t.Errorf("snapshots %v lack %s", got, name)
					}
				}
				w.goesOnIncrementally()
				for _, v := range listed(t, w.src.Path) {
					if v.ParentID == before.ID {
						t.Errorf("%s is left in what was there", v.Name)
					}
				}
			})
		}
	}
}

func listed(t *testing.T, path string) []btrfs.Subvolume {
	t.Helper()
	all, err := btrfs.List(path)
	must(t, err)
	return all
}

// The source is mounted by itself: its entry is in a directory that is mounted nowhere. It shows the old one until it is mounted anew.
func TestRestoreInPlaceMounted(t *testing.T) {
	w := newWorld(t, 1)
	remount := func(options string) {
		w.src.Unmount()
		w.src.Mount(options)
	}
	remount("subvol=home")
	w.job.Source = w.src.Path
	w.job.SnapshotDir = filepath.Join(w.job.Source, config.DefaultSnapshotDir)
	names := three(t, w)
	w.job.Destinations[0].Keep = config.Keep{Last: 9}
	w.write("precious", "made after the last snapshot")
	r := w.restore(jobs.Restoration{At: names[0], InPlace: true})
	if !strings.HasPrefix(r.Before, "/home.before-restore-") {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(filepath.Join(w.source(), "precious")); err != nil {
		t.Errorf("not mounted anew, and yet: %v", err)
	}
	w.incremental("") // of what is still mounted
	remount("subvol=home")
	restoredAs(t, w.path(0, names[0]), w.source())
	if got := w.snapshots(); len(got) < 3 {
		t.Errorf("snapshots %v", got)
	}
	w.goesOnIncrementally()
	remount("subvol=" + r.Before)
	if _, err := os.Stat(filepath.Join(w.source(), "precious")); err != nil {
		t.Error(err)
	}
}

// TROUBLE 17: the source's disk has died; a new one is mounted in its place.
func TestRestoreToNewDisk(t *testing.T) {
	w := newWorld(t, 1)
	names := three(t, w)
	fresh := testdisk.New(t, testdisk.Options{Size: 512 << 20})
	must(t, unix.Mount(fresh.Path, w.src.Path, "", unix.MS_BIND, ""))
	defer func() { _ = unix.Unmount(w.src.Path, unix.MNT_DETACH) }()
	if r := w.run(); r.Result == jobs.ResultOK {
		t.Errorf("%+v", r)
	}
	r := w.restore(jobs.Restoration{To: w.source()})
	if r.Snapshot != names[2] || r.From != "d1" || r.Common == "" {
		t.Errorf("%+v", r)
	}
	restoredAs(t, w.path(0, names[2]), w.source())
	w.goesOnIncrementally()
}

// Nothing is left but a disk with backups: no configuration, no state, another machine.
func TestRestoreWithoutConfiguration(t *testing.T) {
	w := newWorld(t, 1)
	names := three(t, w)
	dir := w.job.Destinations[0].URL
	w.dests[0].Remount("ro")
	fresh := testdisk.New(t, testdisk.Options{Size: 512 << 20})
	rescue := newWorldOn(t, fresh, w.dests[0])
	rescue.now = w.now
	to := filepath.Join(fresh.Path, "home")
	job := config.Job{Source: to, SnapshotDir: filepath.Join(to, config.DefaultSnapshotDir)}
	if r := rescue.tryRestore(jobs.Restoration{Job: job, FromDir: filepath.Join(w.dests[0].Path, "nothing"), To: to}); r.Error == "" {
		t.Errorf("%+v", r)
	}
	r := rescue.restore(jobs.Restoration{Job: job, FromDir: dir, To: to})
	if r.Snapshot != names[2] || r.Common == "" {
		t.Errorf("%+v", r)
	}
	restoredAs(t, filepath.Join(dir, names[2]), to)
	// It becomes the source of a job that goes on with the same backups.
	w.dests[0].Remount("rw")
	rescue.job.Destinations[0].Keep = config.Keep{Last: 9}
	rescue.incremental(names[2])
}

// TROUBLE 18: the machine with the backups becomes the source, and the old source gets its backups; then back.
func TestRestoreRolesSwapped(t *testing.T) {
	w := newWorld(t, 1)
	names := three(t, w)
	to := filepath.Join(w.dests[0].Path, "home")
	w.restore(jobs.Restoration{FromDir: w.job.Destinations[0].URL, To: to, Job: config.Job{Source: to}})
	restoredAs(t, w.path(0, names[2]), to)
	// goOn makes a run of which all transfers are incremental, and compares what it sent last.
	goOn := func(w *world) jobs.Record {
		t.Helper()
		w.write("changed", w.now.String())
		r := w.mustRun()
		for _, tr := range r.Transfers {
			if tr.Parent == "" {
				t.Errorf("%+v", tr)
			}
		}
		diffs, err := testdisk.Compare(filepath.Join(w.job.SnapshotDir, r.Snapshot), w.path(0, r.Snapshot))
		must(t, err)
		if diffs = slices.DeleteFunc(diffs, func(d string) bool { return strings.Contains(d, ": holes: ") }); len(diffs) > 0 {
			t.Errorf("%s: %v", r.Snapshot, diffs)
		}
		return r
	}
	there := newWorldOn(t, w.dests[0], w.src)
	there.job.Destinations[0].URL = w.job.SnapshotDir // the old snapshots are backups by now
	there.now = w.now
	there.job.Destinations[0].Keep = config.Keep{Last: 3}
	last := goOn(there)
	if tr := last.Transfers[0]; tr.Parent != names[2] {
		t.Errorf("%+v", tr)
	}
	if got := there.complete(0); len(got) != 1 {
		t.Errorf("backups %v", got)
	}
	w.now = there.now
	// And back: the old source is made what the new one is.
	r := w.restore(jobs.Restoration{At: last.Snapshot, InPlace: true})
	if r.From != jobs.AtSource {
		t.Errorf("%+v", r)
	}
	restoredAs(t, filepath.Join(there.job.SnapshotDir, last.Snapshot), w.source())
	w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 2}, config.Keep{Last: 2}
	goOn(w)
	goOn(w)
	if s, b := w.snapshots(), w.complete(0); len(s) != 2 || len(b) != 2 {
		t.Errorf("not pruned: %v, %v", s, b)
	}
}

// Files and directories come back as they were, and take nothing's place unless that is asked for.
func TestRestoreFiles(t *testing.T) {
	w := newWorld(t, 1)
	three(t, w)
	w.write("ann/letter.txt", "first")
	w.write("ann/more/song", "la")
	old := w.mustRun().Snapshot
	w.write("ann/letter.txt", "second")
	w.mustRun()
	read := func(path string) string {
		t.Helper()
		b, err := os.ReadFile(path)
		must(t, err)
		return string(b)
	}
	to := filepath.Join(t.TempDir(), "new") // not on btrfs
	r := w.restore(jobs.Restoration{At: old, Paths: []string{"ann/letter.txt", "/ann/more"}, To: to})
	if r.Files != 2 || r.Bytes != 7 || read(filepath.Join(to, "letter.txt")) != "first" || read(filepath.Join(to, "more/song")) != "la" {
		t.Errorf("%+v", r)
	}
	back := jobs.Restoration{At: old, Paths: []string{filepath.Join(w.source(), "ann/letter.txt")}, To: filepath.Join(w.source(), "ann"), From: "d1"}
	if r := w.tryRestore(back); r.Error == "" || !strings.Contains(r.Hint, "--overwrite") || read(filepath.Join(w.source(), "ann/letter.txt")) != "second" {
		t.Errorf("%+v", r)
	}
	back.Overwrite = true
	if r := w.restore(back); r.From != "d1" || read(filepath.Join(w.source(), "ann/letter.txt")) != "first" {
		t.Errorf("%+v", r)
	}
	// All of it, on another btrfs.
	all := filepath.Join(w.dests[0].Path, "all")
	w.restore(jobs.Restoration{At: old, Paths: []string{"/"}, To: all})
	diffs, err := testdisk.Compare(filepath.Join(w.job.SnapshotDir, old), all)
	must(t, err)
	if diffs = slices.DeleteFunc(diffs, func(d string) bool { return strings.HasPrefix(d, `"./.btrkeep`) || strings.HasPrefix(d, `".": `) }); len(diffs) > 0 {
		t.Errorf("%v", diffs)
	}
	for _, bad := range [][]string{{"nothing"}, {"../home"}, {"ann/letter.txt", "ann/letter.txt"}} {
		if r := w.tryRestore(jobs.Restoration{At: old, Paths: bad, To: filepath.Join(to, "x")}); r.Error == "" {
			t.Errorf("%v: %+v", bad, r)
		}
	}
	w.goesOnIncrementally()
}
