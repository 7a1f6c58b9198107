package jobs_test

import (
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

// What somebody has planted in a backup, or beside the place to which is restored, leads nobody out of there.
func TestRestorePlanted(t *testing.T) {
	victim := func(t *testing.T, dir string) (intact func()) {
		must(t, os.Mkdir(dir, 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "disk.img"), []byte("x"), 0o600))
		must(t, btrfs.Create(dir, "vm"))
		return func() {
			t.Helper()
			for _, name := range []string{"disk.img", "vm"} {
				if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
					t.Error(err)
				}
			}
		}
	}
	t.Run("a link in the place of a drill's directory", func(t *testing.T) {
		w := newWorld(t, 1)
		intact := victim(t, filepath.Join(w.src.Path, "etc"))
		must(t, os.MkdirAll(w.job.Destinations[0].URL, 0o700))
		must(t, btrfs.Create(w.dests[0].Path, "evil"))
		evil := filepath.Join(w.dests[0].Path, "evil")
		must(t, os.Mkdir(filepath.Join(evil, ".btrkeep"), 0o777))
		must(t, os.Symlink(filepath.Join(w.src.Path, "etc"), filepath.Join(evil, ".btrkeep", ".btrkeep-drill")))
		must(t, btrfs.Snapshot(evil, w.job.Destinations[0].URL, "20261120T100000Z", false))
		path := w.path(0, "20261120T100000Z")
		must(t, btrfs.SetReceived(path, btrfs.UUID{1, 2, 3}, 5))
		must(t, btrfs.SetReadOnly(path))
		to := filepath.Join(w.src.Path, "new")
		w.job.Source, w.job.SnapshotDir = to, filepath.Join(to, ".btrkeep")
		w.restore(jobs.Restoration{FromDir: w.job.Destinations[0].URL, To: to, Job: w.job})
		w.mustRun()
		intact()
		// And where it comes to be there later on.
		must(t, os.Symlink(filepath.Join(w.src.Path, "etc"), filepath.Join(w.job.SnapshotDir, ".btrkeep-drill")))
		if r := w.run(); len(r.Warnings) == 0 {
			t.Errorf("%+v", r)
		}
		intact()
	})
	t.Run("a link in the place of the staging directory", func(t *testing.T) {
		w := newWorld(t, 1)
		names := three(t, w)
		fresh := testdisk.New(t, testdisk.Options{})
		intact := victim(t, filepath.Join(fresh.Path, "vms"))
		s, err := btrfs.Info(filepath.Join(w.job.SnapshotDir, names[2]))
		must(t, err)
		ann := filepath.Join(fresh.Path, "ann")
		must(t, os.Mkdir(ann, 0o755))
		for _, dir := range []string{fresh.Path, ann} {
			must(t, os.Symlink(filepath.Join(fresh.Path, "vms"), filepath.Join(dir, ".btrkeep-restore-"+s.UUID.String())))
		}
		must(t, os.Chown(ann, 1000, 1000))
		for _, to := range []string{filepath.Join(fresh.Path, "old"), filepath.Join(ann, "old")} {
			if r := w.tryRestore(jobs.Restoration{From: "d1", To: to}); r.Error == "" || r.Hint == "" {
				t.Errorf("%+v", r)
			}
		}
		intact()
	})
}

// mounted is a world whose source is mounted by itself, and how it is mounted anew.
func mounted(t *testing.T) (w *world, names []string, again func()) {
	w = newWorld(t, 1)
	again = func() {
		w.src.Unmount()
		w.src.Mount("subvol=home")
	}
	again()
	w.job.Source = w.src.Path
	w.job.SnapshotDir = filepath.Join(w.job.Source, config.DefaultSnapshotDir)
	names = three(t, w)
	w.job.Destinations[0].Keep = config.Keep{Last: 99}
	return w, names, again
}

// top gives a path to the top level of the disk.
func top(t *testing.T, w *world) string {
	t.Helper()
	p, err := btrfs.FindPlace(w.source())
	must(t, err)
	t.Cleanup(func() { p.Close() })
	if !p.Mounted {
		t.Fatalf("%+v", p)
	}
	return p.Dir
}

