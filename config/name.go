package config

import (
	"strings"
	"time"
	"unicode"
)

// NameFormat is how snapshots are named: a Go layout or a strftime format. The zero value is
// DefaultNameFormat in UTC; a user's own format is in local time (Config.Timezone) unless it carries
// a zone: a numeric one, or a plain Z at its end, which means UTC.
type NameFormat struct {
	written string     // as in the configuration; "" for the zero value
	parts   []namePart // a strftime format; nil for a Go layout
}

// DefaultNameFormat is UTC; sorted by name is sorted by time.
const DefaultNameFormat = "20060102T150405Z"

// maxName leaves room below the 255 bytes of a file name for "-2" and for the hidden name under
// which a copy is received.
const maxName = 240

// String is the format as written.
func (f NameFormat) String() string {
	if f.written == "" {
		return DefaultNameFormat
	}
	return f.written
}

// Equal reports whether both are written the same.
func (f NameFormat) Equal(other NameFormat) bool { return f.written == other.written }

// Format gives the name of a snapshot taken at t. It never contains '/' or NUL, is never "." or
// ".." and is at most 240 bytes (checked when the configuration is read).
func (f NameFormat) Format(t time.Time, loc *time.Location) string {
	return f.format(t.In(f.zone(loc)))
}

// Parse gives the time in a snapshot's name, which may carry the -2, -3 … of a clash, or btrbk's _1.
func (f NameFormat) Parse(name string, loc *time.Location) (t time.Time, ok bool) {
	if t, ok = f.parse(name, loc); ok {
		return t, true
	}
	base, ok := cutClash(name)
	if !ok {
		return time.Time{}, false
	}
	return f.parse(base, loc)
}

func (f NameFormat) zone(loc *time.Location) *time.Location {
	if loc == nil || strings.HasSuffix(f.String(), "Z") {
		return time.UTC
	}
	return loc
}

// parse reads a name without a clash's number.
func (f NameFormat) parse(name string, loc *time.Location) (time.Time, bool) {
	layout, value := f.String(), name
	if f.parts != nil {
		var ok bool
		if layout, value, ok = goForm(f.parts, name); !ok {
			return time.Time{}, false
		}
	}
	// Go takes more than it writes (fractions of a second, lower-case months), so what was read must
	// come out the same. In UTC: a name may hold an hour that daylight saving skips in loc.
	t, err := time.ParseInLocation(layout, value, time.UTC)
	if err != nil || f.format(t) != name {
		return time.Time{}, false
	}
	if loc = f.zone(loc); loc != time.UTC {
		if t, err = time.ParseInLocation(layout, value, loc); err != nil {
			return time.Time{}, false
		}
	}
	return t, true
}

func (f NameFormat) format(t time.Time) string {
	if f.parts != nil {
		return formatParts(f.parts, t)
	}
	return t.Format(f.String())
}

// cutClash removes the number that was added because the name was taken.
func cutClash(name string) (base string, ok bool) {
	i := strings.LastIndexAny(name, "-_")
	if i < 0 {
		return "", false
	}
	digits := name[i+1:]
	if digits == "" || digits[0] == '0' || strings.Trim(digits, "0123456789") != "" {
		return "", false
	}
	if name[i] == '-' && digits == "1" {
		return "", false // ours begin at -2, btrbk's at _1
	}
	return name[:i], true
}

const nameHint = `write a Go layout such as "20060102T150405Z" or a strftime format such as "%Y%m%d-%H%M%S"`

// UnmarshalText reads and checks a format: its names must be fit for a file, give back the
// time to the minute, and differ from one minute to the next.
func (f *NameFormat) UnmarshalText(text []byte) error {
	format := NameFormat{written: string(text)}
	if format.written == "" {
		return refuse(nameHint, "empty name format")
	}
	if strings.Contains(format.written, "MST") {
		// CST is in America, in China and in Cuba.
		return refuse(`write a zone as -0700`, "name format %q has a zone's abbreviation, which is ambiguous", text)
	}
	if strings.Contains(format.written, "%") {
		parts, err := parseStrftime(format.written)
		if err != nil {
			return err
		}
		format.parts = parts
	}
	if err := format.check(); err != nil {
		return err
	}
	*f = format
	return nil
}

func (f NameFormat) check() error {
	for _, t := range []time.Time{
		time.Date(2001, 2, 3, 16, 5, 6, 0, time.UTC),
		time.Date(2026, 9, 30, 23, 59, 59, 0, time.UTC), // the longest names of day and month
		time.Date(2028, 2, 29, 0, 0, 0, 0, time.UTC),
		time.Date(2034, 10, 9, 12, 34, 56, 0, time.UTC),
	} {
		name := f.format(t)
		if err := checkName(name); err != nil {
			return err
		}
		if f.format(t.Add(time.Minute)) == name {
			return refuse(nameHint, "name format %q gives the same name, such as %q, for more than a minute", f.written, name)
		}
		back, ok := f.parse(name, time.UTC)
		if !ok || back.Sub(t).Abs() >= time.Minute {
			return refuse(nameHint, "name format %q does not say the time in full: %q cannot be read back", f.written, name)
		}
	}
	return nil
}

func checkName(name string) error {
	switch {
	case strings.Contains(name, "/"):
		return refuse(nameHint, "snapshot names such as %q cannot contain a slash", name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return refuse(nameHint, "snapshot names such as %q cannot contain control characters", name)
	case strings.HasPrefix(name, "."):
		// A dot hides what is not complete yet.
		return refuse(nameHint, "snapshot names such as %q cannot begin with a dot", name)
	case len(name) > maxName:
		return refuse(nameHint, "snapshot names of %d bytes are too long: at most %d", len(name), maxName)
	}
	return nil
}
