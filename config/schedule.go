package config

import (
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule is when a job runs: robfig/cron's five fields and @descriptors.
//
// The zero value never fires. Schedules can be compared with ==.
type Schedule struct {
	spec   string
	every  time.Duration     // of @every; else 0
	fields cron.SpecSchedule // of all others; in UTC, because it is only asked about wall clocks
}

// hourStar is the bit that cron sets in a field written as `*` (or `?`, or `*/1`).
const hourStar = 1 << 63

// shortestEvery keeps a job from doing nothing but run: below a minute, a snapshot costs more than it saves.
const shortestEvery = time.Minute

// ParseSchedule reads a schedule as it is written in the configuration. The error is a [*ValueError].
func ParseSchedule(text string) (Schedule, error) {
	words := strings.Fields(text)
	s := Schedule{spec: strings.Join(words, " ")}
	if s.IsZero() {
		return Schedule{}, refuse("leave the key out for a job that runs only by `btrkeep run`", "the schedule is empty")
	}
	// cron would load the zone, and panics when nothing follows it.
	if strings.HasPrefix(s.spec, "TZ=") || strings.HasPrefix(s.spec, "CRON_TZ=") {
		return Schedule{}, refuse(`set timezone = "…" at the top of the file; it holds for every job`,
			"schedule %q: a time zone has no place in a schedule", s.spec)
	}
	var err error
	if strings.HasPrefix(s.spec, "@") {
		err = s.parseDescriptor()
	} else {
		err = s.parseFields(words)
	}
	if err != nil {
		return Schedule{}, err
	}
	return s, nil
}

// UnmarshalText is [ParseSchedule].
func (s *Schedule) UnmarshalText(text []byte) error {
	parsed, err := ParseSchedule(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}

func (s *Schedule) parseDescriptor() error {
	if s.spec == "@reboot" {
		return refuse("name the times it should run at; with catch_up, a run that was missed while the machine was off is made soon after it is back",
			"schedule %q: btrkeep knows no schedule by boots", s.spec)
	}
	if name, span, _ := strings.Cut(s.spec, " "); name == "@every" {
		return s.parseEvery(span)
	}
	parsed, err := parse(s.spec)
	fields, ok := parsed.(*cron.SpecSchedule)
	if err != nil || !ok {
		return refuse("there are @hourly, @daily, @weekly, @monthly, @yearly and @every 90m", "schedule %q: unknown name", s.spec)
	}
	s.setFields(fields)
	return nil
}

func (s *Schedule) parseEvery(span string) error {
	parsed, err := parse("@every " + span)
	constant, ok := parsed.(cron.ConstantDelaySchedule)
	if err != nil || !ok {
		return refuse("write for example @every 90m or @every 1h30m; the longest unit is the hour, two days are @every 48h",
			"schedule %q: %q is not a time span", s.spec, span)
	}
	if constant.Delay < shortestEvery {
		return refuse("write @every 1m or more", "schedule %q: that is too often", s.spec)
	}
	s.every = constant.Delay
	return nil
}

func (s *Schedule) parseFields(words []string) error {
	const order = "five fields: minute hour day-of-month month day-of-week, for example `15 * * * *` or `30 2 * * mon-fri`; or a name such as @daily"
	fields := [...]struct{ name, values string }{
		{"minute", "minutes are 0 to 59"},
		{"hour", "hours are 0 to 23"},
		{"day-of-month", "days of the month are 1 to 31"},
		{"month", "months are 1 to 12 or jan to dec"},
		{"day-of-week", "days of the week are 0 (Sunday) to 6 or sun to sat"},
	}
	if len(words) != len(fields) {
		return refuse(order, "schedule %q: %d fields instead of 5", s.spec, len(words))
	}
	for i, word := range words {
		// One at a time, because cron's own errors do not say which field is meant.
		alone := []string{"*", "*", "*", "*", "*"}
		alone[i] = word
		if _, err := parse(strings.Join(alone, " ")); err != nil || strings.Trim(word, ",") == "" {
			return refuse(fields[i].values+"; a field is *, a number, a range 1-5, a step */2, or a list of these: 1,3,5",
				"schedule %q: the %s field cannot be %q", s.spec, fields[i].name, word)
		}
	}
	parsed, err := parse(s.spec)
	spec, ok := parsed.(*cron.SpecSchedule)
	if err != nil || !ok {
		return refuse(order, "schedule %q cannot be read", s.spec)
	}
	s.setFields(spec)
	// Whatever fires at all does so within the four years from one leap day to the next.
	if s.fields.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return refuse("none of its months has such a day", "schedule %q never fires", s.spec)
	}
	return nil
}

func (s *Schedule) setFields(fields *cron.SpecSchedule) {
	s.fields = *fields
	s.fields.Location = time.UTC
}

func parse(spec string) (cron.Schedule, error) {
	return cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor).Parse(spec)
}

// String is the schedule as written, with single spaces.
func (s Schedule) String() string { return s.spec }

// IsZero reports whether no schedule was given.
func (s Schedule) IsZero() bool { return s.spec == "" }

// Equal reports whether both are written the same.
func (s Schedule) Equal(other Schedule) bool { return s == other }

// Next returns the first time after `after` at which the schedule fires, evaluated
// on the wall clock of after's location. anchor is the stored last run, which
// `@every` counts from (zero: after). A wall-clock time that daylight saving skips fires at the
// instant of the skip; one that comes twice fires at its first occurrence only,
// except where the hour field is a plain `*`, which follows elapsed time.
// It returns the zero time for the zero Schedule.
//
// An anchor later than after, left by a clock that was wrong, does not put the next run off by more than one period.
func (s Schedule) Next(after, anchor time.Time) time.Time {
	after = after.Round(0) // the wall clock is what counts: the monotonic one stands still while the machine sleeps
	switch {
	case s.IsZero():
		return time.Time{}
	case s.every > 0:
		if anchor.IsZero() {
			return after.Add(s.every)
		}
		since := after.Sub(anchor) % s.every
		if since < 0 {
			since += s.every
		}
		return after.Add(s.every - since)
	case s.fields.Hour&hourStar != 0:
		return nextElapsed(after, s.nextDigits)
	default:
		return nextWall(after, s.nextDigits)
	}
}

// nextDigits is the first match after w, a wall clock's digits written as a time in UTC.
func (s Schedule) nextDigits(w time.Time) time.Time {
	next := s.fields.Next(w)
	for next.IsZero() { // cron looks only five years ahead, and around 2100 leap days are eight years apart
		w = w.AddDate(4, 0, 0)
		next = s.fields.Next(w)
	}
	return next
}
