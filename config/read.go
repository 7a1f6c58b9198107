package config

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// fields are the keys of a table, each with what reads it.
type fields map[string]func(node)

// maxMistakes is where reading ends: such a file is not a configuration with slips in it.
const maxMistakes = 100

func (l *loader) fail(at place, hint, format string, args ...any) {
	l.errors = append(l.errors, at.mistake(fmt.Sprintf(format, args...), hint))
}

func (l *loader) warn(at place, format string, args ...any) {
	l.warnings = append(l.warnings, at.mistake(fmt.Sprintf(format, args...), ""))
}

// refused reports what a value says of itself, at the value.
func (l *loader) refused(n node, err error) {
	var refusal *ValueError
	switch {
	case err == nil:
	case errors.As(err, &refusal):
		l.fail(n.valuePlace(), refusal.Hint, "%s", refusal.Msg)
	default:
		l.fail(n.valuePlace(), "", "%s", err)
	}
}

// refusedKey reports what a key says of itself, at the key.
func (l *loader) refusedKey(n node, err error) {
	var refusal *ValueError
	if errors.As(err, &refusal) {
		l.fail(n.keyPlace(), refusal.Hint, "%s", refusal.Msg)
	}
}

// table reads the keys of a table and refuses those that it does not know.
func (l *loader) table(n node, keys fields) {
	for _, child := range l.entries(n) {
		if len(l.errors) >= maxMistakes {
			l.incomplete = true
			l.tooMany = true
			return
		}
		if read := keys[child.key()]; read != nil {
			read(child)
		} else {
			l.unknown(child, slices.Sorted(maps.Keys(keys)))
		}
	}
}

// entries are the keys of a table whose names the user chooses.
func (l *loader) entries(n node) []node {
	switch n.value.(type) {
	case map[string]any:
		return n.children()
	case []map[string]any:
		l.fail(n.keyPlace(), fmt.Sprintf("named tables only: [%s]", exampleTable(n)), "%q cannot be an array of tables", n.key())
	default:
		l.wrongType(n, "a table", tableHint(n))
	}
	return nil
}

// exampleTable is how the table at n is headed when it is named.
func exampleTable(n node) string {
	if key := n.key(); key == "jobs" || key == "destinations" {
		return n.path.String() + ".NAME"
	}
	return n.path.String()
}

func tableHint(n node) string {
	switch n.key() {
	case "keep":
		return `write keep = { daily = 7 } or the like`
	case "verify", "drill":
		return fmt.Sprintf(`write %s = { schedule = "0 4 * * 0" } or the like`, n.key())
	}
	return fmt.Sprintf("write a table: [%s]", exampleTable(n))
}

func (l *loader) wrongType(n node, want, hint string) {
	l.fail(n.valuePlace(), hint, "%q must be %s, not %s", n.key(), want, typeName(n.value))
}

func typeName(value any) string {
	switch value.(type) {
	case string:
		return "a text"
	case int64:
		return "a number"
	case float64:
		return "a fraction"
	case bool:
		return "true or false"
	case time.Time:
		return "a date or time"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "an array of tables"
	default:
		return "an array"
	}
}

func (l *loader) text(n node) (string, bool) {
	s, ok := n.value.(string)
	if !ok {
		l.wrongType(n, "a text", fmt.Sprintf(`write it in quotes: %s = "…"`, n.key()))
	}
	return s, ok
}

// value is for a type that reads itself.
func (l *loader) value(v encoding.TextUnmarshaler) func(node) {
	return func(n node) {
		if typed, ok := v.(toml.Unmarshaler); ok {
			l.refused(n, typed.UnmarshalTOML(n.value))
		} else if s, ok := l.text(n); ok {
			l.refused(n, v.UnmarshalText([]byte(s)))
		}
	}
}

// checked is for a text and what makes it good.
func (l *loader) checked(target *string, check func(string) (string, error)) func(node) {
	return func(n node) {
		s, ok := l.text(n)
		if !ok {
			return
		}
		s, err := check(s)
		if err != nil {
			l.refused(n, err)
			return
		}
		*target = s
	}
}

func (l *loader) path(target *string) func(node) { return l.checked(target, cleanPath) }

func (l *loader) boolean(target *bool) func(node) {
	return func(n node) {
		b, ok := n.value.(bool)
		if !ok {
			l.wrongType(n, "true or false", "without quotes")
		}
		*target = b
	}
}

func (l *loader) integer(target *int, least, most int64) func(node) {
	return func(n node) {
		i, ok := n.value.(int64)
		switch {
		case !ok:
			l.wrongType(n, "a whole number", fmt.Sprintf("without quotes: %s = %d", n.key(), max(least, 3)))
		case i < least:
			l.fail(n.valuePlace(), fmt.Sprintf("write %d or more", least), "%q cannot be %d", n.key(), i)
		case i > most:
			l.fail(n.valuePlace(), fmt.Sprintf("write %d or less", most), "%q cannot be %d", n.key(), i)
		default:
			*target = int(i)
		}
	}
}

func (l *loader) texts(n node) ([]string, bool) {
	array, ok := n.value.([]any)
	texts := make([]string, 0, len(array))
	for _, element := range array {
		if s, isText := element.(string); isText {
			texts = append(texts, s)
		}
	}
	if !ok || len(texts) != len(array) {
		l.fail(n.valuePlace(), fmt.Sprintf(`write %s = ["…", "…"]`, n.key()), "%q must be an array of texts", n.key())
		return nil, false
	}
	return texts, true
}

// argv is for a program with its arguments. It is started without a shell and without $PATH, so that
// what root runs does not depend on the environment.
func (l *loader) argv(target *[]string) func(node) {
	const hint = `write the program's absolute path, then one text per argument: ["/usr/bin/touch", "/tmp/x"]`
	return func(n node) {
		argv, ok := l.texts(n)
		switch {
		case !ok:
		case len(argv) == 0:
			l.fail(n.valuePlace(), hint, "%q names no program", n.key())
		case !strings.HasPrefix(argv[0], "/"):
			l.fail(n.valuePlace(), hint, "program %q of %q is not an absolute path", argv[0], n.key())
		case strings.Contains(strings.Join(argv, ""), "\x00"):
			l.fail(n.valuePlace(), hint, "%q contains a NUL byte", n.key())
		default:
			*target = argv
		}
	}
}
