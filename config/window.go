package config

import (
	"fmt"
	"strings"
	"time"
)

// Window is a part of each day: from a time of day, which belongs to it, until another one, which does not. It may go past midnight. The zero value is all day.
type Window struct {
	From, Until time.Duration // since midnight by the clock on the wall
}

// Holds reports whether what the wall clock of t's zone shows is in the window.
func (w Window) Holds(t time.Time) bool {
	return w == Window{} || w.holds(time.Duration(t.Hour())*time.Hour+time.Duration(t.Minute())*time.Minute+time.Duration(t.Second())*time.Second)
}

func (w Window) holds(clock time.Duration) bool {
	if w.From < w.Until {
		return w.From <= clock && clock < w.Until
	}
	return w.From <= clock || clock < w.Until
}

// overlaps reports whether there is a time of day in both: then the beginning of one is in the other.
func (w Window) overlaps(other Window) bool {
	return w.holds(other.From) || other.holds(w.From)
}

// String is the window as the configuration writes it.
func (w Window) String() string {
	if w == (Window{}) {
		return ""
	}
	text := func(d time.Duration) string { return fmt.Sprintf("%02d:%02d", d/time.Hour, d%time.Hour/time.Minute) }
	return text(w.From) + "-" + text(w.Until)
}

// UnmarshalText reads a window.
func (w *Window) UnmarshalText(text []byte) error {
	parsed, err := parseWindow(string(text), `write from and until, such as "22:00-06:00"`)
	if err == nil {
		*w = parsed
	}
	return err
}

func parseWindow(text, hint string) (w Window, err error) {
	from, until, _ := strings.Cut(text, "-")
	var good, good2 bool
	w.From, good = clockTime(from)
	w.Until, good2 = clockTime(until)
	if until == "24:00" {
		w.Until, good2 = 24*time.Hour, true
	}
	if !good || !good2 || w.From == w.Until {
		return w, refuse(hint, "bad time of day %q", text)
	}
	return w, nil
}

// clockTime is a time of day, written 06:00.
func clockTime(text string) (time.Duration, bool) {
	t, err := time.Parse("15:04", text)
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, err == nil && len(text) == len("15:04")
}
