package jobs_test

import (
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/jobs"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Skip(err)
	}
	return z
}

func TestParseWhen(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	const monday, shiftDay, springDay, leapYear = "2026-11-23T11:56:30+01:00", "2026-10-25T12:00:00+01:00", "2026-03-29T12:00:00+02:00", "2028-03-31T12:00:00+02:00"
	for _, c := range []struct{ text, now, want string }{
		{"now", monday, monday},
		{" NOW ", monday, monday},
		{"2 hours ago", monday, "2026-11-23T09:56:30+01:00"},
		{"90m ago", monday, "2026-11-23T10:26:30+01:00"},
		{"90 Min AGO", monday, "2026-11-23T10:26:30+01:00"},
		{"1d12h ago", monday, "2026-11-21T23:56:30+01:00"},
		{"an hour ago", monday, "2026-11-23T10:56:30+01:00"},
		{"3d ago", monday, "2026-11-20T11:56:30+01:00"},
		{"a week ago", monday, "2026-11-16T11:56:30+01:00"},
		{"a week and 3 days ago", monday, "2026-11-13T11:56:30+01:00"},
		{"1 hour 30 minutes 5s ago", monday, "2026-11-23T10:26:25+01:00"},
		{"1year ago", monday, "2025-11-23T11:56:30+01:00"},
		{"a month ago", leapYear, "2028-02-29T12:00:00+01:00"},
		{"13 months ago", leapYear, "2027-02-28T12:00:00+01:00"},

		{"yesterday", monday, "2026-11-22T23:59:59.999999999+01:00"},
		{"Yesterday 18:00", monday, "2026-11-22T18:00:00+01:00"},
		{"yesterday at 18:00", monday, "2026-11-22T18:00:00+01:00"},
		{"today", monday, "2026-11-23T23:59:59.999999999+01:00"},
		{"today 06:30", monday, "2026-11-23T06:30:00+01:00"},
		{"today 6:30", monday, "2026-11-23T06:30:00+01:00"},
		{"today 18:00", monday, "2026-11-23T18:00:00+01:00"},
		{"11:00", monday, "2026-11-23T11:00:00+01:00"},
		{"18:00", monday, "2026-11-22T18:00:00+01:00"},
		{"11:56:30", monday, monday},
		{"11:56:31", monday, "2026-11-22T11:56:31+01:00"},

		{"monday", monday, "2026-11-23T23:59:59.999999999+01:00"},
		{"monday 09:00", monday, "2026-11-23T09:00:00+01:00"},
		{"monday 18:00", monday, "2026-11-16T18:00:00+01:00"},
		{"last monday 09:00", monday, "2026-11-16T09:00:00+01:00"},
		{"last monday", monday, "2026-11-16T23:59:59.999999999+01:00"},
		{"tue", monday, "2026-11-17T23:59:59.999999999+01:00"},
		{"Sunday", monday, "2026-11-22T23:59:59.999999999+01:00"},
		{"last sun 00:00", monday, "2026-11-22T00:00:00+01:00"},

		{"2026-11-20", monday, "2026-11-20T23:59:59.999999999+01:00"},
		{"2026-11-20 18:00", monday, "2026-11-20T18:00:00+01:00"},
		{"2026-11-20 18:00:05", monday, "2026-11-20T18:00:05+01:00"},
		{"2026-11-20t18:00", monday, "2026-11-20T18:00:00+01:00"},
		{"2026-11-20T18:00:05Z", monday, "2026-11-20T19:00:05+01:00"},
		{"2026-11-20t18:00:05.5+05:30", monday, "2026-11-20T13:30:05.5+01:00"},
		{"2026-11-20 18:00:05z", monday, "2026-11-20T19:00:05+01:00"},

		// 02:00 to 03:00 came twice on 25 October and never on 29 March.
		{"02:30", shiftDay, "2026-10-25T02:30:00+02:00"},
		{"yesterday", shiftDay, "2026-10-24T23:59:59.999999999+02:00"},
		{"today", shiftDay, "2026-10-25T23:59:59.999999999+01:00"},
		{"a day ago", shiftDay, "2026-10-24T12:00:00+02:00"},
		{"24h ago", shiftDay, "2026-10-24T13:00:00+02:00"},
		{"02:30", springDay, "2026-03-29T03:00:00+02:00"},
		{"01:59:59", springDay, "2026-03-29T01:59:59+01:00"},
		{"03:00", springDay, "2026-03-29T03:00:00+02:00"},
		{"2 days ago", "2026-03-31T02:30:00+02:00", "2026-03-29T03:00:00+02:00"},
	} {
		now, err := time.Parse(time.RFC3339, c.now)
		must(t, err)
		got, err := jobs.ParseWhen(c.text, now, berlin)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if s := got.Format(time.RFC3339Nano); s != c.want {
			t.Errorf("%q at %s: %s, want %s", c.text, c.now, s, c.want)
		}
	}
}