// A mounted source shows what it was until it is mounted anew: until then nothing is restored again, nothing of it is deleted, and what was interrupted right after the exchange is finished.
func TestRestoreInPlaceMountedTrouble(t *testing.T) {
	t.Run("again before it is mounted anew", func(t *testing.T) {
		w, names, again := mounted(t)
		w.restore(jobs.Restoration{At: names[0], InPlace: true})
		if r := w.tryRestore(jobs.Restoration{At: names[1], InPlace: true}); r.Error == "" || !strings.Contains(r.Hint, "mount") {
			t.Errorf("%+v", r)
		}
		again()
		restoredAs(t, w.path(0, names[0]), w.source())
	})
	t.Run("interrupted right after the exchange", func(t *testing.T) {
		w, names, again := mounted(t)
		btrfsProgram(t, "subvolume", "snapshot", "-r", w.source(), filepath.Join(w.job.SnapshotDir, "by-hand"))
		dir := top(t, w)
		old, err := btrfs.Info(w.source())
		must(t, err)
		r := w.restore(jobs.Restoration{At: names[0], InPlace: true})
		must(t, os.Rename(filepath.Join(dir, filepath.Base(r.Before)), filepath.Join(dir, ".btrkeep-swap-"+old.UUID.String())))
		r = w.restore(jobs.Restoration{At: names[0], InPlace: true, From: "d1"})
		if !strings.Contains(r.Before, ".before-restore-") {
			t.Errorf("%+v", r)
		}
		for _, name := range append(slices.Clone(names), "by-hand") {
			if _, err := btrfs.Info(filepath.Join(w.job.SnapshotDir, name)); err != nil {
				t.Error(err)
			}
		}
		again()
		restoredAs(t, w.path(0, names[0]), w.source())
		w.goesOnIncrementally()
	})
	t.Run("mounted elsewhere", func(t *testing.T) {
		w := newWorld(t, 1)
		names := three(t, w)
		at := t.TempDir()
		must(t, unix.Mount(w.source(), at, "", unix.MS_BIND, ""))
		defer func() { _ = unix.Unmount(at, unix.MNT_DETACH) }()
		r := w.restore(jobs.Restoration{At: names[0], InPlace: true})
		if !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, at) }) {
			t.Errorf("%q", r.Notes)
		}
		if _, err := btrfs.Info(filepath.Join(at, ".btrkeep", names[2])); err != nil {
			t.Errorf("taken from what is mounted: %v", err)
		}
	})
}

// A restoration that was interrupted at its end is over only if nothing has happened since.
func TestRestoreInPlaceAfterAll(t *testing.T) {
	w := newWorld(t, 1)
	names := three(t, w)
	w.job.Destinations[0].Keep, w.job.Keep = config.Keep{Last: 99}, config.Keep{Last: 99}
	old, err := btrfs.Info(w.source())
	must(t, err)
	r := w.restore(jobs.Restoration{At: names[0], InPlace: true})
	must(t, os.Rename(r.Before, filepath.Join(w.src.Path, ".btrkeep-swap-"+old.UUID.String())))
	w.incremental("")
	w.write("ransom", "note")
	w.restore(jobs.Restoration{At: names[0], InPlace: true})
	if _, err := os.Lstat(filepath.Join(w.source(), "ransom")); err == nil {
		t.Error("not restored")
	}
	if kept, _ := filepath.Glob(w.source() + ".before-restore-*"); len(kept) != 2 {
		t.Errorf("kept: %v", kept)
	}
}

// A snapshot has an empty directory in the place of a nested subvolume, a backup has nothing: what is sent back against it must not fail for that.
func TestRestoreBesideNested(t *testing.T) {
	for _, inPlace := range []bool{false, true} {
		w := newWorld(t, 1)
		w.job.Destinations[0].Keep = config.Keep{Last: 99}
		w.write("a", "1")
		first := w.mustRun().Snapshot
		must(t, os.Mkdir(filepath.Join(w.source(), "machines"), 0o755))
		must(t, btrfs.Create(filepath.Join(w.source(), "machines"), "vm1"))
		w.job.Keep = config.Keep{Last: 1}
		w.incremental("")
		o := jobs.Restoration{At: first, InPlace: inPlace, To: filepath.Join(w.src.Path, "old")}
		w.restore(o)
		to := o.To
		if inPlace {
			to = w.source()
		}
		restoredAs(t, w.path(0, first), to)
	}
}

// A snapshot directory that is a subvolume inside the source cannot be carried over.
func TestRestoreInPlaceNestedSnapshotDir(t *testing.T) {
	w := newWorld(t, 1)
	must(t, btrfs.Create(w.source(), ".snapshots"))
	w.job.SnapshotDir = filepath.Join(w.source(), ".snapshots")
	must(t, os.Chmod(w.job.SnapshotDir, 0o700))
	names := three(t, w)
	if r := w.tryRestore(jobs.Restoration{At: names[0], InPlace: true}); r.Error == "" || r.Hint == "" {
		t.Errorf("%+v", r)
	}
	w.incremental("")
}

// The source is gone, its snapshots and its disk are not.
func TestRestoreFromSnapshotsAlone(t *testing.T) {
	w := newWorld(t, 1)
	w.job.SnapshotDir = filepath.Join(w.src.Path, "snapshots")
	must(t, os.Mkdir(w.job.SnapshotDir, 0o700))
	names := three(t, w)
	s, err := btrfs.Info(w.source())
	must(t, err)
	must(t, btrfs.Delete(w.src.Path, "home", s.UUID))
	w.job.Destinations[0].RequireMount = w.dests[0].Path
	w.dests[0].Unmount()
	if r := w.restore(jobs.Restoration{To: w.source()}); r.From != jobs.AtSource || r.Snapshot != names[2] {
		t.Errorf("%+v", r)
	}
	restoredAs(t, filepath.Join(w.job.SnapshotDir, names[2]), w.source())
	w.restore(jobs.Restoration{FromDir: w.job.SnapshotDir, At: names[0], To: filepath.Join(w.src.Path, "other")})
	w.dests[0].Mount("")
	w.goesOnIncrementally()
}

