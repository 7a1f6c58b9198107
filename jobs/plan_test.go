package jobs_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// What plan shows is what the run then does: snapshot, transfers with their parents, deletions with their reasons. And it changes nothing.
func TestPlanIsWhatTheRunDoes(t *testing.T) {
	w := newWorld(t, 2)
	w.job.Keep = config.Keep{Last: 2}
	w.job.Destinations[0].Keep, w.job.Destinations[1].Keep = config.Keep{Last: 3}, config.Keep{Hourly: 2}
	check := func(what string) {
		t.Helper()
		w.pass(7 * time.Minute)
		before := w.listing()
		w.now = w.now.Add(time.Minute) // run comes a minute later than the clock
		plan := w.runner.Plan(context.Background(), w.placed(), w.clock())
		w.now = w.now.Add(-time.Minute)
		if diff := cmp.Diff(before, w.listing()); diff != "" {
			t.Errorf("%s: plan changed something: %s", what, diff)
		}
		r := w.run()
		type line struct{ Destination, Snapshot, Parent string }
		var planned, done []line
		for _, p := range plan.Transfers {
			if p.State == "present" {
				planned = append(planned, line{p.Destination, p.Snapshot, p.Parent})
			}
		}
		for _, tr := range r.Transfers {
			if tr.Result == jobs.ResultOK {
				done = append(done, line{tr.Destination, tr.Snapshot, tr.Parent})
			}
		}
		byDestination := func(a, b line) int { return strings.Compare(a.Destination+a.Snapshot, b.Destination+b.Snapshot) }
		slices.SortFunc(planned, byDestination)
		slices.SortFunc(done, byDestination)
		if diff := cmp.Diff(planned, done); diff != "" {
			t.Errorf("%s: transfers, planned and done:\n%s", what, diff)
		}
		var toPrune, pruned []string
		last := map[string]int{}
		for _, p := range plan.Prune {
			if slices.Contains(p.Reasons, "the last one in common with the source") {
				if last[p.Where]++; last[p.Where] > 1 {
					t.Errorf("%s: more than one is the last in common at %s: %+v", what, p.Where, plan.Prune)
				}
			}
			if p.Remove {
				toPrune = append(toPrune, p.Where+" "+p.Name)
			}
		}
		for _, p := range r.Pruned {
			pruned = append(pruned, p.Where+" "+p.Name)
		}
		slices.Sort(toPrune)
		slices.Sort(pruned)
		if diff := cmp.Diff(toPrune, pruned); diff != "" {
			t.Errorf("%s: deletions, planned and done:\n%s", what, diff)
		}
		if plan.Snapshot.Name != r.Snapshot {
			t.Errorf("%s: snapshot %q planned, %q made", what, plan.Snapshot.Name, r.Snapshot)
		}
	}
	for range 4 {
		w.write("a", w.now.String())
		check("as usual")
	}
	w.dests[0].Unmount()
	for range 3 {
		w.write("a", w.now.String())
		check("one away")
	}
	w.dests[0].Mount("noatime")
	check("back again")
	w.pass(2 * time.Hour)
	check("later")
}

// The size that plan tells is what is then sent, as far as the snapshot is there already: in full, against another, and where names have changed and
// no data. Of the snapshot that the run will take it is a rough one.
func TestPlanEstimates(t *testing.T) {
	w := newWorld(t, 1)
	for i := range 300 {
		w.write(fmt.Sprintf("many/file%d", i), strings.Repeat("many", 100+i))
	}
	w.write("large", strings.Repeat("large", 1<<20))
	w.dests[0].Unmount()
	w.run()
	w.write("large", strings.Repeat("again", 1<<19))
	w.run()
	for i := range 300 {
		path := filepath.Join(w.source(), "many", fmt.Sprintf("file%d", i))
		must(t, os.Rename(path, path+"-renamed"))
	}
	w.run()
	w.write("new", strings.Repeat("new", 1<<20))
	w.dests[0].Mount("noatime")
	must(t, btrfs.Sync(w.source())) // what is in memory only is not counted
	planned := w.runner.Plan(context.Background(), w.placed(), w.clock()).Transfers
	done := w.mustRun().Transfers
	if len(planned) != 4 || len(done) != 4 {
		t.Fatalf("not 4 transfers: planned %+v, done %+v", planned, done)
	}
	for i, p := range planned {
		off := 100 * float64(p.Estimate-done[i].Bytes) / float64(done[i].Bytes)
		t.Logf("against %q: %d bytes estimated, %d sent, %+.2f %%", p.Parent, p.Estimate, done[i].Bytes, off)
		limit := 1.0
		if i == 3 {
			limit = 10
		}
		if off < -limit || off > limit {
			t.Errorf("%s: off by %.2f %%", p.Snapshot, off)
		}
	}
}
