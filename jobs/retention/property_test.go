package retention

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/btrkeep/btrkeep/config"
)

var genKeep = rapid.Custom(func(t *rapid.T) config.Keep {
	n := func(name string) int { return rapid.OneOf(rapid.Just(0), rapid.IntRange(1, 8)).Draw(t, name) }
	return config.Keep{
		Last: n("last"), Hourly: n("hourly"), Daily: n("daily"), Weekly: n("weekly"), Monthly: n("monthly"), Yearly: n("yearly"),
		Within: config.Duration(rapid.SampledFrom([]time.Duration{0, time.Hour, oneDay, 40 * oneDay}).Draw(t, "within")),
	}
})

// world is one call of Plan: a history with pauses of seconds to months, clocks that jump, pins, strangers.
type world struct {
	items []Item
	keep  config.Keep
	now   time.Time
	loc   *time.Location
}

func (w world) plan() []Decision { return Plan(w.items, w.keep, w.now, w.loc) }

func genWorld(t testing.TB) *rapid.Generator[world] {
	zones := []*time.Location{time.UTC, zone(t, "Europe/Berlin"), zone(t, "America/Sao_Paulo"), zone(t, "Australia/Lord_Howe")}
	return rapid.Custom(func(t *rapid.T) world {
		w := world{keep: genKeep.Draw(t, "keep"), loc: rapid.SampledFrom(zones).Draw(t, "zone")}
		w.now = time.Date(2026, 10, 20, 0, 0, 0, 0, time.UTC)
		steps := []time.Duration{0, time.Second, 20 * time.Minute, time.Hour, 7 * time.Hour, oneDay, 9 * oneDay, 45 * oneDay, -2 * time.Hour, -5 * oneDay}
		for range rapid.IntRange(0, 40).Draw(t, "count") {
			w.now = w.now.Add(rapid.SampledFrom(steps).Draw(t, "step"))
			item := taken(w.now)
			switch rapid.IntRange(0, 12).Draw(t, "kind") {
			case 0:
				item.Foreign = true
			case 1:
				item.Keep = "pinned"
			case 2:
				item = taken(w.now.AddDate(14, 0, 0))
			}
			w.items = append(w.items, item)
		}
		return w
	})
}

func removals(decisions []Decision) []bool {
	var all []bool
	for _, d := range decisions {
		all = append(all, d.Remove)
	}
	return all
}

// keptBy counts the kept ones by the first word of each reason.
func keptBy(decisions []Decision) map[string]int {
	counts := map[string]int{}
	for _, d := range decisions {
		if !d.Remove {
			for _, r := range d.Reasons {
				word, _, _ := strings.Cut(r, " ")
				counts[word]++
			}
		}
	}
	return counts
}

func TestPlanProperties(t *testing.T) {
	gen := genWorld(t)
	rapid.Check(t, func(t *rapid.T) {
		w := gen.Draw(t, "world")
		got := w.plan()
		if len(got) != len(w.items) {
			t.Fatalf("%d decisions for %d items", len(got), len(w.items))
		}
		newest, future := -1, true
		for i, d := range got {
			if d.Item != w.items[i] {
				t.Fatalf("decision %d is of %v, not of %v", i, d.Item, w.items[i])
			}
			if len(d.Reasons) == 0 || slices.Contains(d.Reasons, "") {
				t.Fatalf("%s without a reason: %q", d.Name, d.Reasons)
			}
			ahead := d.Time.After(w.now.Add(oneDay))
			if d.Remove && (d.Foreign || d.Keep != "" || ahead || w.keep.IsZero()) {
				t.Fatalf("removed: %+v", d)
			}
			if !d.Foreign && (!ahead || future) {
				newest, future = i, ahead
			}
		}
		if newest >= 0 && (got[newest].Remove || !slices.Contains(got[newest].Reasons, "newest")) {
			t.Fatalf("the newest: %+v", got[newest])
		}
		counts := keptBy(got)
		for word, n := range map[string]int{
			"newest": 1, "last": w.keep.Last, "hourly": w.keep.Hourly, "daily": w.keep.Daily, "weekly": w.keep.Weekly, "monthly": w.keep.Monthly, "yearly": w.keep.Yearly,
		} {
			if counts[word] > n {
				t.Fatalf("%d kept as %s, %d were asked for", counts[word], word, n)
			}
		}
	})
}

