package jobs_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// pin makes one pin and gives its results by place, as "name result".
func (w *world) pin(p jobs.Pin) map[string]string {
	w.t.Helper()
	p.Clock = w.clock()
	marks, err := w.runner.Pin(context.Background(), w.placed(), p)
	must(w.t, err)
	got := map[string]string{}
	for _, m := range marks {
		got[m.Where] = strings.TrimSpace(m.Name + " " + m.Result)
		if (m.Error != "") != slices.Contains([]string{jobs.ResultFailed, jobs.ResultAbsent, jobs.ResultBusy}, m.Result) || m.Pinned != (m.Reason != "") {
			w.t.Errorf("%+v", m)
		}
	}
	return got
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: (-want +got)\n%s", what, diff)
	}
}

// strict is a world whose policies keep only the newest of each end.
func strict(t *testing.T, n int) *world {
	t.Helper()
	w := newWorld(t, n)
	w.job.Keep = config.Keep{Last: 1}
	for i := range w.job.Destinations {
		w.job.Destinations[i].Keep = config.Keep{Last: 1}
	}
	return w
}

// backup makes a run with something new in it.
func (w *world) backup() string {
	w.t.Helper()
	w.write("file", w.now.String())
	return w.mustRun().Snapshot
}

// prune makes step 5 alone, which has to end well, and gives what was pruned, as "where name".
func (w *world) prune() []string {
	w.t.Helper()
	w.pass(time.Minute)
	r := w.runner.Prune(context.Background(), w.placed(), jobs.Options{Clock: w.clock()})
	if r.Result != jobs.ResultOK || jobs.ExitStatus([]jobs.Record{r}) != 0 {
		w.t.Errorf("prune: %+v", r)
	}
	gone := []string{}
	for _, p := range r.Pruned {
		gone = append(gone, p.Where+" "+p.Name)
	}
	slices.Sort(gone)
	return gone
}

// What is pinned outlives its policy at both ends, until it is unpinned.
func TestPin(t *testing.T) {
	w := strict(t, 1)
	w.job.OnlyIfChanged = true
	pinned := w.backup()
	both := func(result string) map[string]string {
		return map[string]string{jobs.AtSource: pinned + " " + result, "d1": pinned + " " + result}
	}
	same(t, "pin", w.pin(jobs.Pin{What: pinned, Reason: "before the upgrade"}), both("pinned"))
	if r := w.mustRun(); !r.Unchanged {
		t.Errorf("a pin passes for a change of the source: %+v", r)
	}
	for range 2 {
		w.backup()
	}
	last := w.backup()
	same(t, "snapshots", w.snapshots(), []string{pinned, last})
	same(t, "backups", w.complete(0), []string{pinned, last})
	l := w.listing()
	if s, b := l.Snapshots[0], l.Destinations[0].Backups[0]; !s.Pinned || s.PinReason != "before the upgrade" || !b.Pinned || b.PinReason != "before the upgrade" {
		t.Errorf("%+v\n%+v", s, b)
	}
	n := 0
	for _, p := range w.runner.PlanPrune(context.Background(), w.placed(), w.clock()).Prune {
		if p.Name == pinned && !p.Remove && slices.Equal(p.Reasons, []string{"pinned: before the upgrade"}) {
			n++
		}
	}
	same(t, "plans to keep it, for the pin alone", n, 2)

	same(t, "pinned again without a reason", w.pin(jobs.Pin{What: pinned}), both("unchanged"))
	same(t, "with another", w.pin(jobs.Pin{What: pinned, Reason: "after all"}), both("pinned"))
	same(t, "unpinned", w.pin(jobs.Pin{What: pinned, Remove: true}), both("unpinned"))
	same(t, "unpinned again", w.pin(jobs.Pin{What: pinned, Remove: true}), both("unchanged"))
	same(t, "pruned", w.prune(), []string{"d1 " + pinned, "source " + pinned})
	same(t, "of what is gone", w.pin(jobs.Pin{What: pinned}), map[string]string{})

	w.pin(jobs.Pin{What: last})
	same(t, "a reason for none", w.listing().Snapshots[0].PinReason, "pinned "+w.now.Format(time.DateOnly))
}

// A pin at one end holds there alone, and makes no run send again what the other end does not keep.
func TestPinAtOneEnd(t *testing.T) {
	for _, where := range []string{jobs.AtSource, "d1"} {
		w := strict(t, 1)
		pinned := w.backup()
		same(t, "pin", w.pin(jobs.Pin{What: pinned, Where: where}), map[string]string{where: pinned + " pinned"})
		var last string
		for range 3 {
			w.write("file", w.now.String())
			r := w.mustRun()
			last = r.Snapshot
			if tr := transfer(t, r, "d1"); tr.Snapshot != last {
				t.Errorf("%s: sent: %+v", where, tr)
			}
		}
		want := map[string][]string{jobs.AtSource: {last}, "d1": {last}}
		want[where] = []string{pinned, last}
		same(t, where, map[string][]string{jobs.AtSource: w.snapshots(), "d1": w.complete(0)}, want)
	}
}

