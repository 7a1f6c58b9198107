package jobs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
)

const day = 24 * time.Hour

// TROUBLE 8: two destination disks that are never present together, over a year of daily runs.
func TestTwoDisksInTurnForAYear(t *testing.T) {
	for _, onePlace := range []bool{false, true} {
		t.Run(fmt.Sprintf("one mount point %v", onePlace), func(t *testing.T) {
			w := newWorld(t, 2)
			w.job.Keep = config.Keep{Daily: 7}
			for i := range w.job.Destinations {
				w.job.Destinations[i].Keep = config.Keep{Daily: 10, Monthly: 12}
				w.job.Destinations[i].RequireMount = w.dests[i].Path
			}
			days := 365
			if place != "" {
				days = 60
			}
			if onePlace { // the same disks take turns at one path: then they are one destination
				w.job.Destinations = w.job.Destinations[:1]
				days = min(days, 120)
			}
			w.dests[1].Unmount()
			in := 0
			full := map[int]int{}
			for d := range days {
				if d > 0 && d%9 == 0 { // swapped every nine days: longer than the seven that the source keeps
					w.dests[in].Unmount()
					in = 1 - in
					if onePlace {
						bindDisk(t, w, in)
					} else {
						w.dests[in].Mount("noatime")
					}
				}
				w.write("f", fmt.Sprint(d))
				w.pass(day - time.Minute)
				r := w.run()
				i := in
				if onePlace {
					i = 0
				}
				for _, tr := range r.Transfers {
					switch {
					case tr.Destination != w.job.Destinations[i].Name:
						if tr.Result != jobs.ResultAbsent {
							t.Fatalf("day %d: the other disk: %+v", d, tr)
						}
					case tr.Result != jobs.ResultOK:
						t.Fatalf("day %d: %+v", d, tr)
					case tr.Parent == "":
						full[in]++
					}
				}
				// Seven days, the newest in common with the other disk, and the one being made.
				if n := len(w.snapshots()); n > 9 {
					t.Fatalf("day %d: %d snapshots at the source: %v", d, n, w.snapshots())
				}
			}
			if full[0] != 1 || full[1] != 1 {
				t.Errorf("full sends per disk: %v, want one each", full)
			}
			w.verify()
		})
	}
}

// bindDisk mounts disk i at the place of disk 0.
func bindDisk(t *testing.T, w *world, i int) {
	t.Helper()
	must(t, unix.Mount(w.dests[i].Device, w.dests[0].Path, "btrfs", unix.MS_NOATIME, ""))
	place := *w.dests[0]
	t.Cleanup(func() { _ = unix.Unmount(place.Path, 0) })
}

// TROUBLE 14: one run by a clock that shows 2040, and back.
func TestClockJumps(t *testing.T) {
	w := newWorld(t, 1)
	keep := config.Keep{Daily: 3, Within: config.Duration(2 * day)}
	w.job.Keep, w.job.Destinations[0].Keep = keep, keep
	for range 6 {
		w.write("f", w.now.String())
		w.pass(day)
		w.mustRun()
	}
	before := w.snapshots()
	real := w.now
	w.now = time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
	w.write("f", "2040")
	odd := w.mustRun()
	if len(odd.Pruned) > 0 {
		t.Errorf("pruned by a wrong clock: %v", odd.Pruned)
	}
	if len(odd.Warnings) == 0 || !strings.Contains(odd.Warnings[0], "clock moved") {
		t.Errorf("warnings: %v", odd.Warnings)
	}
	w.now = real
	w.write("f", "back")
	back := w.mustRun()
	if len(back.Pruned) > 0 {
		t.Errorf("pruned right after the clock came back: %v", back.Pruned)
	}
	if tr := transfer(t, back, "d1"); tr.Parent != odd.Snapshot {
		t.Errorf("parent %q, want the one made just before, %q", tr.Parent, odd.Snapshot)
	}
	for range 5 {
		w.pass(day)
		w.write("f", w.now.String())
		w.mustRun()
	}
	after := w.snapshots()
	if !slices.Contains(after, odd.Snapshot) {
		t.Errorf("the snapshot of 2040 was deleted: %v", after)
	}
	if slices.Contains(after, before[0]) || len(after) > 6 {
		t.Errorf("prune does not go on: %v", after)
	}
	if !slices.Contains(after, w.mustRun().Snapshot) && len(after) == 0 {
		t.Error("the newest is gone")
	}
	w.verify()
}

