package jobs_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// Damage stays known until the backup that has it was read whole and found sound.
func TestProve(t *testing.T) {
	usb := config.Destination{Name: "usb", URL: "/mnt/usb"}
	s := jobs.State{Destinations: map[string]jobs.DestinationState{usb.URL: {Newest: "c"}}}
	day := func(n int) time.Time { return time.Date(2026, 11, n, 4, 0, 0, 0, time.UTC) }
	for i, step := range []struct {
		result jobs.TaskResult
		want   jobs.Proof
	}{
		{jobs.TaskResult{Result: jobs.ResultOK, Seconds: 3}, jobs.Proof{Last: day(1), LastSuccess: day(1), Result: jobs.ResultOK, Seconds: 3}},
		{
			jobs.TaskResult{Result: jobs.ResultFailed, Problems: 3, Damaged: []string{"a", "b"}},
			jobs.Proof{Last: day(2), LastSuccess: day(1), Result: jobs.ResultFailed, Problems: 3, Damaged: []string{"a", "b"}},
		},
		{
			jobs.TaskResult{Result: jobs.ResultAbsent, Error: "not mounted"},
			jobs.Proof{Last: day(2), LastSuccess: day(1), Result: jobs.ResultFailed, Problems: 3, Damaged: []string{"a", "b"}},
		},
		{jobs.TaskResult{Result: jobs.ResultOK}, jobs.Proof{Last: day(4), LastSuccess: day(4), Result: jobs.ResultOK, Damaged: []string{"a", "b"}}},
		{
			jobs.TaskResult{Result: jobs.ResultFailed, Problems: 1, Damaged: []string{"b"}, Sound: []string{"a", "c"}},
			jobs.Proof{Last: day(5), LastSuccess: day(4), Result: jobs.ResultFailed, Problems: 1, Damaged: []string{"b"}},
		},
		{jobs.TaskResult{Result: jobs.ResultOK, Sound: []string{"b"}}, jobs.Proof{Last: day(6), LastSuccess: day(6), Result: jobs.ResultOK}},
		{
			jobs.TaskResult{Result: jobs.ResultFailed, Error: "read: input/output error"},
			jobs.Proof{Last: day(7), LastSuccess: day(6), Result: jobs.ResultFailed, Error: "read: input/output error"},
		},
	} {
		s.Prove(config.TaskVerify, usb, day(i+1), step.result)
		if diff := cmp.Diff(step.want, s.Destinations[usb.URL].Proofs[config.TaskVerify]); diff != "" {
			t.Errorf("after %+v (-want +got):\n%s", step.result, diff)
		}
	}
	s.Prove(config.TaskDrill, usb, day(8), jobs.TaskResult{Result: jobs.ResultOK, Seconds: 250})
	there := s.Destinations[usb.URL]
	if len(there.Proofs) != 2 || there.Newest != "c" || !there.Proofs[config.TaskVerify].Last.Equal(day(7)) {
		t.Errorf("%+v", there)
	}
}

// Each destination has its turn; one that has never been drilled comes first.
func TestDrillTurns(t *testing.T) {
	job := config.Job{Name: "home"}
	for _, name := range []string{"a", "b", "c"} {
		job.Destinations = append(job.Destinations, config.Destination{Name: name, URL: "/mnt/" + name})
	}
	s := jobs.State{Destinations: map[string]jobs.DestinationState{}}
	var order []string
	for n := range 7 {
		d := s.DrillTurns(job)[0]
		order = append(order, d.Name)
		s.Prove(config.TaskDrill, d, time.Date(2026, 11, n+1, 0, 0, 0, 0, time.UTC), jobs.TaskResult{Result: jobs.ResultFailed})
		if n == 4 {
			job.Destinations = append(job.Destinations, config.Destination{Name: "new", URL: "/mnt/new"})
		}
	}
	if want := []string{"a", "b", "c", "a", "b", "new", "c"}; !slices.Equal(order, want) {
		t.Errorf("order %q, want %q", order, want)
	}
	job.Drill.Destination = "b"
	if turns := s.DrillTurns(job); len(turns) != 1 || turns[0].Name != "b" {
		t.Errorf("turns of one alone: %+v", turns)
	}
}

