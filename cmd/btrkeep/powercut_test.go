package main_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// The source keeps more than the destination, so that there is something to compare every backup with.
const cutJob = `
receiver = "$RECEIVER"
[jobs.home]
source = "$SRC/home"
name_format = "20060102T150405.000000" # many in a second, in the order of their names
keep   = { last = 10 }
[jobs.home.destinations.disk]
url        = "$DST1/home"
keep       = { last = 4 }
rate_limit = "8M"
`

// powerCuts is at how many moments the power is cut.
const powerCuts = 30

// The power is cut, for both disks at the same moment, right after a run has reported success or at any moment of one. What is then at the
// destination under the name of a backup is identical to its snapshot, and the machine that comes back goes on, incrementally, without a hand.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	src, dst := testdisk.NewFaulty(t, disk), testdisk.NewFaulty(t, disk)
	m := machineOn(t, src.Path, dst.Path)
	m.state = filepath.Join(src.Path, "state") // it loses power, too
	must(t, btrfs.Create(src.Path, "home"))
	testdisk.Tree(t, m.home(), testdisk.Spec{Seed: 1, Files: 40, MaxSize: 64 << 10})
	cutJobs := [2]string{strings.Replace(cutJob, "$RECEIVER", "native", 1), strings.Replace(cutJob, "$RECEIVER", "btrfs-progs", 1)}
	m.configure(cutJobs[0])
	rnd := rand.New(rand.NewPCG(3, 4))
	var longest time.Duration
	for n := range uint64(3) {
		m.change(n)
		longest = max(longest, m.mustRun().took)
	}
	for n := range uint64(powerCuts) {
		m.change(n + 100)
		m.configure(cutJobs[n%2])
		cut := &powerCut{machine: m, config: cutJobs[n%2], src: filepath.Join(m.dir, "src.img"), dst: filepath.Join(m.dir, "dst.img")}
		run := m.start("run")
		if n%3 == 0 {
			run.wait(patience)
			cut.reported = m.list().snapshots()
		} else {
			time.Sleep(time.Duration(rnd.Int64N(int64(longest))))
		}
		keep := []float64{0, 0.5, 0.9}[rnd.IntN(3)]
		var both sync.WaitGroup
		both.Go(func() { src.PowerCut(cut.src, n, keep) })
		both.Go(func() { dst.PowerCut(cut.dst, n, keep) })
		both.Wait()
		if r := run.wait(patience); r.status != 0 {
			t.Fatalf("the run went on after the image was taken: %s", r)
		}
		cut.check()
		if t.Failed() {
			t.Fatalf("power cut %d, %v of what was not flushed kept, after success: %v", n, keep, n%3 == 0)
		}
	}
}

// change gives the next run something to do: about 2 MiB.
func (m *machine) change(seed uint64) {
	m.t.Helper()
	must(m.t, testdisk.Mutate(m.home(), seed, 20))
	m.grow("large", seed, 2<<20)
}

// powerCut is what a power cut left of a machine that goes on all the same.
type powerCut struct {
	*machine
	config   string
	src, dst string   // images
	reported []string // snapshots that were backed up, by what the program had said
}

func (c *powerCut) check() {
	t := c.t
	t.Helper()
	src, dst := testdisk.MountImage(t, c.src), testdisk.MountImage(t, c.dst)
	defer os.Remove(c.src)
	defer os.Remove(c.dst)
	defer src.Close()
	defer dst.Close()
	back := machineOn(t, src.Path, dst.Path)
	back.state = filepath.Join(src.Path, "state")
	back.configure(c.config)

	// The snapshots that the backups were made from are those of the machine that goes on.
	alive, left := c.list(), back.list()
	for _, b := range left.Destinations[0].Backups {
		snapshot := alive.snapshotPath(b)
		if !b.Complete || snapshot == "" {
			t.Errorf("after a power cut %s has the name of a backup and is none: %+v", b.Name, b)
			continue
		}
		c.identical(snapshot, b.Path)
	}
	for _, s := range left.Snapshots {
		if i := slices.Index(alive.snapshots(), s.Name); i >= 0 && i >= len(alive.Snapshots)-2 {
			c.identical(alive.Snapshots[i].Path, s.Path)
		}
	}
	if n := len(c.reported); n > 0 && !slices.Contains(left.backups(0), c.reported[n-1]) {
		t.Errorf("%s was reported and is lost; there are %v", c.reported[n-1], left.backups(0))
	}
	back.onlyBackups(left)
	back.stateIsSound()
	back.goesOn()
}

// onlyBackups makes sure that no subvolume looks like a backup without being listed as one.
func (m *machine) onlyBackups(l listing) {
	m.t.Helper()
	dir := filepath.Join(m.dests[0], "home")
	entries, err := os.ReadDir(dir)
	must(m.t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".btrkeep-incoming-") || !e.IsDir() {
			continue
		}
		if !slices.Contains(l.backups(0), e.Name()) {
			m.t.Errorf("%s/%s is not listed as a backup", dir, e.Name())
		}
	}
}

// stateIsSound makes sure that a file of state is there as a whole or not at all.
func (m *machine) stateIsSound() {
	m.t.Helper()
	files, _ := filepath.Glob(filepath.Join(m.state, "jobs", "*.json"))
	for _, file := range files {
		b, err := os.ReadFile(file)
		must(m.t, err)
		if !json.Valid(b) {
			m.t.Errorf("%s is torn: %q", file, b)
		}
	}
	m.history()
}

// goesOn makes the first run after the power is back.
func (m *machine) goesOn() {
	m.t.Helper()
	m.change(1)
	r := m.mustRun("--json")
	rec := decode[[]record](m.t, r)[0]
	for _, tr := range rec.Transfers {
		if tr.Result != "ok" || tr.Parent == "" {
			m.t.Errorf("the first transfer after the power cut: %+v", tr)
		}
	}
	l := m.list()
	m.compare(l)
	if got := l.backups(0); len(got) != 4 || got[3] != rec.Snapshot {
		m.t.Errorf("after the run %s there are %v", rec.Snapshot, got)
	}
	for _, dir := range []string{filepath.Join(m.dests[0], "home"), filepath.Join(m.home(), ".btrkeep")} {
		if hidden := m.hidden(dir); len(hidden) > 0 {
			m.t.Errorf("after the run %s still has %v", dir, hidden)
		}
	}
}
