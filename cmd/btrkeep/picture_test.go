package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/jobs"
)

// The pictures in README.md are what the program draws of the examples in this file; -update draws them anew.
func TestPictures(t *testing.T) {
	for command, lines := range map[string][]string{
		"btrkeep status":             board(exampleStatus(), exampleNow, time.UTC).lines(screen{width: 80}),
		"btrkeep list --tree home":   append(treeLines(exampleListing(), time.UTC, screen{width: 80}), "", treeLegend),
		"btrkeep history --days www": append(dayLines(exampleHistory(), time.UTC, screen{width: 80}), "", daysLegend),
	} {
		for _, line := range lines {
			if n := width(line); n > 80 {
				t.Errorf("%s: %d columns: %q", command, n, line)
			}
		}
		path := filepath.Join("..", "..", "README.md")
		readme, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		block := regexp.MustCompile("(?s)```\n\\$ " + regexp.QuoteMeta(command) + "\n(.*?)```")
		want := strings.Join(lines, "\n") + "\n"
		found := block.FindSubmatch(readme)
		switch {
		case found == nil:
			t.Errorf("README.md has no picture of %s:\n%s", command, want)
		case string(found[1]) == want:
		case flag.Lookup("update").Value.String() == "true":
			text := block.ReplaceAllLiteral(readme, []byte("```\n$ "+command+"\n"+want+"```"))
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("README.md (-) and what %s draws (+); -update writes it:\n%s", command, cmp.Diff(string(found[1]), want))
		}
	}
}

var exampleNow = time.Date(2026, 11, 23, 12, 30, 0, 0, time.UTC)

// exampleStatus is a machine on which not all is well.
func exampleStatus() []jobs.Status {
	before := func(d time.Duration) time.Time { return exampleNow.Add(-d) }
	const hour, day = time.Hour, 24 * time.Hour
	name := func(t time.Time) string { return t.Format("20060102T150405Z") }
	at := func(d jobs.DestinationStatus, age time.Duration) jobs.DestinationStatus {
		d.NewestTime, d.AgeSeconds = before(age), int64(age.Seconds())
		d.Newest = name(d.NewestTime)
		return d
	}
	nas := jobs.DestinationStatus{Name: "nas", State: "ok", Free: 2100 << 30, Total: 7400 << 30, FullInSeconds: int64(210 * day / time.Second)}
	return []jobs.Status{
		{Job: "home", State: "running", NextRun: before(-45 * time.Minute), LastResult: jobs.ResultOK, Destinations: []jobs.DestinationStatus{
			at(with(nas, func(d *jobs.DestinationStatus) {
				d.Backlog, d.BacklogBytes = 1, 300<<20
				d.Progress = &jobs.Progress{Job: "home", Step: "transfer", Destination: "nas", Bytes: 129 << 20, Estimate: 300 << 20}
				d.Drill = &jobs.Drilled{Time: before(12 * day), Result: jobs.ResultOK, LastSuccess: before(12 * day)}
			}), 75*time.Minute),
			at(jobs.DestinationStatus{
				Name: "usb", State: jobs.StateAbsent, AbsentSince: before(3 * day), Backlog: 9, BacklogBytes: 2700 << 20,
				Verified: &jobs.Verified{Time: before(5 * day), Result: jobs.ResultOK},
			}, 3*day),
		}},
		{Job: "mail", State: "failing", NextRun: before(-90 * time.Minute), LastResult: jobs.ResultFailed, LastError: "no space left", Destinations: []jobs.DestinationStatus{
			at(with(nas, func(d *jobs.DestinationStatus) {
				d.State, d.LastResult, d.LastSuccess, d.Backlog, d.BacklogBytes = "failing", jobs.ResultFailed, before(26*hour), 4, 80<<20
			}), 26*hour),
		}},
		{Job: "photos", State: "ok", NextRun: before(-11 * hour), LastResult: jobs.ResultOK, Destinations: []jobs.DestinationStatus{
			at(jobs.DestinationStatus{Name: "archive", State: "stale", Stale: true, Backlog: 20, BacklogBytes: 41 << 30, Free: 90 << 30, Total: 900 << 30, FullInSeconds: int64(9 * day / time.Second)}, 40*day),
		}},
		{Job: "www", State: "ok", NextRun: before(-30 * time.Minute), LastResult: jobs.ResultOK, Paused: &jobs.Paused{Since: before(hour), Until: before(-20 * hour), By: "ann"}, Destinations: []jobs.DestinationStatus{
			at(nas, 90*time.Minute),
		}},
	}
}