// Backups that another machine has made are offered by name beside one's own, and pruned as one's own when that is asked for.
func TestRestoreAdopts(t *testing.T) {
	for _, adopt := range []bool{false, true} {
		w := newWorld(t, 1)
		names := three(t, w)
		fresh := testdisk.New(t, testdisk.Options{Size: 512 << 20})
		rescue := newWorldOn(t, fresh, w.dests[0])
		rescue.now = w.now
		to := filepath.Join(fresh.Path, "home")
		job := config.Job{Source: to, SnapshotDir: filepath.Join(to, config.DefaultSnapshotDir)}
		rescue.restore(jobs.Restoration{Job: job, FromDir: w.job.Destinations[0].URL, To: to, Adopt: adopt})
		rescue.job.Keep, rescue.job.Destinations[0].Keep = config.Keep{Last: 9}, config.Keep{Last: 9}
		rescue.incremental(names[2])
		if r := rescue.restore(jobs.Restoration{At: names[0], To: filepath.Join(fresh.Path, "x"), DryRun: true}); r.Snapshot != names[0] {
			t.Errorf("%+v", r)
		}
		rescue.job.Keep, rescue.job.Destinations[0].Keep = config.Keep{Last: 2}, config.Keep{Last: 2}
		for range 3 {
			rescue.incremental("")
		}
		if got, want := len(rescue.complete(0)), map[bool]int{false: 5, true: 2}[adopt]; got != want {
			t.Errorf("adopted %v: %d backups, want %d", adopt, got, want)
		}
	}
}

// A snapshot from the future is not the newest, unless it is named.
func TestRestoreFuture(t *testing.T) {
	w := newWorld(t, 1)
	w.write("a", "1")
	now := w.now
	w.now = w.now.AddDate(3, 0, 0)
	future := w.mustRun().Snapshot
	w.now = now
	w.write("a", "2")
	last := w.mustRun().Snapshot
	if r := w.restore(jobs.Restoration{To: filepath.Join(w.src.Path, "x"), DryRun: true}); r.Snapshot != last {
		t.Errorf("%+v", r)
	}
	if r := w.restore(jobs.Restoration{At: future, To: filepath.Join(w.src.Path, "x"), DryRun: true}); r.Snapshot != future {
		t.Errorf("%+v", r)
	}
}

// What an absent disk needs is protected through power cuts and restorations: it comes back and gets an incremental.
func TestProtectionLasts(t *testing.T) {
	away := func(w *world) {
		w.job.Destinations[0].RequireMount = w.dests[0].Path
		w.dests[0].Unmount()
		w.job.Keep = config.Keep{Last: 1}
		for range 3 {
			w.write("a", w.now.String())
			w.run()
		}
		w.dests[0].Mount("")
		w.write("a", "back")
		if tr := w.mustRun().Transfers[0]; tr.Parent == "" {
			w.t.Errorf("in full: %+v", tr)
		}
	}
	t.Run("a power cut after a run", func(t *testing.T) {
		w := newWorld(t, 1)
		w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 9}, config.Keep{Last: 1}
		for _, text := range []string{"1", "2", "3"} {
			w.write("a", text)
			w.mustRun()
		}
		durable, _ := filepath.Glob(filepath.Join(w.cfg.StateDir, "jobs", "*.json"))
		_ = os.Remove(durable[0] + ".recent")
		away(w)
	})
	t.Run("restored twice", func(t *testing.T) {
		w := newWorld(t, 1)
		names := three(t, w)
		w.job.OnlyIfChanged = true
		w.restore(jobs.Restoration{At: names[2], InPlace: true})
		w.runner.Prune(t.Context(), w.placed(), jobs.Options{Clock: w.clock()}) // notes what there is
		w.restore(jobs.Restoration{At: names[2], InPlace: true})
		w.job.OnlyIfChanged = false
		away(w)
	})
	t.Run("a state that is lost", func(t *testing.T) {
		w := newWorld(t, 1)
		w.job.OnlyIfChanged = true
		w.write("a", "1")
		for range 4 {
			w.mustRun()
		}
		durable, _ := filepath.Glob(filepath.Join(w.cfg.StateDir, "jobs", "*.json"))
		must(t, os.WriteFile(durable[0], []byte("garbage"), 0o600))
		w.pass(24 * time.Hour)
		for range 6 {
			w.write("a", w.now.String())
			w.mustRun()
			if s, err := jobs.LoadState(w.cfg.StateDir, w.job); err != nil || !s.LastRun.Equal(w.now) {
				t.Errorf("at %v: %v %+v", w.now, err, s)
			}
		}
	})
}