// TestParseWhenOddZones: midnight skipped, midnight twice, a whole day skipped.
func TestParseWhenOddZones(t *testing.T) {
	for _, c := range []struct{ zone, text, want string }{
		{"America/Sao_Paulo", "2018-11-03", "2018-11-03T23:59:59.999999999-03:00"}, // 00:00 on the 4th did not come
		{"America/Sao_Paulo", "2018-11-04 00:30", "2018-11-04T01:00:00-02:00"},
		{"America/Sao_Paulo", "2018-02-17", "2018-02-17T23:59:59.999999999-03:00"}, // 23:00 on the 17th came twice
		{"Pacific/Apia", "2011-12-30", "2011-12-29T23:59:59.999999999-10:00"},
		{"Pacific/Apia", "2011-12-30 12:00", "2011-12-31T00:00:00+14:00"},
		{"Asia/Kolkata", "2026-11-20 05:29", "2026-11-20T05:29:00+05:30"},
		{"UTC", "2028-12-31", "2028-12-31T23:59:59.999999999Z"},
	} {
		got, err := jobs.ParseWhen(c.text, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), zone(t, c.zone))
		must(t, err)
		if s := got.Format(time.RFC3339Nano); s != c.want {
			t.Errorf("%s %q: %s, want %s", c.zone, c.text, s, c.want)
		}
	}
}

func TestParseWhenRefuses(t *testing.T) {
	now := time.Date(2026, 11, 23, 11, 56, 0, 0, time.UTC)
	for _, text := range []string{
		"", " ", "ago", "a ago", "2 ago", "hours ago", "2h", "90", "soon", "-2 hours ago", "2 fortnights ago", "2 hours", "1.5h ago", "2 hours and ago",
		"tomorrow", "last", "last week", "last today", "yesterday yesterday", "yesterday 25:00", "yesterday at", "at 18:00", "18:00 18:00", "6pm", "18",
		"2026-02-30", "2026-13-01", "20261120", "2026-11-20 18:00 UTC", "20261120T180000Z", "20261120T180000Z-2", "2026-11-20T", "t", "2026-11-20T18:00:05Zz",
		"99999999999999999999s ago", "99999999999 hours ago", "9223372036s 9223372036s ago", "3000 years ago", "999999999d ago", "1000000000 months ago",
	} {
		got, err := jobs.ParseWhen(text, now, time.UTC)
		if err == nil {
			t.Errorf("%q: %s", text, got)
		} else if jobs.Hint(err) == "" {
			t.Errorf("%q: no hint: %v", text, err)
		}
	}
}

func TestAtOrBefore(t *testing.T) {
	at := func(minutes ...int) (times []time.Time) {
		for _, m := range minutes {
			times = append(times, time.Date(2026, 11, 23, 11, m, 0, 0, time.UTC))
		}
		return times
	}
	for _, c := range []struct {
		times []time.Time
		when  int
		want  int
	}{
		{nil, 5, -1},
		{at(6, 7), 5, -1},
		{at(1, 5, 9), 5, 1},
		{at(1, 4, 9), 5, 1},
		{at(9, 4, 1), 5, 1},
		{at(4, 4, 9), 5, 1},
		{at(1, 2, 3), 59, 2},
	} {
		if got := jobs.AtOrBefore(c.times, at(c.when)[0]); got != c.want {
			t.Errorf("%v at %d: %d, want %d", c.times, c.when, got, c.want)
		}
	}
}

// FuzzParseWhen: whatever is written, there is a time that can be printed, or an error with a hint.
func FuzzParseWhen(f *testing.F) {
	for _, s := range []string{"now", "2 hours ago", "1d12h ago", "a month and 3 days ago", "yesterday 18:00", "last mon 09:00", "2026-11-20T18:00:05+01:00", "18:00:05"} {
		f.Add(s, int64(1795434990))
	}
	berlin := zone(f, "Europe/Berlin")
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		now := time.Unix(unix%(1<<33), 0)
		got, err := jobs.ParseWhen(text, now, berlin)
		if err != nil {
			if jobs.Hint(err) == "" {
				t.Errorf("%q: no hint: %v", text, err)
			}
			return
		}
		back, err := time.Parse(time.RFC3339Nano, got.Format(time.RFC3339Nano))
		if err != nil || !back.Equal(got) {
			t.Errorf("%q: %s is read as %s: %v", text, got, back, err)
		}
	})
}