// What btrkeep did not make gets no entry in the catalog, by which it would become its own and deletable. What has a hidden name is nothing that is there.
func TestPinForeign(t *testing.T) {
	w := strict(t, 1)
	w.backup()
	dir := w.job.Destinations[0].URL
	must(t, btrfs.Snapshot(w.source(), w.job.SnapshotDir, "by-hand", true))
	must(t, btrfs.Create(dir, "by-hand"))
	must(t, btrfs.SetReceived(filepath.Join(dir, "by-hand"), btrfs.UUID{9}, 9))
	must(t, btrfs.SetReadOnly(filepath.Join(dir, "by-hand")))
	must(t, btrfs.Create(dir, ".btrkeep-incoming-1"))
	files := func() (texts []string) {
		for _, d := range []string{w.job.SnapshotDir, dir} {
			b, err := os.ReadFile(filepath.Join(d, catalog.File))
			must(t, err)
			texts = append(texts, string(b))
		}
		return texts
	}
	before := files()
	for _, remove := range []bool{false, true} {
		same(t, "foreign", w.pin(jobs.Pin{What: "by-hand", Remove: remove}), map[string]string{jobs.AtSource: "by-hand foreign", "d1": "by-hand foreign"})
	}
	same(t, "hidden", w.pin(jobs.Pin{What: ".btrkeep-incoming-1"}), map[string]string{})
	same(t, "hidden, by its path", w.pin(jobs.Pin{What: filepath.Join(dir, ".btrkeep-incoming-1")}), map[string]string{})
	same(t, "catalogs", files(), before)
	w.backup()
	if !slices.Contains(w.snapshots(), "by-hand") || !slices.Contains(w.complete(0), "by-hand") {
		t.Errorf("%v %v", w.snapshots(), w.complete(0))
	}
}

// A pin moves with its disk to another place, another configuration and another machine.
func TestPinMovesWithTheDisk(t *testing.T) {
	w := newWorld(t, 1)
	pinned := w.backup()
	w.pin(jobs.Pin{What: pinned, Reason: "tax office"})
	for range 3 {
		w.backup()
	}
	w.dests[0].Unmount()
	elsewhere := t.TempDir()
	must(t, unix.Mount(w.dests[0].Device, elsewhere, "btrfs", unix.MS_NOATIME, ""))
	t.Cleanup(func() { _ = unix.Unmount(elsewhere, 0) })
	id := filepath.Join(t.TempDir(), "machine-id")
	must(t, os.WriteFile(id, []byte("0123456789abcdef0123456789abcdef\n"), 0o644))
	must(t, unix.Mount(id, "/etc/machine-id", "", unix.MS_BIND, "")) // in the mount namespace of these tests
	t.Cleanup(func() { must(t, unix.Unmount("/etc/machine-id", 0)) })

	moved := newWorldOn(t, w.src, w.dests[0]) // with a state of its own
	moved.now = w.now
	moved.job.Name, moved.job.Keep = "renamed", config.Keep{Last: 1}
	moved.job.Destinations[0] = config.Destination{Name: "there", URL: filepath.Join(elsewhere, "backups"), Keep: config.Keep{Last: 1}}
	if gone := moved.prune(); len(gone) != 4 {
		t.Errorf("pruned: %v", gone)
	}
	same(t, "snapshots", len(moved.snapshots()), 2)
	same(t, "the oldest", []string{moved.snapshots()[0], moved.complete(0)[0]}, []string{pinned, pinned})
	same(t, "why", moved.listing().Destinations[0].Backups[0].PinReason, "tax office")

	// A machine that has another source sees it, too, and may unpin it.
	other := testdisk.New(t, testdisk.Options{Size: 512 << 20, MountOptions: "noatime"})
	must(t, btrfs.Create(other.Path, "home"))
	stranger := newWorldOn(t, other, w.dests[0])
	stranger.job.Destinations = moved.job.Destinations
	if b := stranger.listing().Destinations[0].Backups[0]; b.Own || !b.Pinned {
		t.Errorf("%+v", b)
	}
	same(t, "unpinned", stranger.pin(jobs.Pin{What: pinned, Remove: true}), map[string]string{"there": pinned + " unpinned"})
	same(t, "pruned at last", moved.prune(), []string{"there " + pinned})
}

