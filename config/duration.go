package config

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span written with units s m h d w, largest first: "90s", "1d12h".
// A bare number is refused: its unit would be a guess.
type Duration time.Duration

const durationHint = `write a number with its unit s, m, h, d or w, such as "90s", "15m" or "1d12h"`

type unit struct {
	name string
	span time.Duration
}

// durationUnits are from large to small. A day is 24 hours, whatever daylight saving does.
func durationUnits() []unit {
	const day = 24 * time.Hour
	return []unit{{"w", 7 * day}, {"d", day}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
}

// UnmarshalText reads a duration as the configuration writes it.
func (d *Duration) UnmarshalText(text []byte) error {
	rest := string(text)
	if rest == "" {
		return refuse(durationHint, "empty duration")
	}
	units := durationUnits()
	var total int64
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if digits == 0 {
			return refuse(durationHint, "bad duration %q", text)
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil {
			return refuse("write at most 106751d, which is 292 years", "duration %q is too long", text)
		}
		rest = rest[digits:]
		if rest == "" {
			return refuse(durationHint, "duration %q has no unit", text)
		}
		i := 0
		for i < len(units) && !strings.HasPrefix(rest, units[i].name) {
			i++
		}
		if i == len(units) {
			return refuse(durationHint, "bad duration %q", text)
		}
		span := int64(units[i].span)
		if n > (math.MaxInt64-total)/span {
			return refuse("write at most 106751d, which is 292 years", "duration %q is too long", text)
		}
		total += n * span
		rest = rest[len(units[i].name):]
		units = units[i+1:]
	}
	*d = Duration(total)
	return nil
}

// UnmarshalTOML is UnmarshalText with a message of its own for a number, which TOML tells from a text.
func (d *Duration) UnmarshalTOML(value any) error {
	switch v := value.(type) {
	case string:
		return d.UnmarshalText([]byte(v))
	case int64, float64:
		return refuse(durationHint, "a duration cannot be the bare number %v", v)
	default:
		return refuse(durationHint, "a duration cannot be %s", typeName(value))
	}
}

// String is the duration as the configuration writes it; weeks come out as days.
func (d Duration) String() string {
	rest := time.Duration(d)
	if rest <= 0 || rest%time.Second != 0 {
		return rest.String()
	}
	var b strings.Builder
	for _, u := range durationUnits()[1:] {
		if n := rest / u.span; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10))
			b.WriteString(u.name)
			rest %= u.span
		}
	}
	return b.String()
}