// Planning over what a plan has left removes nothing more, and finds the same reasons.
func TestPlanIdempotent(t *testing.T) {
	gen := genWorld(t)
	rapid.Check(t, func(t *rapid.T) {
		w := gen.Draw(t, "world")
		first := slices.DeleteFunc(w.plan(), func(d Decision) bool { return d.Remove })
		w.items = kept(first)
		if diff := cmp.Diff(lines(first), lines(w.plan())); diff != "" {
			t.Fatalf("(-first +second):\n%s", diff)
		}
	})
}

// One rule more, or a higher count, never removes more. (The first rule does: without any everything is kept.)
func TestPlanMonotonic(t *testing.T) {
	gen := genWorld(t)
	rapid.Check(t, func(t *rapid.T) {
		w := gen.Draw(t, "world")
		if w.keep.IsZero() {
			w.keep.Last = 1
		}
		before := w.plan()
		more := genKeep.Draw(t, "more")
		w.keep = config.Keep{
			Last: w.keep.Last + more.Last, Hourly: w.keep.Hourly + more.Hourly, Daily: w.keep.Daily + more.Daily, Weekly: w.keep.Weekly + more.Weekly,
			Monthly: w.keep.Monthly + more.Monthly, Yearly: w.keep.Yearly + more.Yearly, Within: w.keep.Within + more.Within,
		}
		for i, d := range w.plan() {
			if d.Remove && !before[i].Remove {
				t.Fatalf("%s was kept (%q) and is not with more rules (%q)", d.Name, before[i].Reasons, d.Reasons)
			}
		}
	})
}

// Foreign items change nothing for the others, wherever they stand.
func TestPlanForeign(t *testing.T) {
	gen := genWorld(t)
	rapid.Check(t, func(t *rapid.T) {
		w := gen.Draw(t, "world")
		w.items = slices.DeleteFunc(w.items, func(i Item) bool { return i.Foreign })
		want := lines(w.plan())
		for range rapid.IntRange(1, 6).Draw(t, "foreigners") {
			foreigner := taken(w.now.Add(time.Duration(rapid.Int64Range(-100, 100).Draw(t, "hours")) * time.Hour))
			foreigner.Foreign = true
			w.items = slices.Insert(w.items, rapid.IntRange(0, len(w.items)).Draw(t, "where"), foreigner)
		}
		got := lines(slices.DeleteFunc(w.plan(), func(d Decision) bool { return d.Foreign }))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-without +with):\n%s", diff)
		}
	})
}

// A pin changes the decision for the pinned item alone.
func TestPlanPin(t *testing.T) {
	gen := genWorld(t)
	rapid.Check(t, func(t *rapid.T) {
		w := gen.Draw(t, "world")
		if len(w.items) == 0 {
			return
		}
		i := rapid.IntRange(0, len(w.items)-1).Draw(t, "which")
		w.items[i].Keep = ""
		want := removals(w.plan())
		want[i] = false
		w.items[i].Keep = "pinned"
		if diff := cmp.Diff(want, removals(w.plan())); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

// Pruning after each snapshot leaves what pruning once at the end would, whatever the pauses between them.
func TestPlanContinuous(t *testing.T) {
	loc := zone(t, "America/Sao_Paulo")
	rapid.Check(t, func(t *rapid.T) {
		keep := genKeep.Draw(t, "keep")
		when := time.Date(2018, 1, 30, 0, 0, 0, 0, time.UTC)
		var items []Item
		for range rapid.IntRange(1, 60).Draw(t, "count") {
			when = when.Add(time.Duration(rapid.OneOf(rapid.Int64Range(1, 7200), rapid.Int64Range(1, 40*86400)).Draw(t, "pause")) * time.Second)
			items = append(items, taken(when))
		}
		if diff := cmp.Diff(names(kept(Plan(items, keep, when, loc))), names(live(nil, items, keep, loc))); diff != "" {
			t.Fatalf("(-once +continuously):\n%s", diff)
		}
	})
}

// Whatever the snapshots' times, another zone leaves at least half of what a rule had, and the newest.
func TestPlanZoneChange(t *testing.T) {
	berlin, newYork := zone(t, "Europe/Berlin"), zone(t, "America/New_York")
	rapid.Check(t, func(t *rapid.T) {
		keep := config.Keep{Daily: rapid.IntRange(1, 20).Draw(t, "daily")}
		when := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		var items []Item
		for range rapid.IntRange(1, 60).Draw(t, "count") {
			when = when.Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "pause")) * time.Hour)
			items = append(items, taken(when))
		}
		before := live(nil, items, keep, berlin)
		after := kept(Plan(before, keep, when, newYork))
		if 2*len(after) < len(before) || after[len(after)-1] != items[len(items)-1] {
			t.Fatalf("of %d, %d are left", len(before), len(after))
		}
	})
}