// What is remembered of tasks outlives runs, and is on the disk when it was noted; not under the lock of a run.
func TestRemember(t *testing.T) {
	w := newWorld(t, 1)
	w.job.OnlyIfChanged = true
	w.write("file", "1")
	w.mustRun()
	w.mustRun()
	d := w.job.Destinations[0]
	must(t, jobs.Remember(w.cfg, w.job, func(s *jobs.State) {
		s.Meet(config.TaskDrill, w.now)
		s.Meet(config.TaskDrill, w.now.Add(time.Hour))
		s.NoteTask(config.TaskVerify, func(s *jobs.TaskState) { s.Last, s.Owed = w.now, []string{"d2"} })
		s.Prove(config.TaskVerify, d, w.now, jobs.TaskResult{Result: jobs.ResultFailed, Problems: 2, Damaged: []string{"x"}})
	}))
	noted := w.now
	for range 3 { // these find everything done and note that without waiting for the disk
		w.mustRun()
	}
	recent, err := filepath.Glob(filepath.Join(w.cfg.StateDir, "jobs", "*.recent"))
	if err != nil || len(recent) != 1 {
		t.Fatal(recent, err)
	}
	must(t, os.Remove(recent[0])) // a power cut
	s, err := jobs.LoadState(w.cfg.StateDir, w.job)
	must(t, err)
	if v := s.Tasks[config.TaskVerify]; !v.Last.Equal(noted) || !slices.Equal(v.Owed, []string{"d2"}) || !s.Tasks[config.TaskDrill].FirstSeen.Equal(noted) {
		t.Errorf("%+v", s.Tasks)
	}
	if p := s.Destinations[d.URL].Proofs[config.TaskVerify]; p.Problems != 2 || !slices.Equal(p.Damaged, []string{"x"}) {
		t.Errorf("%+v", p)
	}
	for _, pattern := range []string{w.job.Name + ".lock", "*.dir.lock"} {
		names, err := filepath.Glob(filepath.Join(w.cfg.RuntimeDir, pattern))
		if err != nil || len(names) != 1 {
			t.Fatal(pattern, names, err)
		}
		unlock, err := jobs.Lock(names[0], jobs.Holder{PID: os.Getpid(), Job: "other"})
		must(t, err)
		err = jobs.Remember(w.cfg, w.job, func(*jobs.State) { t.Error("changed under the lock of a run") })
		if _, held := errors.AsType[*jobs.HeldError](err); !held {
			t.Errorf("%s: %v", pattern, err)
		}
		unlock()
	}
}

