package jobs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// TROUBLE 9: a disk that is away for a year finds its parent; one that is away for longer than the source keeps it does not, which is warned of when it is given up,
// and is sent in full. Meanwhile the source stays within its bounds.
func TestDiskAwayForLong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		days int
		full bool
	}{
		{"TROUBLE 9: a year", 365, false},
		{"TROUBLE 9: longer", 438, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 2)
			w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 2}, config.Keep{Last: 2}
			w.write("a", "1")
			first := w.mustRun()
			w.dests[1].Unmount()
			const step = 73
			for d := step; d <= tt.days; d += step {
				w.pass(step*day - time.Minute)
				w.write("a", w.now.String())
				if tr := transfer(t, w.run(), "d2"); tr.Result != jobs.ResultAbsent {
					t.Fatalf("day %d: %+v", d, tr)
				}
				if got := w.snapshots(); len(got) > 3 || slices.Contains(got, first.Snapshot) != (d <= 400) {
					t.Errorf("day %d: snapshots %v", d, got)
				}
			}
			const warning = "d2: not seen since 2026-11-23: its snapshot 20261123T115700Z is no longer kept for it, and it will need a full send"
			if got := strings.Count(w.log.String(), warning); got != map[bool]int{true: 1}[tt.full] {
				t.Errorf("warned %d times:\n%s", got, w.log.String())
			}
			w.dests[1].Mount("noatime")
			w.write("a", "back")
			r := w.mustRun()
			for _, tr := range r.Transfers {
				if tr.Destination == "d2" {
					if (tr.Parent == "") != tt.full {
						t.Errorf("back: %+v", tr)
					}
					break
				}
			}
			if got := w.complete(1); !slices.Contains(got, first.Snapshot) || !slices.Contains(got, r.Snapshot) {
				t.Errorf("backups there: %v", got)
			}
			w.verify()
		})
	}
}

// TROUBLE 11: all destinations are away: the snapshot is made, nothing is called a failure, and what the destinations need stays, however long that lasts.
func TestAllDestinationsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	failed := filepath.Join(t.TempDir(), "failed")
	w.job.Hooks.OnFailure = []string{"/usr/bin/touch", failed}
	w.job.Keep = config.Keep{Last: 2}
	w.write("a", "1")
	first := w.mustRun()
	for _, d := range w.dests {
		d.Unmount()
	}
	for range 4 {
		w.write("a", w.now.String())
		r := w.run()
		if r.Snapshot == "" || r.Error != "" || r.Result != jobs.ResultSkipped || jobs.ExitStatus([]jobs.Record{r}) != 75 {
			t.Errorf("%+v", r)
		}
	}
	if got := w.snapshots(); len(got) != 3 || got[0] != first.Snapshot {
		t.Errorf("snapshots %v, want the last two and the common one", got)
	}
	if _, err := os.Stat(failed); err == nil {
		t.Error("on_failure ran")
	}
}

// TROUBLE 13: hourly runs through both changes of daylight saving, with names of local time: none comes twice, and each is sent against the one before.
func TestHourlyThroughDaylightSaving(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	must(t, err)
	for _, start := range []string{"2026-10-24T22:29:00Z", "2027-03-27T22:29:00Z"} {
		w := newWorld(t, 1)
		w.cfg.Timezone = berlin
		must(t, w.job.NameFormat.UnmarshalText([]byte("2006-01-02T1504")))
		w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Hourly: 6}, config.Keep{Hourly: 6}
		w.now, err = time.Parse(time.RFC3339, start)
		must(t, err)
		var names []string
		for range 6 { // 00:30 to 05:30 in autumn, but 02:30 twice; 23:30 to 05:30 in spring, and no 02:30
			w.write("a", w.now.String())
			r := w.mustRun()
			if tr := transfer(t, r, "d1"); len(names) > 0 && tr.Parent != names[len(names)-1] {
				t.Errorf("%s is against %s: %v", r.Snapshot, tr.Parent, names)
			}
			names = append(names, r.Snapshot)
			w.pass(time.Hour - time.Minute)
		}
		if unique := slices.Compact(slices.Sorted(slices.Values(names))); len(unique) != 6 || !slices.IsSorted(names) {
			t.Errorf("names: %v", names)
		}
		for where, got := range map[string][]string{"source": w.snapshots(), "destination": w.complete(0)} {
			if !slices.Equal(got, names) {
				t.Errorf("%s has %v, want one of each of six hours: %v", where, got, names)
			}
		}
		w.verify()
	}
}

