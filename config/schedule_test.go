package config

import (
	"errors"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // so that the tests do not depend on the machine's zones

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func mustSchedule(t testing.TB, text string) Schedule {
	t.Helper()
	s, err := ParseSchedule(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return s
}

func mustZone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// fires walks s through the time from start, itself included, to end, each run anchored on the one before.
func fires(s Schedule, start, end time.Time) []time.Time {
	var all []time.Time
	last := start.Add(-time.Nanosecond)
	for {
		next := s.Next(last, last)
		if !next.Before(end) {
			return all
		}
		all = append(all, next)
		last = next
	}
}

func TestScheduleReads(t *testing.T) {
	for text, want := range map[string]string{
		"15 * * * *":              "15 * * * *",
		"  15 \t *  * *\n *  ":    "15 * * * *",
		"@hourly":                 "@hourly",
		" @every   90m ":          "@every 90m",
		"@every 1m":               "@every 1m",
		"@midnight":               "@midnight",
		"@annually":               "@annually",
		"*/5 0-6,22 1,15 jan MON": "*/5 0-6,22 1,15 jan MON",
		"0 0 29 2 *":              "0 0 29 2 *",
		"0 0 ? * ?":               "0 0 ? * ?",
	} {
		var s Schedule
		if err := s.UnmarshalText([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if s.String() != want || s.IsZero() || !s.Equal(mustSchedule(t, want)) {
			t.Errorf("%q became %q", text, s)
		}
	}
}

func TestScheduleRefuses(t *testing.T) {
	cases := []struct{ text, msg, hint string }{
		{"", "empty", "leave the key out"},
		{" \t", "empty", "leave the key out"},
		{"TZ=Europe/Berlin", "time zone", "timezone = "}, // cron panics
		{"TZ=", "time zone", "timezone = "},
		{"CRON_TZ=UTC 0 0 * * *", "time zone", "timezone = "},
		{"@reboot", "boots", "catch_up"},
		{"@every 59s", "too often", "1m or more"},
		{"@every -5m", "too often", "1m or more"},
		{"@every 0s", "too often", "1m or more"},
		{"@every 2d", `"2d" is not a time span`, "48h"},
		{"@every", `"" is not a time span`, "90m"},
		{"@every90m", "unknown name", "@every 90m"},
		{"@Hourly", "unknown name", "@hourly"},
		{"@", "unknown name", "@hourly"},
		{"0 0 * *", "4 fields", "five fields"},
		{"0 0 0 * * *", "6 fields", "five fields"},
		{"daily", "1 fields", "@daily"},
		{"60 * * * *", `minute field cannot be "60"`, "0 to 59"},
		{"0 24 * * *", `hour field cannot be "24"`, "0 to 23"},
		{"0 0 0 * *", `day-of-month field cannot be "0"`, "1 to 31"},
		{"0 0 * 13 *", `month field cannot be "13"`, "jan to dec"},
		{"0 0 * * 7", `day-of-week field cannot be "7"`, "0 (Sunday)"},
		{"*/0 * * * *", `minute field cannot be "*/0"`, "*/2"},
		{"5-1 * * * *", `minute field cannot be "5-1"`, "1-5"},
		{", * * * *", `minute field cannot be ","`, "0 to 59"}, // cron reads it, and it never fires
		{"0 0 ,, * 1", `day-of-month field cannot be ",,"`, "1 to 31"},
		{"0 0 31 2 *", "never fires", "such a day"},
		{"0 0 31 4,6,9,11 *", "never fires", "such a day"},
		{"0 0 30 feb ?", "never fires", "such a day"},
	}
	for _, c := range cases {
		before := mustSchedule(t, "@daily")
		s := before
		err := s.UnmarshalText([]byte(c.text))
		var value *ValueError
		if !errors.As(err, &value) {
			t.Errorf("%q: %v, not a ValueError", c.text, err)
			continue
		}
		if !strings.Contains(value.Msg, c.msg) || !strings.Contains(value.Hint, c.hint) {
			t.Errorf("%q: %q, hint %q; want %q, %q", c.text, value.Msg, value.Hint, c.msg, c.hint)
		}
		if s != before {
			t.Errorf("%q: refused, but changed the schedule", c.text)
		}
	}
}

func TestScheduleZero(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	var s Schedule
	if !s.IsZero() || s.String() != "" || !s.Next(now, now).IsZero() {
		t.Errorf("the zero schedule is %q and fires at %v", s, s.Next(now, now))
	}
}

func TestScheduleNext(t *testing.T) {
	const layout = "Mon 2006-01-02 15:04:05 -0700"
	cases := []struct{ spec, zone, after, want string }{
		{"30 2 * * *", "Europe/Berlin", "2026-11-23T02:29:59+01:00", "Mon 2026-11-23 02:30:00 +0100"},
		{"30 2 * * *", "Europe/Berlin", "2026-11-23T02:29:59.5+01:00", "Mon 2026-11-23 02:30:00 +0100"},
		{"30 2 * * *", "Europe/Berlin", "2026-11-23T02:30:00+01:00", "Tue 2026-11-24 02:30:00 +0100"},
		{"0 0 1 * *", "Europe/Berlin", "2026-12-15T12:00:00+01:00", "Fri 2027-01-01 00:00:00 +0100"},
		{"0 0 1 * 1", "Europe/Berlin", "2026-11-24T12:00:00+01:00", "Mon 2026-11-30 00:00:00 +0100"}, // day-of-month or day-of-week
		{"0 0 29 2 *", "UTC", "2024-02-29T00:00:00Z", "Tue 2028-02-29 00:00:00 +0000"},
		{"0 0 29 2 *", "UTC", "2096-02-29T00:00:00Z", "Fri 2104-02-29 00:00:00 +0000"}, // more than cron's five years
		{"* * 29 2 *", "UTC", "2097-02-28T00:00:00Z", "Fri 2104-02-29 00:00:00 +0000"},
		{"@weekly", "Asia/Kolkata", "2026-11-23T00:00:00+05:30", "Sun 2026-11-29 00:00:00 +0530"},
		// A skipped time runs at the instant of the skip.
		{"30 2 * * *", "Europe/Berlin", "2026-03-29T01:59:59+01:00", "Sun 2026-03-29 03:00:00 +0200"},
		{"30 2 * * *", "Europe/Berlin", "2026-03-29T03:00:00+02:00", "Mon 2026-03-30 02:30:00 +0200"},
		{"*/15 2 * * *", "Europe/Berlin", "2026-03-29T03:00:00+02:00", "Mon 2026-03-30 02:00:00 +0200"}, // four skipped times, one run
		{"0 3 * * *", "Europe/Berlin", "2026-03-29T01:59:59+01:00", "Sun 2026-03-29 03:00:00 +0200"},
		// A repeated time runs at its first occurrence.
		{"30 2 * * *", "Europe/Berlin", "2026-10-25T00:00:00+02:00", "Sun 2026-10-25 02:30:00 +0200"},
		{"30 2 * * *", "Europe/Berlin", "2026-10-25T02:30:00+02:00", "Mon 2026-10-26 02:30:00 +0100"},
		{"30 2 * * *", "Europe/Berlin", "2026-10-25T02:10:00+01:00", "Mon 2026-10-26 02:30:00 +0100"},
		{"*/15 2 * * *", "Europe/Berlin", "2026-10-25T02:45:00+02:00", "Mon 2026-10-26 02:00:00 +0100"},
		{"0 3 * * *", "Europe/Berlin", "2026-10-25T02:10:00+01:00", "Sun 2026-10-25 03:00:00 +0100"},
		{"0 3 * * *", "Europe/Berlin", "2026-10-25T02:59:59.5+02:00", "Sun 2026-10-25 03:00:00 +0100"},
		{"0 */2 * * *", "Europe/Berlin", "2026-10-25T02:00:00+02:00", "Sun 2026-10-25 04:00:00 +0100"},
		// With every hour, elapsed time counts.
		{"30 * * * *", "Europe/Berlin", "2026-10-25T02:30:00+02:00", "Sun 2026-10-25 02:30:00 +0100"},
		{"30 * * * *", "Europe/Berlin", "2026-03-29T01:30:00+01:00", "Sun 2026-03-29 03:30:00 +0200"},
		{"0 * 1 1 *", "Europe/Berlin", "2026-01-01T23:00:00+01:00", "Fri 2027-01-01 00:00:00 +0100"},
		// Half an hour of daylight saving.
		{"15 2 * * *", "Australia/Lord_Howe", "2026-10-04T01:59:59+10:30", "Sun 2026-10-04 02:30:00 +1100"},
		{"45 2 * * *", "Australia/Lord_Howe", "2026-10-04T01:59:59+10:30", "Sun 2026-10-04 02:45:00 +1100"},
		{"45 1 * * *", "Australia/Lord_Howe", "2026-04-05T01:45:00+11:00", "Mon 2026-04-06 01:45:00 +1030"},
		{"45 * * * *", "Australia/Lord_Howe", "2026-04-05T01:45:00+11:00", "Sun 2026-04-05 01:45:00 +1030"},
		// Go's ZoneBounds ends this day's period before the day.
		{"30 2 * * *", "Europe/Berlin", "2040-12-31T02:00:00+01:00", "Mon 2040-12-31 02:30:00 +0100"},
		{"30 2 * * *", "Europe/Berlin", "2040-12-31T02:30:00+01:00", "Tue 2041-01-01 02:30:00 +0100"},
		{"30 * * * *", "Europe/Berlin", "2040-12-31T23:45:00+01:00", "Tue 2041-01-01 00:30:00 +0100"},
		// Samoa had no 30 December 2011, and Kwajalein two of 30 September 1969.
		{"30 2 * * *", "Pacific/Apia", "2011-12-29T02:30:00-10:00", "Sat 2011-12-31 00:00:00 +1400"},
		{"30 2 * * *", "Pacific/Apia", "2011-12-31T00:00:00+14:00", "Sat 2011-12-31 02:30:00 +1400"},
		{"@hourly", "Pacific/Apia", "2011-12-29T23:00:00-10:00", "Sat 2011-12-31 00:00:00 +1400"},
		{"30 2 * * *", "Pacific/Kwajalein", "1969-09-30T02:30:00+11:00", "Wed 1969-10-01 02:30:00 -1200"},
		{"30 21 * * *", "Pacific/Kwajalein", "1969-09-30T20:00:00-12:00", "Wed 1969-10-01 21:30:00 -1200"},
	}
	for _, c := range cases {
		after, err := time.Parse(time.RFC3339Nano, c.after)
		if err != nil {
			t.Fatal(err)
		}
		loc := mustZone(t, c.zone)
		got := mustSchedule(t, c.spec).Next(after.In(loc), time.Time{})
		if got.Location() != loc || got.Format(layout) != c.want {
			t.Errorf("%s in %s after %s: %s, want %s", c.spec, c.zone, c.after, got.Format(layout), c.want)
		}
	}
}

// TROUBLE 13: each zone's two days of change, with a day around them.
func TestScheduleDaylightSaving(t *testing.T) {
	type days struct{ zone, date string }
	spring := []days{{"Europe/Berlin", "2026-03-29"}, {"America/Sao_Paulo", "2018-11-04"}, {"Africa/Cairo", "2024-04-26"}, {"Australia/Lord_Howe", "2026-10-04"}}
	autumn := []days{{"Europe/Berlin", "2026-10-25"}, {"America/Sao_Paulo", "2018-02-17"}, {"Africa/Cairo", "2024-10-31"}, {"Australia/Lord_Howe", "2026-04-05"}}
	for _, d := range append(spring, autumn...) {
		loc := mustZone(t, d.zone)
		date, err := time.Parse(time.DateOnly, d.date)
		if err != nil {
			t.Fatal(err)
		}
		noon := func(day int) time.Time {
			return time.Date(date.Year(), date.Month(), date.Day()+day, 12, 0, 0, 0, loc)
		}
		start, end := noon(-2), noon(2)
		if _, before := start.Zone(); before == func() int { _, o := end.Zone(); return o }() {
			t.Fatalf("%s has no change around %s", d.zone, d.date)
		}
		for _, spec := range []string{"30 2 * * *", "0 0 * * *", "@daily", "30 1 * * *", "45 23 * * *"} {
			got := fires(mustSchedule(t, spec), start, end)
			dates := map[string]int{}
			for _, at := range got {
				dates[at.Format(time.DateOnly)]++
			}
			for date, n := range dates {
				if n != 1 {
					t.Errorf("%s %s: %d runs on %s", d.zone, spec, n, date)
				}
			}
			if len(got) != 4 {
				t.Errorf("%s %s around %s: %d runs in four days: %v", d.zone, spec, d.date, len(got), got)
			}
		}
		if d.zone == "Australia/Lord_Howe" {
			continue // the hours of its clocks do not follow elapsed time
		}
		got := fires(mustSchedule(t, "@hourly"), start, end)
		if want := int(end.Sub(start) / time.Hour); len(got) != want {
			t.Errorf("%s @hourly around %s: %d runs in %d hours", d.zone, d.date, len(got), want)
		}
		for i, at := range got {
			if want := start.Add(time.Duration(i) * time.Hour); !at.Equal(want) {
				t.Errorf("%s @hourly: %v instead of %v", d.zone, at, want)
			}
		}
	}
}

// The very instants, written out for the zones whose change is at midnight.
func TestScheduleMidnightGap(t *testing.T) {
	for _, c := range []struct {
		zone, start string
		want        []string
	}{
		{"America/Sao_Paulo", "2018-11-03T00:00:00-03:00", []string{
			"2018-11-03T00:00:00-03:00", "2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"}},
		{"America/Sao_Paulo", "2018-02-17T00:00:00-02:00", []string{
			"2018-02-17T00:00:00-02:00", "2018-02-18T00:00:00-03:00", "2018-02-19T00:00:00-03:00"}},
		{"Africa/Cairo", "2024-04-25T00:00:00+02:00", []string{
			"2024-04-25T00:00:00+02:00", "2024-04-26T01:00:00+03:00", "2024-04-27T00:00:00+03:00"}},
		{"Africa/Cairo", "2024-10-31T00:00:00+03:00", []string{
			"2024-10-31T00:00:00+03:00", "2024-11-01T00:00:00+02:00", "2024-11-02T00:00:00+02:00"}},
	} {
		start, err := time.Parse(time.RFC3339, c.start)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, at := range fires(mustSchedule(t, "0 0 * * *"), start.In(mustZone(t, c.zone)), start.Add(60*time.Hour)) {
			got = append(got, at.Format(time.RFC3339))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.zone, diff)
		}
	}
}

func TestScheduleEvery(t *testing.T) {
	s := mustSchedule(t, "@every 90m")
	at := func(clock string) time.Time {
		tm, err := time.ParseInLocation("2006-01-02 15:04:05", "2026-11-23 "+clock, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		return tm
	}
	for _, c := range []struct {
		name                string
		after, anchor, want time.Time
	}{
		{"from the last run", at("10:00:00"), at("10:00:00"), at("11:30:00")},
		{"restarted in between", at("11:00:00"), at("10:00:00"), at("11:30:00")},
		{"strictly after", at("11:30:00"), at("10:00:00"), at("13:00:00")},
		{"long off", at("18:59:59"), at("10:00:00"), at("19:00:00")},
		{"never ran", at("10:00:00"), time.Time{}, at("11:30:00")},
		{"last run in the future", at("10:00:00"), at("10:00:00").AddDate(14, 0, 0), at("11:30:00")},
		{"last run before all calendars", at("10:00:00"), time.Time{}.Add(1), time.Time{}},
	} {
		got := s.Next(c.after, c.anchor)
		if c.want.IsZero() {
			if !got.After(c.after) || got.Sub(c.after) > 90*time.Minute {
				t.Errorf("%s: %v", c.name, got)
			}
			continue
		}
		if !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// A monotonic reading would make the difference of two times too short by what the machine slept.
func TestScheduleNextHasNoMonotonicReading(t *testing.T) {
	for _, spec := range []string{"@every 90m", "@hourly", "@daily"} {
		now := time.Now()
		if next := mustSchedule(t, spec).Next(now, now); strings.Contains(next.String(), "m=") {
			t.Errorf("%s: %v", spec, next)
		}
	}
}

func zones(t testing.TB) []*time.Location {
	var all []*time.Location
	for _, name := range []string{
		"UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Africa/Cairo", "Australia/Lord_Howe", "Pacific/Apia",
		"Africa/Casablanca", "America/St_Johns", "Asia/Kathmandu", "Pacific/Kwajalein", "America/Santiago", "Europe/Dublin", "Antarctica/Troll",
	} {
		all = append(all, mustZone(t, name))
	}
	return all
}

var genInstant = rapid.Custom(func(t *rapid.T) time.Time {
	sec := rapid.Int64Range(time.Date(1968, 1, 1, 0, 0, 0, 0, time.UTC).Unix(), time.Date(2060, 1, 1, 0, 0, 0, 0, time.UTC).Unix()).Draw(t, "second")
	return time.Unix(sec, rapid.Int64Range(0, 999_999_999).Draw(t, "nanosecond"))
})

// Whatever the schedule, the zone and the instant: the next run is later, nothing lies between the two, and asking later never gives an earlier run.
func TestScheduleNextProperties(t *testing.T) {
	all := zones(t)
	field := func(min, max int) *rapid.Generator[string] {
		return rapid.OneOf(rapid.Just("*"), rapid.Map(rapid.IntRange(min, max), func(n int) string { return string(rune('0'+n/10)) + string(rune('0'+n%10)) }), rapid.SampledFrom([]string{"*/2", "*/5"}))
	}
	rapid.Check(t, func(t *rapid.T) {
		spec := strings.Join([]string{
			field(0, 59).Draw(t, "minute"), field(0, 23).Draw(t, "hour"), field(1, 28).Draw(t, "day"), field(1, 12).Draw(t, "month"), field(0, 6).Draw(t, "weekday"),
		}, " ")
		s, err := ParseSchedule(spec)
		if err != nil {
			t.Fatal(err)
		}
		loc := rapid.SampledFrom(all).Draw(t, "zone")
		after := genInstant.Draw(t, "after").In(loc)
		if rapid.Bool().Draw(t, "near a change") {
			if _, end := after.ZoneBounds(); !end.IsZero() {
				after = end.Add(time.Duration(rapid.Int64Range(-26*3600, 26*3600).Draw(t, "from the change")) * time.Second)
			}
		}
		next := s.Next(after, time.Time{})
		if !next.After(after) {
			t.Fatalf("%q: %v is not after %v", spec, next, after)
		}
		// From any instant in between, the same run is the next one.
		between := after.Add(time.Duration(rapid.Int64Range(0, int64(next.Sub(after))-1).Draw(t, "between")))
		if again := s.Next(between, time.Time{}); !again.Equal(next) {
			t.Fatalf("%q: after %v comes %v, but after %v comes %v", spec, after, next, between, again)
		}
		if later := s.Next(next, time.Time{}); !later.After(next) {
			t.Fatalf("%q: %v is not after %v", spec, later, next)
		}
	})
}

// A daily schedule runs once for every day of a year, in every zone, at its time or at the end of a gap.
func TestScheduleDailyYear(t *testing.T) {
	all := zones(t)
	rapid.Check(t, func(t *rapid.T) {
		clock := time.Duration(rapid.IntRange(0, 24*60-1).Draw(t, "minute of the day")) * time.Minute
		s, err := ParseSchedule(time.Time{}.Add(clock).Format("4 15 * * *"))
		if err != nil {
			t.Fatal(err)
		}
		loc := rapid.SampledFrom(all).Draw(t, "zone")
		year := rapid.IntRange(1995, 2050).Draw(t, "year")
		start, end := time.Date(year, 1, 1, 0, 0, 0, 0, loc), time.Date(year+1, 1, 1, 0, 0, 0, 0, loc)
		want := time.Date(year, 12, 31, 0, 0, 0, 0, time.UTC).YearDay()
		if loc.String() == "Pacific/Apia" && year == 2011 && clock == 0 {
			want-- // the midnight of the missing day and that of the next one are the same instant
		}
		got := fires(s, start, end)
		if len(got) != want {
			t.Fatalf("%q in %s: %d runs in %d", s, loc, len(got), year)
		}
		for _, at := range got {
			from, _ := at.ZoneBounds()
			if w := wall(at); w.Sub(w.Truncate(24*time.Hour)) != clock && !at.Equal(from) {
				t.Fatalf("%q ran at %v", s, at)
			}
		}
	})
}

func TestScheduleEveryProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Schedule{spec: "@every", every: time.Duration(rapid.Int64Range(60, 1e7).Draw(t, "seconds")) * time.Second}
		after, anchor := genInstant.Draw(t, "after"), genInstant.Draw(t, "anchor")
		next := s.Next(after, anchor)
		if !next.After(after) || next.Sub(after) > s.every || next.Sub(anchor)%s.every != 0 {
			t.Fatalf("every %v from %v: after %v comes %v", s.every, anchor, after, next)
		}
	})
}

func FuzzSchedule(f *testing.F) {
	for _, seed := range []string{"15 * * * *", "@every 90m", "TZ=X", ", * * * *", "0 0 31 2 *", "@", "*/2 1-5/2,7 * jan sun"} {
		f.Add(seed)
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSchedule(text)
		if err != nil {
			var value *ValueError
			if !errors.As(err, &value) || value.Msg == "" || value.Hint == "" {
				t.Fatalf("%q: %#v", text, err)
			}
			return
		}
		if next := s.Next(now, now); !next.After(now) {
			t.Fatalf("%q: %v", text, next)
		}
		if again, err := ParseSchedule(s.String()); err != nil || again != s {
			t.Fatalf("%q is written as %q: %v", text, s, err)
		}
	})
}
