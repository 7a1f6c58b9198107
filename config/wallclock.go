package config

import "time"

// The functions here let cron's Next, which is wrong around changes of daylight saving, look only at
// the digits of wall clocks, written as times in UTC, where nothing is skipped and nothing comes twice.

// wall is what a clock on the wall shows at t, as a time in UTC.
func wall(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// offsetUntil is a time up to which the offset at t holds, later than t; zero: for ever.
func offsetUntil(t time.Time) time.Time {
	_, end := t.ZoneBounds()
	if !end.IsZero() && !end.After(t) {
		// Where a zone's table has ended and its rule goes on, Go takes every year for one of 365 days,
		// so that on the last day of a leap year the end is past already. That rule knows no change then.
		end = time.Date(t.UTC().Year()+1, 1, 1, 0, 0, 0, 0, time.UTC).In(t.Location())
	}
	return end
}

// nextElapsed is the first instant after t whose wall-clock digits are ones that next gives: skipped
// digits never come, those that come twice count twice. So `0 * * * *` follows elapsed time, except that
// where daylight saving moves by half an hour (Lord Howe) two runs are 30 or 90 minutes apart.
func nextElapsed(t time.Time, next func(wall time.Time) time.Time) time.Time {
	from := wall(t)
	for {
		_, offset := t.Zone()
		end := offsetUntil(t)
		at := next(from).Add(-time.Duration(offset) * time.Second)
		if end.IsZero() || at.Before(end) {
			return at.In(t.Location())
		}
		t = end
		from = wall(end).Add(-time.Second) // so that the first second of the new period is looked at
	}
}

// nextWall is the first instant after t at which the wall clock reaches, for the first time, digits that
// next gives. Skipped digits are reached at the instant of the skip.
func nextWall(t time.Time, next func(wall time.Time) time.Time) time.Time {
	// What the clock showed at its furthest. After it was set back, that is more than it shows now.
	furthest := wall(t)
	start, _ := t.ZoneBounds()
	for !start.IsZero() && t.Sub(start) < 2*24*time.Hour { // no zone was ever set back by more than a day
		before := start.Add(-time.Second)
		if w := wall(before); w.After(furthest) {
			furthest = w
		}
		start, _ = before.ZoneBounds()
	}
	return firstReached(next(furthest), t.Location())
}

// firstReached is the first instant at which the wall clock of loc shows w or later.
func firstReached(w time.Time, loc *time.Location) time.Time {
	t := w.Add(-24 * time.Hour).In(loc) // no zone is a day away from UTC, so that the clock has not reached w then
	for {
		_, offset := t.Zone()
		end := offsetUntil(t)
		at := w.Add(-time.Duration(offset) * time.Second)
		if at.Before(t) { // w was skipped when this period began
			return t
		}
		if end.IsZero() || at.Before(end) {
			return at.In(loc)
		}
		t = end
	}
}
