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

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// cancelled makes a run that is cancelled at its first step at a destination.
func (w *world) cancelled() jobs.Record {
	w.t.Helper()
	w.pass(time.Minute)
	ctx, cancel := context.WithCancelCause(w.t.Context())
	defer cancel(nil)
	w.runner.Progress = func(p jobs.Progress) {
		if p.Step == "transfer" {
			cancel(&jobs.CancelledError{By: "ann"})
		}
	}
	defer func() { w.runner.Progress = nil }()
	return w.runner.Run(ctx, w.placed(), jobs.Options{Clock: w.clock(), Trigger: "command"})
}

func (w *world) state() jobs.State {
	w.t.Helper()
	s, err := jobs.LoadState(w.cfg.StateDir, w.placed())
	must(w.t, err)
	return s
}

// A run that somebody cancels has not failed: nobody is alarmed, it counts as the last one, and the next goes on. What was wrong before still is.
func TestCancelled(t *testing.T) {
	w := newWorld(t, 1)
	w.write("large", strings.Repeat("0123456789abcdef", 1<<19)) // 8 MiB
	r := w.cancelled()
	tr := transfer(t, r, "d1")
	if r.Result != jobs.ResultCancelled || r.Error != "cancelled by ann" || !r.NotNow || jobs.ExitStatus([]jobs.Record{r}) != 75 || tr.Result != jobs.ResultCancelled || tr.Error != "cancelled by ann" {
		t.Fatalf("%+v", r)
	}
	job := w.placed()
	s := w.state()
	if !s.LastRun.Equal(r.Started) || s.LastResult != jobs.ResultCancelled || len(s.Health(job, w.now)) > 0 {
		t.Errorf("state %+v, problems %+v", s, s.Health(job, w.now))
	}
	if st := w.runner.Status(t.Context(), job, w.now); st.Alarming() || st.State != jobs.ResultCancelled || st.Destinations[0].State != "never" || st.Destinations[0].Backlog != 1 {
		t.Errorf("status %+v", st)
	}
	if past, err := jobs.History(w.cfg.StateDir, "home"); err != nil || len(past) != 1 || past[0].Result != jobs.ResultCancelled {
		t.Errorf("history %+v, %v", past, err)
	}

	must(t, jobs.Remember(w.cfg, job, func(s *jobs.State) {
		s.LastResult, s.LastError = jobs.ResultFailed, "d1: disk on fire"
		d := s.Destinations[job.Destinations[0].URL]
		d.LastResult, d.LastError, d.Failing = jobs.ResultFailed, "disk on fire", "disk on fire"
		s.Destinations[job.Destinations[0].URL] = d
	}))
	if r := w.cancelled(); r.Result != jobs.ResultCancelled {
		t.Fatalf("%+v", r)
	}
	s = w.state()
	if found := s.Health(job, w.now); len(found) != 1 || found[0].Text != "disk on fire" {
		t.Errorf("what was wrong is no longer: %+v", found)
	}
	w.mustRun()
	s = w.state()
	if len(s.Health(job, w.now)) > 0 || s.LastResult != jobs.ResultOK {
		t.Errorf("state %+v", s)
	}
	w.verify()
}

// A run that is cancelled while it prunes has not failed either.
func TestCancelledWhilePruning(t *testing.T) {
	w := newWorld(t, 1)
	w.job.Destinations[0].Keep = config.Keep{Last: 1}
	w.mustRun()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	w.runner.Progress = func(p jobs.Progress) {
		if p.Step == "prune" {
			cancel(&jobs.CancelledError{By: "ann"})
		}
	}
	w.pass(time.Minute)
	r := w.runner.Run(ctx, w.placed(), jobs.Options{Clock: w.clock()})
	if s := w.state(); jobs.ExitStatus([]jobs.Record{r}) == 1 || len(s.Health(w.placed(), w.now)) > 0 {
		t.Errorf("%+v %+v", r, s.Health(w.placed(), w.now))
	}
}

// A run of which every destination is paused has backed up nothing: it is no success.
func TestAllPaused(t *testing.T) {
	w := newWorld(t, 1)
	w.mustRun()
	before := w.state()
	_, err := jobs.SetPause(w.cfg, w.placed(), "d1", &jobs.Paused{Since: w.now}, w.now)
	must(t, err)
	done := filepath.Join(t.TempDir(), "success")
	w.job.Hooks.OnSuccess = []string{"/usr/bin/touch", done}
	r := w.run()
	if _, err := os.Stat(done); r.Result != jobs.ResultSkipped || !r.NotNow || jobs.ExitStatus([]jobs.Record{r}) != 75 || err == nil || !w.state().LastSuccess.Equal(before.LastSuccess) {
		t.Errorf("%+v, %v", r, err)
	}
}