// TROUBLE 14: a machine without a clock of its own boots in 1970, behind its newest snapshot, and is put right later.
func TestClockBehindNewest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 2}, config.Keep{Last: 2}
	for range 3 {
		w.write("a", w.now.String())
		w.mustRun()
	}
	newest, real, boot := w.snapshots()[1], w.now, time.Duration(0)
	run := func(wall time.Time, parent string) jobs.Record {
		t.Helper()
		boot += 40 * time.Second
		w.write("a", wall.String())
		r := w.runner.Run(t.Context(), w.placed(), jobs.Options{Clock: jobs.Clock{Wall: wall, Boot: boot, ID: "next boot"}})
		if tr := transfer(t, r, "d1"); r.Result != jobs.ResultOK || tr.Parent != parent {
			t.Errorf("%+v, want it against %s", r, parent)
		}
		return r
	}
	r := run(time.Unix(40, 0), newest)
	if len(r.Pruned) > 0 || len(r.Warnings) == 0 {
		t.Errorf("in 1970: %+v", r)
	}
	for i := range 3 {
		w.now = real.Add(time.Hour + time.Duration(i)*40*time.Second)
		r = run(w.now, r.Snapshot)
	}
	if got := w.snapshots(); len(got) > 3 || got[len(got)-1] != r.Snapshot {
		t.Errorf("snapshots %v", got)
	}
	if s := w.runner.Status(t.Context(), w.placed(), w.now); s.Destinations[0].Newest != r.Snapshot {
		t.Errorf("status: %+v", s.Destinations[0])
	}
	w.verify()
}

// TROUBLE 15: snapshots of another tool, with names of all its formats, some of one minute, lie beside btrkeep's own. The parent is the newest by the file system's
// order, whatever the names say, and none of them is deleted or in the way.
func TestMixedNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	must(t, os.MkdirAll(w.job.SnapshotDir, 0o700))
	must(t, os.MkdirAll(w.job.Destinations[0].URL, 0o700))
	w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 1}, config.Keep{Last: 1}
	foreign := []string{"home.20261123T115600+0100", "home.20261123", "home.20261123_1", "home.20261123T1156_1", "home.20261123T1156", "20261123T115500Z", "20261123T115500Z_1"}
	for _, name := range foreign {
		w.write("a", name)
		must(t, btrfs.Snapshot(w.source(), w.job.SnapshotDir, name, true))
		sendReceive(t, filepath.Join(w.job.SnapshotDir, name), w.job.Destinations[0].URL)
	}
	last := foreign[len(foreign)-1]
	for range 3 {
		last = w.incremental(last).Snapshot
	}
	for _, dir := range []string{w.job.SnapshotDir, w.job.Destinations[0].URL} {
		for _, name := range foreign {
			if _, err := btrfs.Info(filepath.Join(dir, name)); err != nil {
				t.Errorf("deleted: %v", err)
			}
		}
	}
	if got := w.snapshots(); len(got) != len(foreign)+1 {
		t.Errorf("snapshots %v", got)
	}
}

