package jobs

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

const whenHint = `write a snapshot's name, or a time such as "2 hours ago", "3d ago", "yesterday 18:00", "18:00", "last monday 09:00", "2026-11-20", "2026-11-20 18:00" or 2026-11-20T18:00:00Z`

// ParseWhen reads a time as people write it, however the letters are cased: "now", "90m ago", "a week ago", "18:00", "today 06:30", "yesterday",
// "monday", "last monday 09:00", "2026-11-20 18:00:05", RFC 3339. What does not name a zone is meant in zone.
//
// It is for the state at a time, so a day without a time means its end, and what could be today or earlier is the newest that is not after now:
// 18:00 is yesterday's as long as today's is to come, monday is today on a Monday. "last monday" is never today. Seconds, minutes and hours ago have
// elapsed; days, weeks, months and years ago are days of the calendar at the same time of day, the last of the month where it is too short. Where daylight
// saving skips a time, the instant of the skip is meant; where it repeats one, the first.
//
// The name of a snapshot is no time, though it may look like one: the caller has tried it before, and to take a time for it would give the state
// of another one without a word.
func ParseWhen(text string, now time.Time, zone *time.Location) (time.Time, error) {
	now = now.In(zone)
	words := strings.Fields(strings.ToLower(text))
	plain := strings.Join(words, " ")
	if plain == "now" {
		return now, nil
	}
	if t, err := time.Parse(time.RFC3339, strings.ToUpper(strings.Replace(plain, " ", "T", 1))); err == nil {
		return t.In(zone), nil
	}
	var t time.Time
	var ok bool
	if n := len(words); n > 1 && words[n-1] == "ago" {
		t, ok = ago(words[:n-1], now)
	} else {
		t, ok = momentOf(words, now)
	}
	if !ok {
		return time.Time{}, hintf(whenHint, "%q is no time that can be understood", text)
	}
	return t, nil
}

// AtOrBefore gives the index of the newest of times that is not after when, the last of several; -1 if all are after it.
func AtOrBefore(times []time.Time, when time.Time) int {
	best := -1
	for i, t := range times {
		if !t.After(when) && (best < 0 || !t.Before(times[best])) {
			best = i
		}
	}
	return best
}

// momentOf reads a day, a time of day, or both.
func momentOf(words []string, now time.Time) (time.Time, bool) {
	if len(words) == 1 { // ISO 8601 without a zone
		if date, clock, ok := strings.Cut(words[0], "t"); ok && strings.Contains(date, "-") {
			words = []string{date, clock}
		}
	}
	today := digits(now).Truncate(24 * time.Hour)
	if len(words) == 1 {
		if clock, ok := timeOfDay(words[0]); ok {
			if t := reached(today.Add(clock), now.Location()); !t.After(now) {
				return t, true
			}
			return reached(today.AddDate(0, 0, -1).Add(clock), now.Location()), true
		}
	}
	day, back, words, ok := dayOf(words, today)
	if !ok {
		return time.Time{}, false
	}
	if len(words) > 1 && words[0] == "at" {
		words = words[1:]
	}
	switch len(words) {
	case 0:
		return reached(day.AddDate(0, 0, 1), now.Location()).Add(-1), true
	case 1:
		clock, ok := timeOfDay(words[0])
		t := reached(day.Add(clock), now.Location())
		if back && t.After(now) {
			t = reached(day.AddDate(0, 0, -7).Add(clock), now.Location())
		}
		return t, ok
	}
	return time.Time{}, false
}

// dayOf reads a day and gives the words after it. With back, a week earlier is meant if the time of day is still to come.
func dayOf(words []string, today time.Time) (day time.Time, back bool, rest []string, ok bool) {
	if len(words) == 0 {
		return time.Time{}, false, nil, false
	}
	switch words[0] {
	case "today":
		return today, false, words[1:], true
	case "yesterday":
		return today.AddDate(0, 0, -1), false, words[1:], true
	case "last":
		if len(words) > 1 {
			if d, ok := weekday(words[1]); ok {
				return today.AddDate(0, 0, -1-int(today.Weekday()-d+6)%7), false, words[2:], true
			}
		}
	}
	if d, ok := weekday(words[0]); ok {
		return today.AddDate(0, 0, -int(today.Weekday()-d+7)%7), true, words[1:], true
	}
	day, err := time.Parse(time.DateOnly, words[0])
	return day, false, words[1:], err == nil
}