// TROUBLE 13: the time zone changes between runs; nothing is lost by it but what the policy gives up.
func TestTimeZoneChanges(t *testing.T) {
	w := newWorld(t, 1)
	keep := config.Keep{Daily: 5}
	w.job.Keep, w.job.Destinations[0].Keep = keep, keep
	for i, zone := range []string{"Europe/Berlin", "Asia/Tokyo", "America/Los_Angeles", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Europe/Berlin"} {
		loc, err := time.LoadLocation(zone)
		must(t, err)
		w.cfg.Timezone = loc
		for range 5 {
			w.pass(day)
			w.write("f", w.now.String())
			w.mustRun()
		}
		if n := len(w.snapshots()); i > 0 && (n < 5 || n > 6) {
			t.Errorf("%s: %d snapshots, want the five of the policy", zone, n)
		}
	}
	names := w.snapshots()
	if !slices.IsSorted(names) {
		t.Errorf("names are out of order: %q", names)
	}
	w.verify()
}

// TROUBLE 32: paths and names.
func TestOddPaths(t *testing.T) {
	names := append(testdisk.OddNames(), "0", "no", "a@b+c")
	if place != "" && os.Getenv("BTRKEEP_LONG") == "" { // a login in each run
		names = slices.DeleteFunc(names, func(name string) bool { return utf8.ValidString(name) && !strings.ContainsAny(name, "\n\"%") })
	}
	for _, name := range names {
		t.Run(fmt.Sprintf("%.20q", name), func(t *testing.T) {
			w := newWorld(t, 1)
			must(t, btrfs.Create(w.src.Path, name))
			w.job.Source = filepath.Join(w.src.Path, name)
			w.job.SnapshotDir = filepath.Join(w.job.Source, config.DefaultSnapshotDir)
			w.job.Destinations[0].URL = filepath.Join(w.dests[0].Path, name)
			for _, inner := range testdisk.OddNames() {
				w.write(inner, inner)
			}
			w.mustRun()
			w.write("more", "x")
			if tr := transfer(t, w.mustRun(), "d1"); tr.Parent == "" {
				t.Errorf("not incremental: %+v", tr)
			}
			w.verify()
			if got := w.complete(0); len(got) != 2 {
				t.Errorf("backups: %v", got)
			}
		})
	}
}

// TROUBLE 32: a destination reached through a symbolic link and with doubled slashes is the same place.
func TestSymlinkedDestination(t *testing.T) {
	w := newWorld(t, 1)
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(w.dests[0].Path, link))
	straight := w.job.Destinations[0].URL
	w.job.Destinations[0].URL = link + "//backups"
	w.write("a", "1")
	first := w.mustRun()
	w.job.Destinations[0].URL = straight
	w.incremental(first.Snapshot)
	w.job.Destinations[0].URL = link + "//backups"
	w.incremental("")
	w.dests[0].Unmount()
	must(t, os.Remove(link))
	must(t, os.Symlink(filepath.Join(w.dests[0].Path, "gone"), link))
	w.write("a", "2")
	if tr := transfer(t, w.run(), "d1"); tr.Result != jobs.ResultAbsent {
		t.Errorf("a link that leads nowhere: %+v", tr)
	}
}

// What the script that btrkeep replaces left is taken over: the first run is incremental, and its snapshots are never deleted.
func TestTakeOverOfTheOldScript(t *testing.T) {
	w := newWorld(t, 1)
	backup := w.job.Destinations[0].URL
	must(t, os.MkdirAll(filepath.Join(w.source(), "snapshot"), 0o755))
	must(t, os.MkdirAll(backup, 0o755))
	testdisk.Tree(t, w.source(), testdisk.Spec{Seed: 3, Files: 200, MaxSize: 64 << 10})
	var old []string
	for _, name := range []string{"261120-120000", "261121-120000"} {
		w.write("f", name)
		must(t, btrfs.Snapshot(w.source(), filepath.Join(w.source(), "snapshot"), name, true))
		if old == nil {
			sendReceive(t, filepath.Join(w.source(), "snapshot", name), backup)
		} else {
			sendReceive(t, filepath.Join(w.source(), "snapshot", name), backup)
		}
		old = append(old, name)
	}
	must(t, os.Symlink("261121-120000", filepath.Join(w.source(), "snapshot", ".latest")))
	w.write("f", "new")
	w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 1}, config.Keep{Last: 1}
	r := w.mustRun()
	if tr := transfer(t, r, "d1"); tr.Parent != "261121-120000" {
		t.Errorf("first run is against %q, want the script's newest", tr.Parent)
	}
	for range 3 {
		w.write("f", w.now.String())
		w.mustRun()
	}
	for _, name := range old {
		for _, dir := range []string{filepath.Join(w.source(), "snapshot"), backup} {
			if _, err := btrfs.Info(filepath.Join(dir, name)); err != nil {
				t.Errorf("the script's %s is gone: %v", name, err)
			}
		}
	}
	w.verify()
}

