package config

import (
	"slices"
	"time"
)

// Rate is a limit in bytes per second, which may differ by the time of day. The zero value is no limit.
type Rate struct {
	Default Size // 0: no limit
	Windows []RateWindow
	Zone    *time.Location // of the windows; nil is UTC
}

// RateWindow is a limit for a part of each day.
type RateWindow struct {
	Window
	Limit Size // 0: no limit
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
	for _, w := range r.Windows {
		if w.Holds(t) {
			return w.Limit
		}
	}
	return r.Default
}

// BytesAt is At for who does not know a Size.
func (r Rate) BytesAt(t time.Time) int64 { return int64(r.At(t)) }

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
			span, err := parseWindow(entry.key(), windowHint)
			if err != nil {
				l.refusedKey(entry, err)
				continue
			}
			w := RateWindow{Window: span}
			l.value(limit{&w.Limit})(entry)
			if i := slices.IndexFunc(r.Windows, func(other RateWindow) bool { return w.overlaps(other.Window) }); i >= 0 {
				l.fail(entry.keyPlace(), "give each time of day one rate", "%q overlaps %q", entry.key(), r.Windows[i])
				continue
			}
			r.Windows = append(r.Windows, w)
		}
	}
}
