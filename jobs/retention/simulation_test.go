package retention

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/config"
)

// live takes one item after the other, plans and removes after each, as runs do, and gives what is left.
func live(have, taken []Item, keep config.Keep, loc *time.Location) []Item {
	for _, item := range taken {
		have = append(have, item)
		have = kept(Plan(have, keep, item.Time, loc))
	}
	return have
}

// names are what two histories are compared by.
func names(items []Item) []string {
	var all []string
	for _, i := range items {
		all = append(all, i.Name)
	}
	return all
}

func TestDailyForAYear(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	const n = 14
	var items []Item
	for d := range 365 {
		items = append(items, taken(time.Date(2026, 1, 1+d, 2, 30, 0, 0, berlin)))
	}
	got := live(nil, items, config.Keep{Daily: n}, berlin)
	if diff := cmp.Diff(names(items[len(items)-n:]), names(got)); diff != "" {
		t.Errorf("not the last %d days (-want +got):\n%s", n, diff)
	}
}

// Three years of snapshots, a machine that is switched off at night included: pruning after each leaves
// what pruning once would, and of each rule as many as were asked for.
func TestGrandfathers(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	keep := config.Keep{Last: 3, Hourly: 24, Daily: 7, Weekly: 5, Monthly: 12, Yearly: 10}
	const step = 3 * time.Hour
	newest := time.Date(2026, 11, 23, 11, 56, 0, 0, time.UTC)
	start := newest.AddDate(-3, 0, 0)
	all := every(start, step, 1+int(newest.Sub(start)/step))
	var office []Item
	for _, item := range all {
		local := item.Time.In(berlin)
		if local.Hour() >= 8 && local.Hour() < 18 && local.Weekday()%6 != 0 {
			office = append(office, item)
		}
	}
	for _, c := range []struct {
		name  string
		items []Item
		daily string
	}{
		{"server", all, "2026-11-17 2026-11-18 2026-11-19 2026-11-20 2026-11-21 2026-11-22 2026-11-23"},
		{"office", office, "2026-11-13 2026-11-16 2026-11-17 2026-11-18 2026-11-19 2026-11-20 2026-11-23"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := live(nil, c.items, keep, berlin)
			last := c.items[len(c.items)-1].Time
			if diff := cmp.Diff(names(kept(Plan(c.items, keep, last, berlin))), names(got)); diff != "" {
				t.Errorf("not what planning once gives (-once +got):\n%s", diff)
			}
			plan := Plan(got, keep, last, berlin)
			want := map[string]int{"last": 3, "hourly": 24, "daily": 7, "weekly": 5, "monthly": 12, "yearly": 4, "newest": 1}
			if diff := cmp.Diff(want, keptBy(plan)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			buckets := map[string]string{}
			for _, d := range plan {
				for _, r := range d.Reasons {
					if rule, bucket, _ := strings.Cut(r, " "); rule != "last" && rule != "hourly" && rule != "newest" {
						buckets[rule] = strings.TrimSpace(buckets[rule] + " " + bucket)
					}
				}
			}
			if diff := cmp.Diff(map[string]string{
				"daily":   c.daily,
				"weekly":  "2026-W44 2026-W45 2026-W46 2026-W47 2026-W48",
				"monthly": "2025-12 2026-01 2026-02 2026-03 2026-04 2026-05 2026-06 2026-07 2026-08 2026-09 2026-10 2026-11",
				"yearly":  "2023 2024 2025 2026",
			}, buckets); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TROUBLE 12: a laptop that slept for a month wakes up: each rule gives up at most the one that the new snapshot pushes out.
func TestAsleepForAMonth(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	keep := config.Keep{Hourly: 24, Daily: 7, Weekly: 4}
	before := live(nil, every(at(t, "2026-07-01T08:00:00Z"), time.Hour, 60*24), keep, berlin)
	if len(before) < 24+5+2 {
		t.Fatalf("only %d before", len(before))
	}
	// Asleep, and a run at which nothing could be taken: nothing goes.
	woke := before[len(before)-1].Time.Add(31 * oneDay)
	if n := removed(Plan(before, keep, woke, berlin)); n != 0 {
		t.Errorf("%d removed for age alone", n)
	}
	after := live(before, []Item{taken(woke)}, keep, berlin)
	if lost := len(before) + 1 - len(after); lost > 3 {
		t.Errorf("%d removed by one new snapshot", lost)
	}
}

// The configured zone changes: days are cut elsewhere, and some of what was the newest of its day is not
// any more. With regular snapshots that is at most one of each rule; in the worst case, two items of two days
// fall into one, it is half of them. The newest stays anyway.
func TestZoneChanges(t *testing.T) {
	berlin, newYork := zone(t, "Europe/Berlin"), zone(t, "America/New_York")
	keep := config.Keep{Hourly: 24, Daily: 30, Weekly: 8, Monthly: 12}
	for _, start := range []string{"2026-01-01T00:10:00Z", "2026-01-01T07:10:00Z", "2026-01-01T16:10:00Z"} {
		have := live(nil, every(at(t, start), time.Hour, 200*24), keep, berlin)
		now := have[len(have)-1].Time
		for _, loc := range []*time.Location{newYork, time.UTC, zone(t, "Pacific/Apia")} {
			if n := removed(Plan(have, keep, now, loc)); n > 4 {
				t.Errorf("from Berlin to %s: %d of %d removed", loc, n, len(have))
			}
		}
	}
	daily := config.Keep{Daily: 30}
	var worst []Item // 23:30 and 00:30 by turns: each pair is one day in New York
	for d := range 60 {
		worst = append(worst, taken(time.Date(2026, 1, 1+d, 23-23*(d%2), 30, 0, 0, berlin)))
	}
	have := live(nil, worst, daily, berlin)
	if got := kept(Plan(have, daily, have[len(have)-1].Time, newYork)); len(have) != 30 || len(got) < 15 {
		t.Errorf("of %d days %d are left", len(have), len(got))
	}
}
