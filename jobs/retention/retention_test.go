package retention

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // so that the tests do not depend on the machine's zones

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/config"
)

const oneDay = 24 * time.Hour

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func at(t testing.TB, when string) time.Time {
	t.Helper()
	tm, err := time.Parse(time.RFC3339, when)
	if err != nil {
		t.Fatal(err)
	}
	return tm
}

func taken(when time.Time) Item {
	return Item{Name: when.UTC().Format(config.DefaultNameFormat), Time: when}
}

// every gives n items from start on, one each step.
func every(start time.Time, step time.Duration, n int) []Item {
	items := make([]Item, n)
	for i := range items {
		items[i] = taken(start.Add(time.Duration(i) * step))
	}
	return items
}

// kept are the items that a plan leaves.
func kept(decisions []Decision) []Item {
	var items []Item
	for _, d := range decisions {
		if !d.Remove {
			items = append(items, d.Item)
		}
	}
	return items
}

func removed(decisions []Decision) (n int) {
	for _, d := range decisions {
		if d.Remove {
			n++
		}
	}
	return n
}

// lines are the decisions as a person would be shown them.
func lines(decisions []Decision) []string {
	var all []string
	for _, d := range decisions {
		verb := "keep"
		if d.Remove {
			verb = "remove"
		}
		all = append(all, fmt.Sprintf("%s %s: %s", verb, d.Name, strings.Join(d.Reasons, "; ")))
	}
	return all
}

