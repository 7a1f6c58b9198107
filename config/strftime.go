package config

import (
	"strings"
	"time"
)

// namePart is a piece of a strftime format: a Go layout of fixed width, or literal text. Literal text
// is kept apart because a Go layout has no way to quote it: the 2 of "nas2-%Y" would become the day.
type namePart struct {
	text   string
	layout bool
}

// parseStrftime cuts a format into its parts. Only conversions whose text always has the same
// width are known, so that a name can be cut at the same places.
func parseStrftime(format string) ([]namePart, error) {
	var parts []namePart
	literal := func(s string) {
		if n := len(parts); n > 0 && !parts[n-1].layout {
			parts[n-1].text += s
		} else if s != "" {
			parts = append(parts, namePart{text: s})
		}
	}
	for {
		before, after, found := strings.Cut(format, "%")
		literal(before)
		if !found {
			return parts, nil
		}
		if after == "" {
			return nil, refuse("a percent sign is written %%", "name format ends in %%")
		}
		switch conversion := after[0]; conversion {
		case '%':
			literal("%")
		case 'F':
			parts = append(parts, layouts("2006", "-", "01", "-", "02")...)
		case 'R':
			parts = append(parts, layouts("15", ":", "04")...)
		case 'T':
			parts = append(parts, layouts("15", ":", "04", ":", "05")...)
		default:
			layout := strftimeLayout(conversion)
			if layout == "" {
				return nil, refuse("known are %Y %y %m %b %d %j %H %I %p %M %S %z, %F %T %R and %%",
					"name format has the unknown conversion %q", "%"+firstRune(after))
			}
			parts = append(parts, namePart{layout, true})
		}
		format = after[1:]
	}
}

// layouts is for the conversions that are short for others: layout, separator, layout, ….
func layouts(texts ...string) []namePart {
	parts := make([]namePart, len(texts))
	for i, text := range texts {
		parts[i] = namePart{text, i%2 == 0}
	}
	return parts
}

func strftimeLayout(conversion byte) string {
	switch conversion {
	case 'Y':
		return "2006"
	case 'y':
		return "06"
	case 'm':
		return "01"
	case 'b', 'h':
		return "Jan"
	case 'd':
		return "02"
	case 'j':
		return "002"
	case 'H':
		return "15"
	case 'I':
		return "03"
	case 'p':
		return "PM"
	case 'M':
		return "04"
	case 'S':
		return "05"
	case 'z':
		return "-0700"
	default:
		return ""
	}
}

func formatParts(parts []namePart, t time.Time) string {
	var b strings.Builder
	for _, p := range parts {
		if p.layout {
			b.WriteString(t.Format(p.text))
		} else {
			b.WriteString(p.text)
		}
	}
	return b.String()
}

// goForm gives what [time.Parse] needs to read name: the layouts alone and the pieces of name that
// stand in their places, separated by a character that no layout has.
func goForm(parts []namePart, name string) (layout, value string, ok bool) {
	var layouts, values []string
	for _, p := range parts {
		n := len(p.text)
		if len(name) < n || !p.layout && name[:n] != p.text {
			return "", "", false
		}
		if p.layout {
			layouts = append(layouts, p.text)
			values = append(values, name[:n])
		}
		name = name[n:]
	}
	return strings.Join(layouts, "|"), strings.Join(values, "|"), name == ""
}

func firstRune(s string) string {
	for _, r := range s {
		return string(r)
	}
	return ""
}