// While a run holds the job, nothing of it is pinned; what can be done is done.
func TestPinWhileLocked(t *testing.T) {
	w := newWorld(t, 1)
	name := w.backup()
	fifo := filepath.Join(t.TempDir(), "fifo")
	must(t, unix.Mkfifo(fifo, 0o600))
	w.job.Hooks.BeforeSnapshot = []string{"/bin/cat", fifo}
	ended := make(chan jobs.Record, 1)
	w.pass(time.Minute)
	clock := w.clock()
	go func() { ended <- w.runner.Run(context.Background(), w.placed(), jobs.Options{Clock: clock}) }()
	gate, err := os.OpenFile(fifo, os.O_WRONLY, 0) // waits for the hook
	must(t, err)
	marks, err := w.runner.Pin(context.Background(), w.placed(), jobs.Pin{What: name, Clock: clock})
	must(t, err)
	if m := marks[0]; m.Where != jobs.AtSource || m.Result != jobs.ResultBusy || !strings.Contains(m.Error, "process "+itoa(os.Getpid())+" (job home,") {
		t.Errorf("%+v", m)
	}
	if m := marks[1]; m.Where != "d1" || m.Result != jobs.ResultPinned {
		t.Errorf("%+v", m)
	}
	must(t, gate.Close())
	if r := <-ended; r.Result != jobs.ResultOK {
		t.Errorf("%+v", r)
	}
	unlock, err := jobs.Lock(filepath.Join(w.job.Destinations[0].URL, ".btrkeep.lock"), jobs.Holder{PID: os.Getpid(), Job: "elsewhere", Since: w.now})
	must(t, err)
	same(t, "a busy destination", w.pin(jobs.Pin{What: name}), map[string]string{jobs.AtSource: name + " pinned", "d1": "busy"})
	same(t, "that has nothing of the name", w.pin(jobs.Pin{What: "20010101T000000Z"}), map[string]string{})
	unlock()
	same(t, "both", w.pin(jobs.Pin{What: name}), map[string]string{jobs.AtSource: name + " unchanged", "d1": name + " unchanged"})
}

// Pin and prune at the same moment: what is said to be pinned is there afterwards, and stays.
func TestPinBesidePrune(t *testing.T) {
	w, names := aged(t)
	for i := range 12 {
		clock := w.clock()
		pruned := make(chan jobs.Record, 1)
		go func() { pruned <- w.runner.Prune(context.Background(), w.placed(), jobs.Options{Clock: clock}) }()
		time.Sleep(time.Duration(i) * time.Millisecond)
		name := names[len(names)-2] // the newest stays anyway
		got := w.pin(jobs.Pin{What: name})
		if r := <-pruned; r.Result == jobs.ResultFailed {
			t.Errorf("%+v", r)
		}
		w.prune()
		there := map[string][]string{jobs.AtSource: w.snapshots(), "d1": w.complete(0)}
		for where, result := range got {
			if result != "busy" && (result != name+" pinned" || !slices.Contains(there[where], name)) {
				t.Errorf("%s: %s, and there are %v", where, result, there[where])
			}
		}
		w.pin(jobs.Pin{What: name, Remove: true})
		w.job.Keep, w.job.Destinations[0].Keep = config.Keep{}, config.Keep{}
		names = append(names, w.backup())
		w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 1}, config.Keep{Last: 1}
	}
}

func TestPinWhileAbsent(t *testing.T) {
	w := newWorld(t, 2)
	w.job.Destinations[1].RequireMount = w.dests[1].Path
	name := w.backup()
	w.dests[1].Unmount()
	same(t, "one away", w.pin(jobs.Pin{What: name}), map[string]string{jobs.AtSource: name + " pinned", "d1": name + " pinned", "d2": "absent"})
	same(t, "that one", w.pin(jobs.Pin{What: name, Where: "d2"}), map[string]string{"d2": "absent"})
	for _, c := range []struct {
		pin       jobs.Pin
		has, sure bool
	}{
		{jobs.Pin{What: name}, true, true},
		{jobs.Pin{What: name, Where: "d2"}, false, false},
		{jobs.Pin{What: "20010101T000000Z"}, false, false},
		{jobs.Pin{What: "20010101T000000Z", Where: "d1"}, false, true},
	} {
		if has, sure, err := w.runner.Has(context.Background(), w.placed(), c.pin); has != c.has || sure != c.sure || err != nil {
			t.Errorf("%+v: %v %v %v", c.pin, has, sure, err)
		}
	}
	w.dests[1].Mount("noatime")
	same(t, "back", w.pin(jobs.Pin{What: name}), map[string]string{jobs.AtSource: name + " unchanged", "d1": name + " unchanged", "d2": name + " pinned"})
}

// A path is that of one subvolume, however it is written.
func TestPinByPath(t *testing.T) {
	w := newWorld(t, 1)
	name := w.backup()
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(w.dests[0].Path, link))
	same(t, "through a link", w.pin(jobs.Pin{What: link + "/backups//" + name + "/"}), map[string]string{"d1": name + " pinned"})
	same(t, "at the source", w.pin(jobs.Pin{What: filepath.Join(w.job.SnapshotDir, name)}), map[string]string{jobs.AtSource: name + " pinned"})
	same(t, "within it", w.pin(jobs.Pin{What: w.path(0, name) + "/file"}), map[string]string{})
	if _, err := w.runner.Pin(context.Background(), w.placed(), jobs.Pin{What: w.path(0, "missing")}); err == nil {
		t.Error("a path that leads nowhere")
	}
}