func TestPlan(t *testing.T) {
	utc := time.UTC
	berlin := zone(t, "Europe/Berlin")
	noon := at(t, "2026-11-23T12:00:00Z")
	times := func(whens ...string) []Item {
		var items []Item
		for _, w := range whens {
			items = append(items, taken(at(t, w)))
		}
		return items
	}
	with := func(items []Item, change func([]Item)) []Item {
		change(items)
		return items
	}
	cases := []struct {
		name  string
		items []Item
		keep  config.Keep
		now   time.Time
		loc   *time.Location
		want  []string
	}{
		{
			name: "nothing there", keep: config.Keep{Last: 1}, now: noon, loc: utc,
		},
		{
			name: "a zero policy keeps everything", now: noon, loc: utc,
			items: times("2020-01-01T00:00:00Z", "2026-11-23T11:00:00Z"),
			want: []string{
				"keep 20200101T000000Z: no rules: everything is kept",
				"keep 20261123T110000Z: newest; no rules: everything is kept",
			},
		},
		{
			name: "a count below zero is no rule", keep: config.Keep{Daily: -1}, now: noon, loc: utc,
			items: times("2020-01-01T00:00:00Z", "2026-11-23T11:00:00Z"),
			want: []string{
				"keep 20200101T000000Z: no rules: everything is kept",
				"keep 20261123T110000Z: newest; no rules: everything is kept",
			},
		},
		{
			name: "the newest of a bucket", keep: config.Keep{Last: 1, Hourly: 2, Daily: 2}, now: noon, loc: utc,
			items: times("2026-11-21T09:00:00Z", "2026-11-22T08:00:00Z", "2026-11-22T23:10:00Z", "2026-11-22T23:50:00Z", "2026-11-23T11:00:00Z", "2026-11-23T11:30:00Z", "2026-11-23T11:56:00Z"),
			want: []string{
				"remove 20261121T090000Z: not in last 1, hourly 2 (oldest kept 2026-11-22 23:00), daily 2 (oldest kept 2026-11-22)",
				"remove 20261122T080000Z: the day 2026-11-22 is kept by 20261122T235000Z; not in last 1, hourly 2 (oldest kept 2026-11-22 23:00)",
				"remove 20261122T231000Z: the hour 2026-11-22 23:00 is kept by 20261122T235000Z; not in last 1",
				"keep 20261122T235000Z: hourly 2026-11-22 23:00; daily 2026-11-22",
				"remove 20261123T110000Z: the hour 2026-11-23 11:00 is kept by 20261123T115600Z; not in last 1",
				"remove 20261123T113000Z: the hour 2026-11-23 11:00 is kept by 20261123T115600Z; not in last 1",
				"keep 20261123T115600Z: newest; last 1; hourly 2026-11-23 11:00; daily 2026-11-23",
			},
		},
		{
			name: "weeks, months, years", keep: config.Keep{Weekly: 2, Monthly: 2, Yearly: 2}, now: noon, loc: utc,
			items: times("2024-12-31T00:00:00Z", "2025-06-01T00:00:00Z", "2025-12-31T00:00:00Z", "2026-11-08T00:00:00Z", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
			want: []string{
				"remove 20241231T000000Z: not in weekly 2 (oldest kept 2026-W47), monthly 2 (oldest kept 2025-12), yearly 2 (oldest kept 2025)",
				"remove 20250601T000000Z: the year 2025 is kept by 20251231T000000Z; not in weekly 2 (oldest kept 2026-W47), monthly 2 (oldest kept 2025-12)",
				"keep 20251231T000000Z: monthly 2025-12; yearly 2025",
				"remove 20261108T000000Z: the month 2026-11 is kept by 20261123T000000Z; not in weekly 2 (oldest kept 2026-W47)",
				"keep 20261122T000000Z: weekly 2026-W47",
				"keep 20261123T000000Z: newest; weekly 2026-W48; monthly 2026-11; yearly 2026",
			},
		},
		{
			name: "ISO weeks belong to the year of their Thursday", keep: config.Keep{Weekly: 1}, now: at(t, "2027-01-03T12:00:00Z"), loc: utc,
			items: times("2026-12-31T00:00:00Z", "2027-01-02T00:00:00Z"),
			want: []string{
				"remove 20261231T000000Z: the week 2026-W53 is kept by 20270102T000000Z",
				"keep 20270102T000000Z: newest; weekly 2026-W53",
			},
		},
		{
			name: "within counts from the newest", keep: config.Keep{Within: config.Duration(30 * oneDay)}, now: at(t, "2027-11-23T12:00:00Z"), loc: utc,
			items: times("2026-10-24T10:59:59Z", "2026-10-24T11:00:00Z", "2026-11-23T11:00:00Z"),
			want: []string{
				"remove 20261024T105959Z: not within 30d",
				"keep 20261024T110000Z: within 30d",
				"keep 20261123T110000Z: newest; within 30d",
			},
		},
		{
			name: "within and last in one reason", keep: config.Keep{Within: config.Duration(oneDay), Last: 1, Daily: 1}, now: noon, loc: utc,
			items: times("2026-10-24T10:00:00Z", "2026-11-23T11:00:00Z"),
			want: []string{
				"remove 20261024T100000Z: not within 1d, last 1, daily 1 (oldest kept 2026-11-23)",
				"keep 20261123T110000Z: newest; within 1d; last 1; daily 2026-11-23",
			},
		},
		{
			name: "the future is kept and not counted", keep: config.Keep{Last: 1, Yearly: 1, Within: config.Duration(oneDay)}, now: noon, loc: utc,
			items: times("2026-11-21T10:00:00Z", "2040-01-01T00:00:00Z", "2026-11-23T11:00:00Z", "2026-11-24T12:00:01Z"),
			want: []string{
				"remove 20261121T100000Z: the year 2026 is kept by 20261123T110000Z; not within 1d, last 1",
				"keep 20400101T000000Z: in the future: kept, not counted",
				"keep 20261123T110000Z: newest; within 1d; last 1; yearly 2026",
				"keep 20261124T120001Z: in the future: kept, not counted",
			},
		},
		{
			name: "a day ahead is not the future", keep: config.Keep{Last: 1}, now: noon, loc: utc,
			items: times("2026-11-23T11:00:00Z", "2026-11-24T12:00:00Z"),
			want: []string{
				"remove 20261123T110000Z: not in last 1",
				"keep 20261124T120000Z: newest; last 1",
			},
		},
		{
			name: "all in the future", keep: config.Keep{Last: 1}, now: at(t, "1970-01-01T00:00:00Z"), loc: utc,
			items: times("2026-11-22T11:00:00Z", "2026-11-23T11:00:00Z"),
			want: []string{
				"keep 20261122T110000Z: in the future: kept, not counted",
				"keep 20261123T110000Z: newest; in the future: kept, not counted",
			},
		},
		{
			name: "what is not ours takes no place", keep: config.Keep{Last: 1, Daily: 2}, now: noon, loc: utc,
			items: with(times("2026-11-21T10:00:00Z", "2026-11-22T10:00:00Z", "2026-11-23T10:00:00Z", "2026-11-23T11:00:00Z"), func(i []Item) {
				i[1].Foreign, i[3].Foreign, i[3].Keep = true, true, "belongs to snapper"
			}),
			want: []string{
				"keep 20261121T100000Z: daily 2026-11-21",
				"keep 20261122T100000Z: not made by btrkeep",
				"keep 20261123T100000Z: newest; last 1; daily 2026-11-23",
				"keep 20261123T110000Z: belongs to snapper",
			},
		},
		{
			name: "a pin takes its place", keep: config.Keep{Daily: 2}, now: noon, loc: utc,
			items: with(times("2026-11-20T10:00:00Z", "2026-11-21T10:00:00Z", "2026-11-22T10:00:00Z", "2026-11-23T10:00:00Z", "2026-11-23T11:00:00Z"), func(i []Item) {
				i[0].Keep, i[2].Keep, i[3].Keep = "pinned", "pinned", "last common snapshot with usb"
			}),
			want: []string{
				"keep 20261120T100000Z: pinned",
				"remove 20261121T100000Z: not in daily 2 (oldest kept 2026-11-22)",
				"keep 20261122T100000Z: pinned; daily 2026-11-22",
				"keep 20261123T100000Z: last common snapshot with usb",
				"keep 20261123T110000Z: newest; daily 2026-11-23",
			},
		},
		{
			name: "of the same time the later one", keep: config.Keep{Daily: 1}, now: noon, loc: utc,
			items: with(times("2026-11-23T11:00:00Z", "2026-11-23T11:00:00Z", "2026-11-23T11:00:00Z"), func(i []Item) {
				i[1].Name += "-2"
				i[2].Name += "-3"
			}),
			want: []string{
				"remove 20261123T110000Z: the day 2026-11-23 is kept by 20261123T110000Z-3",
				"remove 20261123T110000Z-2: the day 2026-11-23 is kept by 20261123T110000Z-3",
				"keep 20261123T110000Z-3: newest; daily 2026-11-23",
			},
		},
		{
			name: "a clock set back: buckets go by time, newest and last by order", keep: config.Keep{Last: 2, Daily: 1}, now: noon, loc: utc,
			items: times("2026-11-23T10:00:00Z", "2026-11-23T11:00:00Z", "2026-11-23T09:00:00Z", "2026-11-22T12:00:00Z"),
			want: []string{
				"remove 20261123T100000Z: the day 2026-11-23 is kept by 20261123T110000Z; not in last 2",
				"keep 20261123T110000Z: daily 2026-11-23",
				"keep 20261123T090000Z: last 2",
				"keep 20261122T120000Z: newest; last 2",
			},
		},
		{
			name: "a clock at 1970 for one run: within removes nothing", keep: config.Keep{Within: config.Duration(oneDay)}, now: noon, loc: utc,
			items: times("2026-11-01T10:00:00Z", "2026-11-23T11:00:00Z", "1970-01-01T00:00:10Z"),
			want: []string{
				"keep 20261101T100000Z: within 1d",
				"keep 20261123T110000Z: within 1d",
				"keep 19700101T000010Z: newest; within 1d",
			},
		},
		{
			name: "TROUBLE 13: the hour that comes twice is two", keep: config.Keep{Hourly: 4}, now: noon, loc: berlin,
			items: times("2026-10-24T23:30:00Z", "2026-10-25T00:10:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"),
			want: []string{
				"keep 20261024T233000Z: hourly 2026-10-25 01:00 +0200",
				"remove 20261025T001000Z: the hour 2026-10-25 02:00 +0200 is kept by 20261025T003000Z",
				"keep 20261025T003000Z: hourly 2026-10-25 02:00 +0200",
				"keep 20261025T013000Z: hourly 2026-10-25 02:00 +0100",
				"keep 20261025T023000Z: newest; hourly 2026-10-25 03:00 +0100",
			},
		},
		{
			name: "one hour near a change by half an hour is one", keep: config.Keep{Hourly: 2}, now: noon, loc: zone(t, "Australia/Lord_Howe"),
			items: times("2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z", "2026-04-04T17:40:00Z", "2026-04-04T18:10:00Z"),
			want: []string{
				"remove 20260404T144500Z: not in hourly 2 (oldest kept 2026-04-05 01:00 +1030)",
				"keep 20260404T151500Z: hourly 2026-04-05 01:00 +1030",
				"remove 20260404T174000Z: the hour 2026-04-05 04:00 +1030 is kept by 20260404T181000Z",
				"keep 20260404T181000Z: newest; hourly 2026-04-05 04:00 +1030",
			},
		},
		{
			name: "buckets are cut in the zone", keep: config.Keep{Daily: 2}, now: noon, loc: berlin,
			items: times("2026-11-21T22:30:00Z", "2026-11-21T23:30:00Z", "2026-11-22T22:30:00Z", "2026-11-22T23:30:00Z"),
			want: []string{
				"remove 20261121T223000Z: not in daily 2 (oldest kept 2026-11-22)",
				"remove 20261121T233000Z: the day 2026-11-22 is kept by 20261122T223000Z",
				"keep 20261122T223000Z: daily 2026-11-22",
				"keep 20261122T233000Z: newest; daily 2026-11-23",
			},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := slices.Clone(c.items)
			got := Plan(c.items, c.keep, c.now, c.loc)
			if diff := cmp.Diff(c.want, lines(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, c.items); diff != "" {
				t.Errorf("the items were changed (-before +after):\n%s", diff)
			}
		})
	}
}

// The example of the configuration: keep = { last = 3, hourly = 24, daily = 7 } over hourly snapshots.
func TestPlanDefaultsExample(t *testing.T) {
	newest := at(t, "2026-11-23T12:00:00Z")
	items := every(newest.Add(-14*oneDay), time.Hour, 14*24+1)
	got := Plan(items, config.Keep{Last: 3, Hourly: 24, Daily: 7}, newest, time.UTC)
	var names []string
	for _, item := range kept(got) {
		names = append(names, item.Name)
	}
	var want []string
	for d := 17; d <= 21; d++ { // the newest of each day; those of the 22nd and 23rd are among the hours
		want = append(want, fmt.Sprintf("202611%dT230000Z", d))
	}
	for h := 23; h >= 0; h-- {
		want = append(want, newest.Add(-time.Duration(h)*time.Hour).Format(config.DefaultNameFormat))
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	const reason = "not in last 3, hourly 24 (oldest kept 2026-11-22 13:00), daily 7 (oldest kept 2026-11-17)"
	if first := got[0]; !first.Remove || strings.Join(first.Reasons, "; ") != reason {
		t.Errorf("the oldest: %v", lines(got[:1]))
	}
}