func weekday(word string) (time.Weekday, bool) {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if name := strings.ToLower(d.String()); word == name || word == name[:3] {
			return d, true
		}
	}
	return 0, false
}

func timeOfDay(word string) (time.Duration, bool) {
	for _, layout := range []string{"15:04", time.TimeOnly} {
		if t, err := time.Parse(layout, word); err == nil {
			return t.Sub(t.Truncate(24 * time.Hour)), true
		}
	}
	return 0, false
}

// ago reads a span: "2 hours", "1d12h", "a week and 3 days".
func ago(words []string, now time.Time) (time.Time, bool) {
	var months, days int
	var elapsed time.Duration
	for len(words) > 0 {
		n, unit, rest, ok := span(words)
		if !ok {
			return time.Time{}, false
		}
		const most = 1_000_000 // of days: beyond the year 1 already
		switch d, m, e := unitOf(unit); {
		case e > 0 && n <= int64((math.MaxInt64-elapsed)/e):
			elapsed += time.Duration(n) * e
		case d > 0 && n <= most:
			days += int(n) * d
		case m > 0 && n <= most:
			months += int(n) * m
		default:
			return time.Time{}, false
		}
		if days > most || months > most {
			return time.Time{}, false
		}
		words = rest
		if len(words) > 1 && words[0] == "and" {
			words = words[1:]
		}
	}
	t := now
	if months > 0 || days > 0 {
		w := digits(now)
		first := w.AddDate(0, -months, 1-w.Day()) // of the month, which is never too short
		last := first.AddDate(0, 1, -1).Day()
		t = reached(first.AddDate(0, 0, min(w.Day(), last)-1-days), now.Location())
	}
	t = t.Add(-elapsed)
	return t, t.Year() > 0
}

// span reads one number and unit: of a word, of two, or the first of a word of several.
func span(words []string) (n int64, unit string, rest []string, ok bool) {
	count := strings.TrimLeft(words[0], "0123456789")
	number := words[0][:len(words[0])-len(count)]
	switch {
	case number == "" && (count == "a" || count == "an"):
		number, words = "1", words[1:]
	case number == "":
		return 0, "", nil, false
	case count == "":
		words = words[1:]
	default:
		words = slices.Concat([]string{count}, words[1:])
	}
	if len(words) == 0 {
		return 0, "", nil, false
	}
	n, err := strconv.ParseInt(number, 10, 64)
	end := strings.IndexAny(words[0], "0123456789")
	if end < 0 {
		return n, words[0], words[1:], err == nil
	}
	return n, words[0][:end], slices.Concat([]string{words[0][end:]}, words[1:]), err == nil
}

// unitOf gives what a unit consists of: days or months of the calendar, or time that elapses.
func unitOf(unit string) (days, months int, elapsed time.Duration) {
	switch unit {
	case "s", "sec", "secs", "second", "seconds":
		return 0, 0, time.Second
	case "m", "min", "mins", "minute", "minutes":
		return 0, 0, time.Minute
	case "h", "hour", "hours":
		return 0, 0, time.Hour
	case "d", "day", "days":
		return 1, 0, 0
	case "w", "week", "weeks":
		return 7, 0, 0
	case "month", "months":
		return 0, 1, 0
	case "y", "year", "years":
		return 0, 12, 0
	}
	return 0, 0, 0
}

// digits is what a clock on the wall shows at t, as a time in UTC, where nothing is skipped and nothing comes twice.
func digits(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// reached is the instant at which the wall clock of zone first shows w, or skips it.
func reached(w time.Time, zone *time.Location) time.Time {
	// No zone is a day away from UTC, so these are a time before w is shown and one after.
	_, before := w.Add(-24 * time.Hour).In(zone).Zone()
	_, after := w.Add(24 * time.Hour).In(zone).Zone()
	late := w.Add(-time.Duration(min(before, after)) * time.Second).In(zone)
	early := w.Add(-time.Duration(max(before, after)) * time.Second).In(zone)
	switch {
	case digits(early).Equal(w):
		return early
	case digits(late).Equal(w):
		return late
	}
	skip, _ := late.ZoneBounds()
	return skip.In(zone)
}
