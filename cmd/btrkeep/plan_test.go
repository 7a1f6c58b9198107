package main_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// plan is an element of `plan --json`.
type plan struct {
	Job       string
	Snapshot  struct{ Name string }
	Transfers []struct{ Destination, State, Snapshot, Parent string }
	Prune     []struct {
		Where, Name string
		Remove      bool
	}
}

// deeds are what a run does, or would do, for comparison.
type deeds struct {
	Snapshot       string
	Transfers, Cut []string // sorted: destinations are served side by side
}

func (p plan) deeds() deeds {
	d := deeds{Snapshot: p.Snapshot.Name}
	for _, t := range p.Transfers {
		if t.State == "present" {
			d.Transfers = append(d.Transfers, fmt.Sprintf("%s to %s against %q", t.Snapshot, t.Destination, t.Parent))
		}
	}
	for _, i := range p.Prune {
		if i.Remove {
			d.Cut = append(d.Cut, i.Name+" at "+i.Where)
		}
	}
	slices.Sort(d.Transfers)
	slices.Sort(d.Cut)
	return d
}

func (r record) deeds() deeds {
	d := deeds{Snapshot: r.Snapshot}
	for _, t := range r.Transfers {
		if t.Bytes > 0 {
			d.Transfers = append(d.Transfers, fmt.Sprintf("%s to %s against %q", t.Snapshot, t.Destination, t.Parent))
		}
	}
	for _, p := range r.Pruned {
		d.Cut = append(d.Cut, p.Name+" at "+p.Where)
	}
	slices.Sort(d.Transfers)
	slices.Sort(d.Cut)
	return d
}

// Every snapshot has a name of its own here, however quick the steps of the test.
const plannedJob = `
[jobs.home]
source      = "$SRC/home"
name_format = "20060102T150405.000000"
keep        = { last = $KEEP }
[jobs.home.destinations.near]
url  = "$DST1/home"
keep = { last = 3 }
[jobs.home.destinations.far]
url  = "$DST2/home"
keep = { last = 4 }
require_mount = "$DST2"
`

// renamed has the new snapshot called the same, whenever it was made.
func (d deeds) renamed() deeds {
	rename := func(list []string) []string {
		list = slices.Clone(list)
		for i := range list {
			list[i] = strings.ReplaceAll(list[i], d.Snapshot, "NEW")
		}
		slices.Sort(list)
		return list
	}
	return deeds{"NEW", rename(d.Transfers), rename(d.Cut)}
}

// keeping is a configuration that keeps so many snapshots at the source.
func keeping(last int) string {
	return strings.Replace(plannedJob, "$KEEP", fmt.Sprint(last), 1)
}

// What a plan says is what the run then does, but for the name of the snapshot that is made a moment later.
func TestPlanIsWhatRunDoes(t *testing.T) {
	t.Parallel()
	src, near, far := testdisk.New(t, disk), testdisk.New(t, disk), testdisk.New(t, disk)
	m := machineOn(t, src.Path, near.Path, far.Path)
	must(t, btrfs.Create(src.Path, "home"))
	m.configure(keeping(2))
	step := 0
	both := func(status int) {
		t.Helper()
		step++
		m.write("file", fmt.Sprint(step))
		before := m.must("list", "--json")
		planned := decode[[]plan](t, m.must("plan", "--json"))[0].deeds()
		if after := m.must("list", "--json"); after.stdout != before.stdout {
			t.Errorf("step %d: a plan has changed something:\n%s", step, cmp.Diff(before.stdout, after.stdout))
		}
		r := m.btrkeep("run", "--json")
		if r.status != status {
			t.Errorf("step %d: want status %d: %s", step, status, r)
		}
		done := decode[[]record](t, r)[0].deeds()
		if diff := cmp.Diff(planned.renamed(), done.renamed()); diff != "" {
			t.Errorf("step %d: plan (-) and run (+):\n%s", step, diff)
		}
	}
	for range 6 {
		both(0)
	}
	far.Unmount()
	for range 6 {
		both(75)
	}
	far.Mount("noatime")
	for range 3 {
		both(0)
	}
	m.configure(keeping(12))
	far.Unmount()
	for range 6 {
		both(75)
	}
	far.Mount("noatime")
	both(0) // with several to bring over at once
	both(0)

	m.configure(keeping(1))
	before := m.must("list", "--json")
	planned := decode[[]plan](t, m.must("prune", "--dry-run", "--json"))[0].deeds()
	if after := m.must("list", "--json"); after.stdout != before.stdout {
		t.Errorf("prune --dry-run has changed something:\n%s", cmp.Diff(before.stdout, after.stdout))
	}
	done := decode[[]record](t, m.must("prune", "--json"))[0].deeds()
	if len(planned.Cut) == 0 {
		t.Error("nothing to prune: the test is no test")
	}
	if diff := cmp.Diff(planned.Cut, done.Cut); diff != "" {
		t.Errorf("prune --dry-run (-) and prune (+):\n%s", diff)
	}
}

// TROUBLE 15: a second snapshot in the time for which a name stands gets a number, which the plan knows. A name is not given twice: the destination may still
// have its first bearer when the source has it no more.
func TestNamesClash(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	m.configure(`
[jobs.home]
source      = "$SRC/home"
name_format = "2006-01-02T1504"
keep        = { last = 2 }
[jobs.home.destinations.disk]
url  = "$DST1/home"
keep = { last = 10 }
`)
	for time.Now().Second() > 45 { // all in one minute
		time.Sleep(time.Second)
	}
	for step := range 6 {
		m.write("file", fmt.Sprint(step))
		planned := decode[[]plan](t, m.must("plan", "--json"))[0].deeds()
		r := m.mustRun("--json")
		if diff := cmp.Diff(planned, decode[[]record](t, r)[0].deeds()); diff != "" {
			t.Errorf("step %d: plan (-) and run (+):\n%s", step, diff)
		}
	}
}
