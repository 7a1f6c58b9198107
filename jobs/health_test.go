package jobs

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/config"
)

func TestHealth(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	job := config.Job{Name: "home", Destinations: []config.Destination{
		{Name: "nas", URL: "/nas"}, {Name: "usb", URL: "/usb", MaxAge: config.Duration(14 * day)},
	}}
	ok := DestinationState{LastResult: ResultOK, Newest: "n", NewestTaken: now.Add(-day)}
	for name, test := range map[string]struct {
		state State
		want  []string // kind and destination
		text  string   // in the first
	}{
		"nothing yet":             {state: State{FirstSeen: now.Add(-13 * day)}},
		"nothing for long":        {state: State{FirstSeen: now.Add(-15 * day)}, want: []string{"stale usb"}, text: "no backup there"},
		"well":                    {state: State{LastResult: ResultOK, Destinations: map[string]DestinationState{"/nas": ok, "/usb": ok}}},
		"absent":                  {state: State{LastResult: ResultPartial, Destinations: map[string]DestinationState{"/nas": ok, "/usb": {LastResult: ResultAbsent, NewestTaken: now.Add(-13 * day), AbsentSince: now.Add(-12 * day)}}}},
		"absent for long":         {state: State{LastResult: ResultPartial, Destinations: map[string]DestinationState{"/nas": ok, "/usb": {LastResult: ResultAbsent, Newest: "n", NewestTaken: now.Add(-15 * day), AbsentSince: now.Add(-14 * day)}}}, want: []string{"stale usb"}, text: "absent for 14 days"},
		"one fails":               {state: State{LastResult: ResultPartial, LastError: "usb: full", Destinations: map[string]DestinationState{"/nas": ok, "/usb": {LastResult: ResultFailed, LastError: "full", NewestTaken: now}}}, want: []string{"failing usb"}, text: "full"},
		"the job fails":           {state: State{LastResult: ResultFailed, LastError: "no such\nsubvolume", Destinations: map[string]DestinationState{"/nas": ok, "/usb": ok}}, want: []string{"failing "}, text: "no such; subvolume"},
		"skipped":                 {state: State{LastResult: ResultSkipped, LastError: "held", Destinations: map[string]DestinationState{"/nas": ok, "/usb": ok}}},
		"fails, and has for long": {state: State{LastResult: ResultFailed, LastError: "usb: full", Destinations: map[string]DestinationState{"/nas": ok, "/usb": {LastResult: ResultFailed, LastError: "full", NewestTaken: now.Add(-15 * day)}}}, want: []string{"stale usb", "failing usb"}},
		"damaged": {state: State{LastResult: ResultOK, Destinations: map[string]DestinationState{"/usb": ok, "/nas": {LastResult: ResultOK, Proofs: map[config.Task]Proof{
			config.TaskVerify: {Last: now, Result: ResultOK, Damaged: []string{"old"}}, config.TaskDrill: {Last: now, Result: ResultFailed, Error: "why"},
		}}}}, want: []string{"verify nas", "drill nas"}, text: "damaged: old"},
		"proven": {state: State{LastResult: ResultOK, Destinations: map[string]DestinationState{"/usb": ok, "/nas": {LastResult: ResultOK, Proofs: map[config.Task]Proof{
			config.TaskVerify: {Last: now, Result: ResultOK}, config.TaskDrill: {Last: now, Result: ResultOK},
		}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			found := test.state.Health(job, now)
			for _, p := range found {
				got = append(got, p.Key())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if len(found) > 0 && !strings.Contains(found[0].Text, test.text) {
				t.Error(found[0].Text)
			}
		})
	}
}

func TestFullIn(t *testing.T) {
	start, day := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), 24*time.Hour
	disk := func(free func(day int) uint64, days int) (s DestinationState) {
		for i := range days {
			for _, hour := range []int{0, 6, 12} { // several runs a day leave one sample
				s.sawSpace(Identity{Free: free(i), Total: 2000}, start.Add(time.Duration(i)*day+time.Duration(hour)*time.Hour))
			}
		}
		return s
	}
	falling := func(i int) uint64 { return uint64(1000 - 10*i) }
	for name, test := range map[string]struct {
		state DestinationState
		want  time.Duration
	}{
		"never seen":    {},
		"two days":      {state: disk(falling, 2)},
		"ten a day":     {state: disk(falling, 11), want: 90 * day},
		"two months":    {state: disk(falling, 61), want: 40 * day},
		"getting empty": {state: disk(func(i int) uint64 { return uint64(500 + i) }, 11)},
		"as it is":      {state: disk(func(int) uint64 { return 500 }, 11)},
		"hardly":        {state: disk(func(i int) uint64 { return 1<<50 - uint64(i) }, 11), want: 3650 * day},
	} {
		if got := test.state.FullIn(); (got - test.want).Abs() > time.Hour {
			t.Errorf("%s: %s, not %s", name, got, test.want)
		}
		if n := len(test.state.Space); n > maxSamples {
			t.Errorf("%s: %d samples", name, n)
		}
	}
	// Another disk at the same path begins anew.
	s := disk(falling, 11)
	s.sawSpace(Identity{FileSystem: [16]byte{1}, Free: 7, Total: 8}, start.Add(12*day))
	if len(s.Space) != 1 || s.Free != 7 {
		t.Errorf("%+v", s)
	}
}
