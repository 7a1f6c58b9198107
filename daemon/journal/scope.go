package journal

import (
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// field is one attribute, flat: the groups that it is in are part of its name.
type field struct {
	name  string
	value slog.Value // resolved, never a group
}

// text is the value as it is printed.
func (f field) text() string {
	switch f.value.Kind() {
	case slog.KindTime:
		return f.value.Time().Format(time.RFC3339)
	case slog.KindAny:
		if err, ok := f.value.Any().(error); ok {
			return err.Error()
		}
		return fmt.Sprint(f.value.Any())
	default:
		return f.value.String()
	}
}

// scope is what WithAttrs and WithGroup gathered. The zero value is empty; a scope is never changed.
type scope struct {
	fields []field
	group  string // prefix of names to come, with its "_"
}

func (s scope) withAttrs(attrs []slog.Attr) scope {
	s.fields = slices.Clip(s.fields)
	for _, a := range attrs {
		s.fields = flatten(s.fields, s.group, a)
	}
	return s
}

func (s scope) withGroup(name string) scope {
	if name != "" {
		s.group += name + "_"
	}
	return s
}

// all are the fields of a record within the scope.
func (s scope) all(r slog.Record) []field {
	fields := slices.Clip(s.fields)
	r.Attrs(func(a slog.Attr) bool {
		fields = flatten(fields, s.group, a)
		return true
	})
	return fields
}

// flatten adds an attribute by slog's rules: empty ones are left out, a group without a name is inlined.
func flatten(fields []field, prefix string, a slog.Attr) []field {
	value := a.Value.Resolve()
	switch {
	case value.Kind() == slog.KindGroup:
		if a.Key != "" {
			prefix += a.Key + "_"
		}
		for _, member := range value.Group() {
			fields = flatten(fields, prefix, member)
		}
	case !a.Equal(slog.Attr{}) && a.Key != "":
		fields = append(fields, field{prefix + a.Key, value})
	}
	return fields
}
