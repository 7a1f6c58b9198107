package main

import (
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/jobs"
)

func TestProofText(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	before := func(d time.Duration) time.Time { return now.Add(-d) }
	const day = 24 * time.Hour
	for want, d := range map[string]jobs.DestinationStatus{
		"": {},
		"verified 3 days ago: ok; restore proved 12 days ago, 4m10s": {
			Verified: &jobs.Verified{Time: before(3*day + time.Hour), Result: jobs.ResultOK},
			Drill:    &jobs.Drilled{Time: before(12 * day), Result: jobs.ResultOK, Seconds: 250.4},
		},
		"verify found 2 problems 1 h ago, in 20261101T000000Z, 20261102T000000Z": {
			Verified: &jobs.Verified{Time: before(time.Hour), Result: jobs.ResultFailed, Problems: 2, Damaged: []string{"20261101T000000Z", "20261102T000000Z"}},
		},
		"verify found 1 problem 5 min ago":                      {Verified: &jobs.Verified{Time: before(5 * time.Minute), Result: jobs.ResultFailed, Problems: 1}},
		"verify failed just now: read /mnt: input/output error": {Verified: &jobs.Verified{Time: now, Result: jobs.ResultFailed, Error: "read /mnt: input/output error"}},
		"restore drill failed 1 day ago, proved 31 days ago: no space; left on device": {
			Drill: &jobs.Drilled{Time: before(day), Result: jobs.ResultFailed, Error: "no space\nleft on device", LastSuccess: before(31 * day)},
		},
		"restore drill failed 23 h ago": {Drill: &jobs.Drilled{Time: before(day - time.Second), Result: jobs.ResultFailed}},
	} {
		if got := proofText(d, now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A verify under way is no run: it does not hide how the job stands.
func TestDoing(t *testing.T) {
	run := jobs.Progress{Job: "home", Step: "prune", Started: time.Now()}
	verify := jobs.Progress{Job: "home", Step: "verify", Destination: "usb", Started: time.Now()}
	s := jobs.Status{State: "failing"}
	if state, step := doing(verify, s); state != "failing" || step != "verify of usb" {
		t.Errorf("%s, %s", state, step)
	}
	s.State, s.Step = doing(run, s)
	if state, step := doing(verify, s); state != "running" || step != s.Step {
		t.Errorf("%s, %s", state, step)
	}
}