func with(d jobs.DestinationStatus, change func(*jobs.DestinationStatus)) jobs.DestinationStatus {
	change(&d)
	return d
}

// exampleListing has hourly, daily, monthly and yearly ones, at two destinations, of which one was away for three days.
func exampleListing() jobs.Listing {
	l := jobs.Listing{Job: "home", Source: "/home", Destinations: []jobs.ListedDestination{{Name: "nas", State: jobs.StatePresent}, {Name: "usb", State: jobs.StatePresent}}}
	add := func(when string, places string) {
		taken, err := time.Parse("2006-01-02 15:04", when)
		if err != nil {
			panic(err)
		}
		name, id := taken.Format("20060102T150405Z"), btrfs.UUID{byte(taken.Unix()), byte(taken.Unix() >> 8), byte(taken.Unix() >> 16), byte(taken.Unix() >> 24)}
		if strings.Contains(places, "s") {
			s := jobs.ListedSnapshot{Name: name, UUID: id, Created: taken, Own: true, Pinned: strings.Contains(places, "P")}
			for i, d := range l.Destinations {
				if strings.Contains(places, fmt.Sprint(i)) {
					s.CommonWith = append(s.CommonWith, d.Name)
				}
			}
			l.Snapshots = append(l.Snapshots, s)
		}
		for i := range l.Destinations {
			if strings.Contains(places, fmt.Sprint(i)) {
				l.Destinations[i].Backups = append(l.Destinations[i].Backups, jobs.ListedBackup{Name: name, ReceivedUUID: id, Created: taken, Complete: true, Own: true, Pinned: strings.Contains(places, "p")})
			}
		}
	}
	add("2024-12-31 23:00", "0p")
	add("2025-12-31 23:00", "01")
	add("2026-09-30 23:00", "01")
	add("2026-10-31 23:00", "01")
	add("2026-11-18 23:00", "01")
	add("2026-11-19 23:00", "s01P")
	add("2026-11-20 12:00", "s01")
	add("2026-11-20 23:00", "s0")
	add("2026-11-21 23:00", "s0")
	add("2026-11-22 23:00", "s0")
	add("2026-11-23 10:00", "s0")
	add("2026-11-23 11:00", "s0")
	add("2026-11-23 12:00", "s")
	l.Destinations[1].State, l.Destinations[1].Error = jobs.StatePresent, ""
	l.Destinations[0].Unfinished = []jobs.ListedUnfinished{{Snapshot: "20261123T120000Z", Bytes: 129 << 20}}
	return l
}

// exampleHistory is an hourly job that has seen a full disk, and a day off.
func exampleHistory() []jobs.Record {
	var all []jobs.Record
	for h := 0; h < 24*4; h++ {
		at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).Add(-time.Duration(h) * time.Hour)
		r := jobs.Record{Job: "www", Started: at, Ended: at.Add(time.Minute), Result: jobs.ResultOK, Transfers: []jobs.Transfer{{Result: jobs.ResultOK, Bytes: 7 << 20}}}
		switch {
		case at.Day() == 21 || at.Day() == 20 && at.Hour() > 18:
			continue
		case at.Day() == 22 && at.Hour() >= 9 && at.Hour() < 14:
			r.Result, r.Transfers = jobs.ResultFailed, nil
		case at.Day() == 22 && at.Hour() == 14:
			r.Result = jobs.ResultPartial
		case at.Day() == 23 && at.Hour() == 3:
			r.Result, r.Transfers = jobs.ResultSkipped, nil
		}
		all = append(all, r)
	}
	return all
}