// TROUBLE 22, 23: the parent is on the destination's disk, but not in its directory or not below its mount point; also where a copy of it that no mount leads to
// could be taken for it. And the source and its snapshots are below mount points of their own.
func TestParentBelowAnotherMount(t *testing.T) {
	t.Parallel()
	t.Run("TROUBLE 22: in another directory", func(t *testing.T) {
		w := newWorld(t, 1)
		w.write("a", "1")
		w.mustRun()
		w.job.Destinations[0].URL = filepath.Join(w.dests[0].Path, "elsewhere")
		w.write("a", "2")
		w.mustRun()
		w.verify()
		if got := w.complete(0); len(got) == 0 {
			t.Error("no backup")
		}
		w.incremental("")
	})
	t.Run("TROUBLE 23: a copy that no mount leads to", func(t *testing.T) {
		w := newWorld(t, 1)
		must(t, btrfs.Create(w.dests[0].Path, "@other"))
		must(t, btrfs.Create(w.dests[0].Path, "@backup"))
		w.write("a", "1")
		w.job.Destinations[0].URL = filepath.Join(w.dests[0].Path, "@other")
		first := w.mustRun()
		w.dests[0].Unmount()
		w.dests[0].Mount("noatime,subvol=@backup")
		w.job.Destinations[0].URL = filepath.Join(w.dests[0].Path, "backups")
		w.write("a", "2")
		r := w.mustRun() // the first one again, of which there are two now, and another one against it
		if len(r.Transfers) != 2 || r.Transfers[0].Snapshot != first.Snapshot {
			t.Errorf("%+v", r.Transfers)
		}
		w.verify()
		w.write("a", "3")
		if tr := transfer(t, w.mustRun(), "d1"); w.cfg.Receiver == config.ReceiverNative && tr.Parent != r.Snapshot {
			t.Errorf("%+v", tr)
		}
		w.verify()
	})
	t.Run("TROUBLE 23: source and snapshots", func(t *testing.T) {
		w := newWorld(t, 1)
		must(t, btrfs.Create(w.src.Path, "@snapshots"))
		at := map[string]string{"home": t.TempDir(), "@snapshots": t.TempDir()}
		for volume, point := range at {
			must(t, unix.Mount(w.src.Device, point, "btrfs", 0, "subvol="+volume))
			t.Cleanup(func() { _ = unix.Unmount(point, 0) })
		}
		w.job.Source, w.job.SnapshotDir = at["home"], at["@snapshots"]
		w.src.Unmount()
		w.write("a", "1")
		first := w.mustRun()
		w.incremental(w.incremental(first.Snapshot).Snapshot)
	})
}

// TROUBLE 41: what was written long ago and committed is no change, whatever else happens on the disk; what was not yet written to the disk is one, written through
// a mapping too; so is data that was made to share its place.
func TestOnlyIfChangedOddly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.job.OnlyIfChanged = true
	block := strings.Repeat("0123456789abcdef", 1<<13)
	w.write("a", block)
	w.write("b", block)
	must(t, btrfs.Sync(w.source()))
	w.pass(30 * day)
	w.mustRun()
	quiet := func(what string) {
		t.Helper()
		if r := w.mustRun(); !r.Unchanged {
			t.Errorf("%s: a snapshot of nothing new", what)
		}
	}
	changed := func(what string) {
		t.Helper()
		if r := w.mustRun(); r.Unchanged {
			t.Errorf("%s: not seen as a change", what)
		}
		quiet("after " + what)
	}
	must(t, btrfs.Create(w.src.Path, "other"))
	for i := range 3 {
		must(t, os.WriteFile(filepath.Join(w.src.Path, "other", fmt.Sprint(i)), []byte(block), 0o644))
		must(t, btrfs.Sync(w.src.Path))
	}
	w.pass(30 * day)
	quiet("much written elsewhere")
	w.src.Unmount()
	w.src.Mount("noatime")
	quiet("mounted anew")

	f, err := os.OpenFile(filepath.Join(w.source(), "a"), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	mapped, err := unix.Mmap(int(f.Fd()), 0, len(block), unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	mapped[0] = 'x'
	changed("a write through a mapping, still in memory")
	mapped[0] = '0'
	changed("another")
	must(t, unix.Munmap(mapped))

	must(t, f.Sync())
	b, err := os.OpenFile(filepath.Join(w.source(), "b"), os.O_RDWR, 0)
	must(t, err)
	defer b.Close()
	same := unix.FileDedupeRange{Src_length: uint64(len(block)), Info: []unix.FileDedupeRangeInfo{{Dest_fd: int64(b.Fd())}}}
	must(t, unix.IoctlFileDedupeRange(int(f.Fd()), &same))
	if got := same.Info[0]; got.Status != unix.FILE_DEDUPE_RANGE_SAME || got.Bytes_deduped != uint64(len(block)) {
		t.Fatalf("not deduplicated: %+v", got)
	}
	changed("deduplication")
	w.verify()
}
