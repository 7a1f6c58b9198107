package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rate is a limit in bytes per second, which may differ by the time of day. The zero value is no limit.
type Rate struct {
	Default Size // 0: no limit
	Windows []RateWindow
	Zone    *time.Location // of the windows; nil is UTC
}

// RateWindow is a limit from a time of day, which belongs to it, until another one, which does not. It may go past midnight.
type RateWindow struct {
	From, Until time.Duration // since midnight by the clock on the wall
	Limit       Size          // 0: no limit
}

// IsZero reports whether there is no limit at any time.
func (r Rate) IsZero() bool {
	return r.Default == 0 && !slices.ContainsFunc(r.Windows, func(w RateWindow) bool { return w.Limit != 0 })
}

// At is the limit at a time, in bytes per second; 0 is none.
func (r Rate) At(t time.Time) Size {
	if len(r.Windows) == 0 {
		return r.Default
	}
	zone := r.Zone
	if zone == nil {
		zone = time.UTC
	}
	t = t.In(zone)
	clock := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second
	for _, w := range r.Windows {
		if w.holds(clock) {
			return w.Limit
		}
	}
	return r.Default
}

// BytesAt is At for who does not know a Size.
func (r Rate) BytesAt(t time.Time) int64 { return int64(r.At(t)) }

func (w RateWindow) holds(clock time.Duration) bool {
	if w.From < w.Until {
		return w.From <= clock && clock < w.Until
	}
	return w.From <= clock || clock < w.Until
}

// String is the window as the configuration writes it.
func (w RateWindow) String() string {
	text := func(d time.Duration) string { return fmt.Sprintf("%02d:%02d", d/time.Hour, d%time.Hour/time.Minute) }
	return text(w.From) + "-" + text(w.Until)
}

const (
	rateHint   = `write bytes per second such as "50M", "none", or by time of day { default = "10M", "22:00-06:00" = "none" }`
	windowHint = `write from and until as "22:00-06:00"; what is outside of all of them is the default`
)

// limit is a Size, or none.
type limit struct{ size *Size }

func (l limit) UnmarshalText(text []byte) error {
	if string(text) == "none" {
		*l.size = 0
		return nil
	}
	if err := l.size.UnmarshalText(text); err != nil {
		return refuse(rateHint, "bad rate %q", text)
	}
	if *l.size == 0 {
		return refuse(`write "none" for no limit`, "a rate cannot be 0")
	}
	return nil
}

func parseWindow(text string) (w RateWindow, err error) {
	from, until, _ := strings.Cut(text, "-")
	var good, good2 bool
	w.From, good = clockTime(from)
	w.Until, good2 = clockTime(until)
	if until == "24:00" {
		w.Until, good2 = 24*time.Hour, true
	}
	if !good || !good2 || w.From == w.Until {
		return w, refuse(windowHint, "bad time of day %q", text)
	}
	return w, nil
}

// clockTime is a time of day, written 06:00.
func clockTime(text string) (time.Duration, bool) {
	t, err := time.Parse("15:04", text)
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, err == nil && len(text) == len("15:04")
}

// rate reads a limit, or a table of them.
func (l *loader) rate(r *Rate) func(node) {
	return func(n node) {
		*r = Rate{}
		if _, ok := n.value.(map[string]any); !ok {
			if _, text := n.value.(string); !text {
				l.wrongType(n, "a text or a table", rateHint)
				return
			}
			l.value(limit{&r.Default})(n)
			return
		}
		for _, entry := range l.entries(n) {
			if entry.key() == "default" {
				l.value(limit{&r.Default})(entry)
				continue
			}
			w, err := parseWindow(entry.key())
			if err != nil {
				l.refusedKey(entry, err)
				continue
			}
			l.value(limit{&w.Limit})(entry)
			if i := slices.IndexFunc(r.Windows, w.overlaps); i >= 0 {
				l.fail(entry.keyPlace(), "give each time of day one rate", "%q overlaps %q", entry.key(), r.Windows[i])
				continue
			}
			r.Windows = append(r.Windows, w)
		}
	}
}

// overlaps reports whether there is a time of day in both: then the beginning of one is in the other.
func (w RateWindow) overlaps(other RateWindow) bool {
	return w.holds(other.From) || other.holds(w.From)
}
