package config

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// rateOf is the rate limit of a job in a file with the given lines.
func rateOf(t *testing.T, text string) Rate {
	t.Helper()
	return loadText(t, "timezone = \"Europe/Berlin\"\n[jobs.a]\nsource = \"/a\"\nkeep = { last = 1 }\n[jobs.a.destinations.b]\nurl = \"/b\"\n"+text).Jobs[0].Destinations[0].RateLimit
}

func TestRate(t *testing.T) {
	const text = `rate_limit = { default = "10M", "22:00-06:00" = "none", "12:00-13:30" = "1M", "18:00-22:00" = "2M" }`
	r := rateOf(t, text)
	for clock, want := range map[string]Size{
		"00:00:00": 0,
		"05:59:59": 0,
		"06:00:00": 10 << 20,
		"11:59:59": 10 << 20,
		"12:00:00": 1 << 20,
		"13:29:59": 1 << 20,
		"13:30:00": 10 << 20,
		"18:00:00": 2 << 20,
		"21:59:59": 2 << 20,
		"22:00:00": 0,
		"23:59:59": 0,
	} {
		at, err := time.ParseInLocation("2006-01-02 15:04:05", "2026-11-23 "+clock, r.Zone)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.At(at.UTC()); got != want {
			t.Errorf("at %s: %s, want %s", clock, got, want)
		}
	}
	if r.IsZero() {
		t.Error("it is taken for no limit")
	}
}

// The clock on the wall counts: 02:30 comes twice when summer time ends.
func TestRateFollowsTheClockOnTheWall(t *testing.T) {
	r := rateOf(t, `rate_limit = { "02:00-03:00" = "1M" }`)
	limited := 0
	for at := time.Date(2026, 10, 24, 23, 0, 0, 0, time.UTC); at.Day() < 26; at = at.Add(time.Minute) {
		if r.At(at) > 0 {
			limited++
		}
	}
	if limited != 120 {
		t.Errorf("limited for %d minutes", limited)
	}
}

func TestRateOfOneSize(t *testing.T) {
	now := time.Now()
	for text, want := range map[string]Size{"": 0, `rate_limit = "none"`: 0, `rate_limit = "50M"`: 50 << 20, `rate_limit = {}`: 0, `rate_limit = { default = "3K" }`: 3 << 10, `rate_limit = { "00:00-24:00" = "1M" }`: 1 << 20} {
		if r := rateOf(t, text); r.At(now) != want || r.IsZero() != (want == 0) {
			t.Errorf("%q: %+v", text, r)
		}
	}
}

// Two windows overlap just when a minute is in both, and a window is written as it is read.
func TestWindows(t *testing.T) {
	minute := rapid.Map(rapid.IntRange(0, 24*60-1), func(m int) time.Duration { return time.Duration(m) * time.Minute })
	window := rapid.Custom(func(t *rapid.T) RateWindow {
		return RateWindow{Window: Window{From: minute.Draw(t, "from"), Until: minute.Draw(t, "until")}}
	}).Filter(func(w RateWindow) bool { return w.From != w.Until })
	var day []time.Duration
	for m := range 24 * 60 {
		day = append(day, time.Duration(m)*time.Minute)
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := window.Draw(t, "a"), window.Draw(t, "b")
		both := slices.ContainsFunc(day, func(m time.Duration) bool { return a.holds(m) && b.holds(m) })
		if a.overlaps(b.Window) != both || b.overlaps(a.Window) != both {
			t.Errorf("%s and %s overlap: %t, but %t", a, b, both, a.overlaps(b.Window))
		}
		if again, err := parseWindow(a.String(), ""); err != nil || again != a.Window {
			t.Errorf("%s becomes %s, %v", a, again, err)
		}
	})
}
