package jobs_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/internal/testssh"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/local"
)

// world is a machine for one test: a source disk with a subvolume, destination disks, a job between them, and a clock of its own.
type world struct {
	t       *testing.T
	src     *testdisk.Disk
	dests   []*testdisk.Disk
	cfg     *config.Config
	job     config.Job
	now     time.Time
	boot    time.Duration
	log     bytes.Buffer
	runner  *jobs.Runner
	place   string          // what is elsewhere, see place
	far     *testssh.Server // where that is; nil: here
	streams string          // where those that come over are kept, see recording; "": nowhere
}

// newWorld makes a source disk and n destination disks named d1, d2, …
func newWorld(t *testing.T, n int) *world {
	t.Helper()
	src := testdisk.New(t, testdisk.Options{Size: 512 << 20, MountOptions: "noatime"})
	must(t, btrfs.Create(src.Path, "home"))
	var dests []*testdisk.Disk
	for range n {
		dests = append(dests, testdisk.New(t, testdisk.Options{Size: 512 << 20, MountOptions: "noatime"}))
	}
	return newWorldOn(t, src, dests...)
}

// newWorldOn is newWorld on disks that exist; the source is the subvolume home on the first.
func newWorldOn(t *testing.T, src *testdisk.Disk, dests ...*testdisk.Disk) *world {
	t.Helper()
	w := &world{t: t, src: src, dests: dests, now: time.Date(2026, 11, 23, 11, 56, 0, 0, time.UTC), boot: time.Hour, place: place}
	state := t.TempDir()
	w.cfg = &config.Config{Timezone: time.UTC, Parallel: 2, StateDir: filepath.Join(state, "state"), RuntimeDir: filepath.Join(state, "run"), Receiver: config.Receiver(cmp.Or(os.Getenv("BTRKEEP_TEST_RECEIVER"), string(config.DefaultReceiver)))}
	w.cfg.Checkpoint = config.Checkpoint{Bytes: 4 << 20, Time: config.Duration(time.Second)}
	source := filepath.Join(w.src.Path, "home")
	w.job = config.Job{Name: "home", Source: source, SnapshotDir: filepath.Join(source, config.DefaultSnapshotDir), CatchUp: true, StallTimeout: config.Duration(time.Minute)}
	for i, d := range dests {
		w.job.Destinations = append(w.job.Destinations, config.Destination{Name: fmt.Sprintf("d%d", i+1), URL: filepath.Join(d.Path, "backups")})
	}
	if place != "" {
		w.far = testssh.New(t, testssh.Options{Program: testssh.Program(t)})
	}
	w.runner = w.newRunner()
	return w
}

func (w *world) newRunner() *jobs.Runner {
	var receiver local.Receiver = local.Progs{}
	if w.cfg.Receiver == config.ReceiverNative {
		receiver = local.Native{Checkpoint: w.cfg.Checkpoint}
	}
	near := local.Opener{Zone: time.UTC, Receiver: receiver}
	r := &jobs.Runner{Config: w.cfg, Log: slog.New(slog.NewTextHandler(&w.log, nil)), Slots: &jobs.Slots{}, Open: near.Open, At: near.At}
	if w.far != nil {
		w.reach(r, near)
	}
	r.Open = w.recorded(r.Open)
	return r
}

// receiver chooses what receives from here on.
func (w *world) receiver(r config.Receiver) {
	w.cfg.Receiver = r
	w.runner = w.newRunner()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) source() string { return w.job.Source }

// path is that of a name at destination number i.
func (w *world) path(i int, name string) string {
	return filepath.Join(w.job.Destinations[i].URL, name)
}

// pass lets time go by.
func (w *world) pass(d time.Duration) { w.now, w.boot = w.now.Add(d), w.boot+d }

func (w *world) clock() jobs.Clock { return jobs.Clock{Wall: w.now, Boot: w.boot, ID: "boot"} }

// run makes one run a minute later than the last thing, whatever becomes of it.
func (w *world) run() jobs.Record {
	w.t.Helper()
	w.pass(time.Minute)
	return w.runner.Run(context.Background(), w.placed(), jobs.Options{Clock: w.clock(), Trigger: "command"})
}

// mustRun makes one run that has to end well.
func (w *world) mustRun() jobs.Record {
	w.t.Helper()
	r := w.run()
	if r.Result != jobs.ResultOK {
		w.t.Fatalf("run: %+v\n%s", r, w.log.String())
	}
	return r
}

// write puts a file into the source.
func (w *world) write(name, content string) {
	w.t.Helper()
	path := filepath.Join(w.source(), name)
	must(w.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(w.t, os.WriteFile(path, []byte(content), 0o644))
}

// listing is what exists of the job.
func (w *world) listing() jobs.Listing {
	w.t.Helper()
	l := w.runner.List(context.Background(), w.placed())
	if l.Error != "" {
		w.t.Fatal(l.Error)
	}
	return l
}

// snapshots are the names at the source.
func (w *world) snapshots() []string {
	names := []string{}
	for _, s := range w.listing().Snapshots {
		names = append(names, s.Name)
	}
	return names
}

// complete are the names of the complete backups at destination number i.
func (w *world) complete(i int) []string {
	names := []string{}
	for _, b := range w.listing().Destinations[i].Backups {
		if b.Complete {
			names = append(names, b.Name)
		}
	}
	return names
}

// verify compares every complete backup everywhere with its snapshot, as far as that still exists, and makes sure that nothing else looks
// like a backup.
func (w *world) verify() {
	w.t.Helper()
	l := w.listing()
	for _, d := range l.Destinations {
		for _, b := range d.Backups {
			if !b.Complete {
				w.t.Errorf("%s is at a final name and not complete: %+v", b.Path, b)
				continue
			}
			i := slices.IndexFunc(l.Snapshots, func(s jobs.ListedSnapshot) bool { return s.UUID == b.ReceivedUUID })
			if i < 0 {
				continue
			}
			diffs, err := testdisk.Compare(l.Snapshots[i].Path, b.Path)
			must(w.t, err)
			if len(diffs) > 0 {
				w.t.Errorf("%s differs from its snapshot:\n%s", b.Path, strings.Join(diffs, "\n"))
			}
		}
	}
}

// transfer finds the only transfer of a run to a destination.
func transfer(t *testing.T, r jobs.Record, destination string) jobs.Transfer {
	t.Helper()
	var found []jobs.Transfer
	for _, tr := range r.Transfers {
		if tr.Destination == destination {
			found = append(found, tr)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d transfers to %s: %+v", len(found), destination, r)
	}
	return found[0]
}