// A destination that is paused is left out, the others are served, and what the last one had in common with it is kept.
func TestPausedDestination(t *testing.T) {
	w := newWorld(t, 2)
	w.job.Keep = config.Keep{Last: 1}
	w.write("file", "1")
	w.mustRun()
	common := w.snapshots()
	p := &jobs.Paused{Since: w.now, Until: w.now.Add(time.Hour), By: "ann"}
	before, err := jobs.SetPause(w.cfg, w.placed(), "d2", p, w.now)
	if err != nil || before {
		t.Fatal(before, err)
	}
	for i := range 3 {
		w.write("file", fmt.Sprint("again ", i))
		r := w.mustRun()
		if tr := transfer(t, r, "d2"); tr.Result != jobs.ResultPaused || tr.Error != "paused until Nov 23 12:57 by ann" {
			t.Errorf("%+v", tr)
		}
		transfer(t, r, "d1")
	}
	st := w.runner.Status(t.Context(), w.placed(), w.now)
	if d := st.Destinations; d[0].Paused != nil || d[1].Paused == nil || d[1].Backlog != 1 || st.Alarming() {
		t.Errorf("status %+v", st)
	}
	if got := w.snapshots(); !slices.Contains(got, common[0]) {
		t.Errorf("%s, which the paused one needs, is gone: %v", common[0], got)
	}
	w.pass(time.Hour) // it is over by itself
	w.write("file", "later")
	r := w.mustRun()
	if i := slices.IndexFunc(r.Transfers, func(tr jobs.Transfer) bool { return tr.Destination == "d2" }); r.Transfers[i].Parent != common[0] {
		t.Errorf("%+v", r.Transfers)
	}
	if before, err := jobs.SetPause(w.cfg, w.placed(), "d2", nil, w.now); err != nil || before {
		t.Errorf("it was still paused: %v, %v", before, err)
	}
	w.verify()
}

// Late is what has not begun in time, and not what is paused. The times are those of the schedule, the jitter and what a run takes.
func TestLate(t *testing.T) {
	w := newWorld(t, 1)
	var err error
	w.job.Schedule, err = config.ParseSchedule("0 * * * *")
	must(t, err)
	w.job.Jitter = config.Duration(10 * time.Minute)
	w.write("file", "1")
	w.mustRun() // at 11:57
	late := func(at time.Duration) bool {
		t.Helper()
		return w.runner.Status(t.Context(), w.placed(), time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).Add(at)).Late
	}
	must(t, jobs.Remember(w.cfg, w.placed(), func(s *jobs.State) {
		d := s.Destinations[w.placed().Destinations[0].URL]
		d.LastSeconds = 120
		s.Destinations[w.placed().Destinations[0].URL] = d
	}))
	if late(17*time.Minute) || !late(18*time.Minute) {
		t.Errorf("late after 17 minutes: %v, after 18: %v", late(17*time.Minute), late(18*time.Minute))
	}
	_, err = jobs.SetPause(w.cfg, w.placed(), "", &jobs.Paused{Since: w.now}, w.now)
	must(t, err)
	if late(48 * time.Hour) {
		t.Error("what is paused is late")
	}
}

// What waits to be brought over is about as large as what came over lately, as long as it is sent as increments.
func TestBacklogBytes(t *testing.T) {
	w := newWorld(t, 1)
	grow := func() { w.write("file", strings.Repeat(fmt.Sprint(w.now.Minute()), 1<<20)) }
	status := func() jobs.DestinationStatus {
		t.Helper()
		return w.runner.Status(t.Context(), w.placed(), w.now).Destinations[0]
	}
	pause := func(p *jobs.Paused) {
		t.Helper()
		_, err := jobs.SetPause(w.cfg, w.placed(), "d1", p, w.now)
		must(t, err)
	}
	w.write("large", strings.Repeat("x", 20<<20))
	pause(&jobs.Paused{})
	w.run()
	if d := status(); d.Backlog != 1 || d.BacklogBytes != 0 {
		t.Errorf("before the first: %+v", d)
	}
	pause(nil)
	w.mustRun()
	for range 2 {
		grow()
		w.mustRun()
	}
	pause(&jobs.Paused{})
	for range 3 {
		grow()
		w.run()
	}
	if d := status(); d.Backlog != 3 || d.BacklogBytes < 3<<20 || d.BacklogBytes > 12<<20 {
		t.Errorf("three increments of 1 or 2 MiB: %d, %d bytes", d.Backlog, d.BacklogBytes)
	}
}

// A file of pauses that cannot be read pauses nothing, and is written anew.
func TestPausesUnreadable(t *testing.T) {
	w := newWorld(t, 1)
	_, err := jobs.SetPause(w.cfg, w.placed(), "", &jobs.Paused{Since: w.now}, w.now)
	must(t, err)
	files, _ := filepath.Glob(filepath.Join(w.cfg.StateDir, "jobs", "*.paused"))
	if len(files) != 1 {
		t.Fatal(files)
	}
	overwrite(t, files[0], "{")
	if p, err := jobs.LoadPauses(w.cfg.StateDir, w.placed(), w.now); err == nil || p.Job != nil {
		t.Errorf("%+v, %v", p, err)
	}
	if r := w.mustRun(); len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "nothing counts as paused") {
		t.Errorf("%+v", r)
	}
	_, err = jobs.SetPause(w.cfg, w.placed(), "d1", &jobs.Paused{Since: w.now}, w.now)
	must(t, err)
	if p, err := jobs.LoadPauses(w.cfg.StateDir, w.placed(), w.now); err != nil || len(p.Destinations) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
}
