package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/jobs"
)

// Whatever there is, the drawing is never wider than its screen, and has a line for each snapshot.
func TestTreeFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := jobs.Listing{Job: anyText(t, "job"), Source: anyText(t, "source")}
		n := rapid.IntRange(0, 20).Draw(t, "snapshots")
		for i := range n {
			taken := exampleNow.Add(-time.Duration(rapid.Int64Range(0, 2e8).Draw(t, "age")) * time.Second)
			l.Snapshots = append(l.Snapshots, jobs.ListedSnapshot{Name: fmt.Sprint("s", i), UUID: btrfs.UUID{byte(i + 1)}, Created: taken})
		}
		for i := range rapid.IntRange(0, 40).Draw(t, "destinations") {
			d := jobs.ListedDestination{Name: fmt.Sprint(i, anyText(t, "destination")), State: rapid.SampledFrom([]string{"present", "absent"}).Draw(t, "state"), Error: anyText(t, "error")}
			for j := range n {
				if rapid.Bool().Draw(t, "has") {
					d.Backups = append(d.Backups, jobs.ListedBackup{Name: fmt.Sprint("s", j), ReceivedUUID: btrfs.UUID{byte(j + 1)}, Created: l.Snapshots[j].Created, Complete: true})
				}
			}
			l.Destinations = append(l.Destinations, d)
		}
		columns := rapid.SampledFrom([]int{50, 80, 120}).Draw(t, "columns")
		lines := treeLines(l, time.UTC, screen{width: columns})
		for _, line := range lines {
			if w := width(line); w > columns || strings.ContainsAny(line, "\x1b\n\t") {
				t.Fatalf("%d columns of %d: %q", w, columns, line)
			}
		}
		if got := len(moments(l)); got != n {
			t.Fatalf("%d moments of %d", got, n)
		}
	})
}

// The marks: what is where, what is the same though its UUID is another, what is pinned, interrupted or none.
func TestTreeMarks(t *testing.T) {
	at := func(h int) time.Time { return time.Date(2026, 11, 23, h, 0, 0, 0, time.UTC) }
	l := jobs.Listing{
		Job: "home", Source: "/home",
		Snapshots: []jobs.ListedSnapshot{
			{Name: "common", UUID: btrfs.UUID{1}, Created: at(1), CommonWith: []string{"usb"}},
			{Name: "pinned", UUID: btrfs.UUID{2}, Created: at(2), Pinned: true},
			{Name: "twin", UUID: btrfs.UUID{3}, Created: at(3), CommonWith: []string{"usb"}},
			{Name: "begun", UUID: btrfs.UUID{4}, Created: at(4)},
			{Name: "stranger", UUID: btrfs.UUID{5}, Created: at(5)},
		},
		Destinations: []jobs.ListedDestination{{
			Name: "usb", State: jobs.StatePresent, Unfinished: []jobs.ListedUnfinished{{Snapshot: "begun"}},
			Backups: []jobs.ListedBackup{
				{Name: "old", ReceivedUUID: btrfs.UUID{9}, Created: at(0), Complete: true, Pinned: true},
				{Name: "common", ReceivedUUID: btrfs.UUID{1}, Created: at(1), Complete: true, Pinned: true},
				{Name: "twin", ReceivedUUID: btrfs.UUID{33}, Created: at(3), Complete: true},
				{Name: "stranger", ReceivedUUID: btrfs.UUID{55}, Created: at(5), Complete: true},
				{Name: "altered", ReceivedUUID: btrfs.UUID{6}, Created: at(6), Complete: true, Altered: true},
			},
		}, {Name: "nas", State: jobs.StateAbsent, Error: "absent: nothing is mounted at /mnt"}},
	}
	want := strings.TrimPrefix(`
home: /home
                   source  usb  nas
  2026 Nov 23 Mon
  ├─ 00:00         ·       ◇    ·
  ├─ 01:00         ●       ◆    ·
  ├─ 02:00         ◇       ·    ·
  ├─ 03:00         ●       ●    ·
  ├─ 04:00         ○       ◐    ·
  ├─ 05:00         ○       ·    ·
  │                ·       ○    ·
  └─ 06:00         ·       ✗    ·
  nas: absent: nothing is mounted at /mnt`, "\n")
	if diff := cmp.Diff(want, strings.Join(treeLines(l, time.UTC, screen{width: 80}), "\n")); diff != "" {
		t.Error(diff)
	}
	if got := treeLines(jobs.Listing{Job: "new", Source: "/new"}, time.UTC, screen{width: 80}); got[len(got)-1] != "  nothing yet" {
		t.Errorf("%q", got)
	}
}

// Days are those of the time zone, and each is there once, also when it has 23 hours or 25.
func TestDays(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	var all []jobs.Record
	for at := time.Date(2026, 10, 27, 12, 0, 0, 0, time.UTC); at.After(time.Date(2026, 10, 23, 0, 0, 0, 0, time.UTC)); at = at.Add(-6 * time.Hour) {
		all = append(all, jobs.Record{Job: "home", Started: at, Result: jobs.ResultOK})
	}
	all[0].Result = jobs.ResultCancelled
	want := strings.TrimPrefix(`
home
                0     6     12    18
2026-10-27 Tue  ·●·····●·····-··········  1 cancelled, 2 ok
2026-10-26 Mon  ·●·····●·····●·····●····  4 ok
2026-10-25 Sun  ··●····●·····●·····●····  4 ok
2026-10-24 Sat  ··●·····●·····●·····●···  4 ok
2026-10-23 Fri  ········●·····●·····●···  3 ok`, "\n")
	if diff := cmp.Diff(want, strings.Join(dayLines(all, berlin, screen{width: 80}), "\n")); diff != "" {
		t.Error(diff)
	}
}