// TROUBLE 41: only_if_changed makes no snapshot when nothing was written, though the snapshots lie inside the source, and one when anything was.
func TestOnlyIfChanged(t *testing.T) {
	for _, inside := range []bool{true, false} {
		t.Run(fmt.Sprintf("snapshots inside the source %v", inside), func(t *testing.T) {
			w := newWorld(t, 1)
			w.job.OnlyIfChanged = true
			w.job.Keep = config.Keep{Last: 2}
			if !inside {
				w.job.SnapshotDir = filepath.Join(w.src.Path, "snapshots")
				must(t, os.Mkdir(w.job.SnapshotDir, 0o700))
			}
			w.write("a", "1")
			w.write("dir/b", "1")
			first := w.mustRun()
			for range 4 {
				children := childrenReaped()
				r := w.mustRun()
				if !r.Unchanged || r.Snapshot != first.Snapshot {
					t.Fatalf("made a snapshot of nothing new: %+v", r)
				}
				if place == "" && childrenReaped() != children {
					t.Error("a run with nothing to send started a program")
				}
			}
			last := first.Snapshot
			for name, change := range map[string]func() error{
				"content": func() error { return os.WriteFile(filepath.Join(w.source(), "a"), []byte("2"), 0o644) },
				"mode":    func() error { return os.Chmod(filepath.Join(w.source(), "dir/b"), 0o600) },
				"xattr":   func() error { return unix.Setxattr(filepath.Join(w.source(), "a"), "user.x", []byte("y"), 0) },
				"rename": func() error {
					return os.Rename(filepath.Join(w.source(), "dir/b"), filepath.Join(w.source(), "dir/c"))
				},
				"delete": func() error { return os.Remove(filepath.Join(w.source(), "a")) },
			} {
				if name == "rename" || name == "delete" || name == "mode" {
					w.write("a", "x")
					w.write("dir/b", "x")
					w.mustRun()
					last = w.snapshots()[len(w.snapshots())-1]
				}
				must(t, change())
				r := w.mustRun()
				if r.Unchanged || r.Snapshot == last {
					t.Errorf("%s: not seen as a change", name)
				}
				last = r.Snapshot
				if r := w.mustRun(); !r.Unchanged {
					t.Errorf("after %s: made a snapshot of nothing new", name)
				}
			}
			w.verify()
		})
	}
}

// childrenReaped is a figure that grows with every child process that has been waited for: getrusage(2), page faults of children.
func childrenReaped() int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &u); err != nil {
		panic(err)
	}
	return u.Minflt
}

// Renaming the job keeps its chain, its protection of absent disks, and its pruning.
func TestRenamedJobKeepsItsChain(t *testing.T) {
	w := newWorld(t, 2)
	w.job.Keep = config.Keep{Last: 1}
	w.write("a", "1")
	w.mustRun()
	w.dests[1].Unmount()
	w.job.Name = "renamed"
	for range 4 {
		w.write("a", w.now.String())
		w.run()
	}
	if n := len(w.snapshots()); n != 2 {
		t.Errorf("snapshots: %v, want the newest and the one for the absent disk", w.snapshots())
	}
	w.dests[1].Mount("noatime")
	w.write("a", "last")
	r := w.mustRun()
	for _, tr := range r.Transfers {
		if tr.Parent == "" {
			t.Errorf("full send: %+v", tr)
		}
	}
	w.verify()
}

// Back-fill: a destination that was away gets what its policy would keep and no more, oldest first.
func TestBackfill(t *testing.T) {
	w := newWorld(t, 1)
	w.job.Keep = config.Keep{Hourly: 100}
	w.job.Destinations[0].Keep = config.Keep{Daily: 3}
	w.write("a", "0")
	w.mustRun()
	w.dests[0].Unmount()
	for range 30 {
		w.pass(2*time.Hour - time.Minute)
		w.write("a", w.now.String())
		w.run()
	}
	w.dests[0].Mount("noatime")
	w.write("a", "last")
	r := w.mustRun()
	if n := len(r.Transfers); n < 2 || n > 4 {
		t.Errorf("%d transfers, want those of the three days: %+v", n, r.Transfers)
	}
	for i, tr := range r.Transfers {
		if tr.Parent == "" {
			t.Errorf("full: %+v", tr)
		}
		if i > 0 && tr.Snapshot < r.Transfers[i-1].Snapshot {
			t.Errorf("out of order: %+v", r.Transfers)
		}
	}
	w.verify()
	for _, p := range w.mustRun().Pruned { // the newest alone gives way, to one of the same day
		if p.Where == "d1" && p.Name != r.Snapshot {
			t.Errorf("what was just sent was pruned: %+v", p)
		}
	}
}