// Status is not well when a verify found damage or a drill failed, whatever else is: also while the destination is absent, also when the last pass looked
// elsewhere; until the damaged backup is gone, or found sound.
func TestStatusOfProofs(t *testing.T) {
	w := newWorld(t, 2)
	w.write("file", "1")
	w.mustRun()
	name := w.listing().Snapshots[0].Name
	status := func() (jobs.Status, []jobs.DestinationStatus) {
		t.Helper()
		s := w.runner.Status(t.Context(), w.placed(), w.now)
		return s, s.Destinations
	}
	prove := func(kind config.Task, d int, r jobs.TaskResult) {
		t.Helper()
		must(t, jobs.Remember(w.cfg, w.job, func(s *jobs.State) { s.Prove(kind, w.job.Destinations[d], w.now, r) }))
	}
	s, _ := status()
	if b, err := json.Marshal(s); err != nil || s.Alarming() || strings.Contains(string(b), "verified") || strings.Contains(string(b), "drill") {
		t.Fatalf("nobody has looked: %s, %v", b, err)
	}

	prove(config.TaskVerify, 0, jobs.TaskResult{Result: jobs.ResultOK, Seconds: 9})
	prove(config.TaskDrill, 0, jobs.TaskResult{Result: jobs.ResultOK, Seconds: 250})
	s, d := status()
	b, err := json.Marshal(map[string]any{"verified": d[0].Verified, "drill": d[0].Drill})
	must(t, err)
	at, err := json.Marshal(w.now)
	must(t, err)
	want := `{"drill":{"time":` + string(at) + `,"result":"ok","seconds":250,"last_success":` + string(at) + `},"verified":{"time":` + string(at) + `,"result":"ok","problems":0}}`
	if string(b) != want || s.Alarming() || d[0].State != "ok" {
		t.Errorf("%s\n%s", b, want)
	}

	prove(config.TaskVerify, 0, jobs.TaskResult{Result: jobs.ResultFailed, Problems: 2, Damaged: []string{name}})
	if s, d = status(); !s.Alarming() || d[0].State != "failing" || d[1].State != "ok" || d[0].Verified.Problems != 2 {
		t.Errorf("damaged: %+v", d)
	}
	prove(config.TaskVerify, 0, jobs.TaskResult{Result: jobs.ResultOK})
	if s, d = status(); !s.Alarming() || d[0].State != "failing" || d[0].Verified.Result != jobs.ResultFailed || !slices.Equal(d[0].Verified.Damaged, []string{name}) {
		t.Errorf("the last pass looked elsewhere: %+v", d[0].Verified)
	}
	w.dests[0].Unmount()
	if s, d = status(); !s.Alarming() || d[0].State != "failing" {
		t.Errorf("damaged and absent: %+v", d[0])
	}
	w.dests[0].Mount("noatime")
	prove(config.TaskVerify, 0, jobs.TaskResult{Result: jobs.ResultOK, Sound: []string{name}})
	if s, d = status(); s.Alarming() || d[0].State != "ok" {
		t.Errorf("found sound: %+v", d[0])
	}
	prove(config.TaskVerify, 0, jobs.TaskResult{Result: jobs.ResultFailed, Problems: 1, Damaged: []string{"20200101T000000Z"}})
	prove(config.TaskVerify, 0, jobs.TaskResult{Result: jobs.ResultOK})
	if s, d = status(); s.Alarming() || d[0].State != "ok" {
		t.Errorf("the damaged backup is gone: %+v", d[0])
	}
	prove(config.TaskDrill, 1, jobs.TaskResult{Result: jobs.ResultFailed, Error: "no space"})
	if s, d = status(); !s.Alarming() || d[1].State != "failing" || d[1].Drill.Error != "no space" {
		t.Errorf("failed drill: %+v", d[1])
	}
}

// A verify that somebody asked for counts in status, and takes back damage where it has read all and found none; not one that was kept from looking.
func TestNoteVerify(t *testing.T) {
	w := newWorld(t, 2)
	w.write("file", "1")
	w.mustRun()
	name := w.listing().Snapshots[0].Name
	must(t, jobs.Remember(w.cfg, w.job, func(s *jobs.State) {
		for _, d := range w.job.Destinations {
			s.Prove(config.TaskVerify, d, w.now, jobs.TaskResult{Result: jobs.ResultFailed, Problems: 1, Damaged: []string{name}})
		}
	}))
	verify := func(o jobs.VerifyOptions) []*jobs.Verified {
		t.Helper()
		w.pass(time.Hour)
		o.Clock = w.clock()
		must(t, w.runner.NoteVerify(w.placed(), w.runner.Verify(t.Context(), w.placed(), o)))
		var all []*jobs.Verified
		for _, d := range w.runner.Status(t.Context(), w.placed(), w.now).Destinations {
			all = append(all, d.Verified)
		}
		return all
	}
	if v := verify(jobs.VerifyOptions{}); v[0].Result != jobs.ResultFailed || !slices.Equal(v[0].Damaged, []string{name}) || !v[0].Time.Equal(w.now) {
		t.Errorf("after one that read no data: %+v", v[0])
	}
	w.dests[1].Unmount()
	before := w.now
	v := verify(jobs.VerifyOptions{Deep: true})
	if v[0].Result != jobs.ResultOK || len(v[0].Damaged) > 0 || !v[0].Time.Equal(w.now) {
		t.Errorf("after one that read all: %+v", v[0])
	}
	if v[1].Result != jobs.ResultFailed || !v[1].Time.Equal(before) {
		t.Errorf("of one that was away: %+v", v[1])
	}
	if s, err := jobs.LoadState(w.cfg.StateDir, w.job); err != nil || len(s.Tasks) > 0 {
		t.Errorf("the schedule counts from it: %+v, %v", s.Tasks, err)
	}
}
