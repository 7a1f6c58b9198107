package journal

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/btrkeep/btrkeep/jobs"
)

// Text is a slog.Handler that writes lines for people:
//
//	home: snapshot 20261123T115600Z
//	btrkeep: error: home: failed in 3s: usb: no space left on device
//	btrkeep: hint: the destination is full
type Text struct {
	level slog.Leveler
	times bool
	scope scope
	out   *output
}

// output is shared by a handler and those derived from it.
type output struct {
	mu sync.Mutex
	w  io.Writer
}

var _ slog.Handler = (*Text)(nil)

// NewText writes to w. times says whether lines begin with the time.
func NewText(w io.Writer, level slog.Leveler, times bool) *Text {
	return &Text{level: level, times: times, out: &output{w: w}}
}

// Enabled reports whether level is wanted.
func (t *Text) Enabled(_ context.Context, level slog.Level) bool { return level >= t.level.Level() }

// Handle writes one record, its hint on a line of its own.
func (t *Text) Handle(_ context.Context, r slog.Record) error { return t.write(r, t.scope.all(r)) }

// WithAttrs is the handler with attributes for every record.
func (t *Text) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *t
	with.scope = t.scope.withAttrs(attrs)
	return &with
}

// WithGroup is the handler with a group around what follows.
func (t *Text) WithGroup(name string) slog.Handler {
	with := *t
	with.scope = t.scope.withGroup(name)
	return &with
}

func (t *Text) write(r slog.Record, fields []field) error {
	text := render(r, fields, t.times)
	t.out.mu.Lock()
	defer t.out.mu.Unlock()
	_, err := io.WriteString(t.out.w, text)
	return err
}

// render is one record as text: a line, and one for its hint.
func render(r slog.Record, fields []field, times bool) string {
	var start string
	if times && !r.Time.IsZero() {
		start = r.Time.Format("2006-01-02 15:04:05 ")
	}
	l := line(r.Message, fields)
	text := start + word(r.Level) + l.text + "\n"
	if l.hint != "" {
		text += start + "btrkeep: hint: " + l.hint + "\n"
	}
	return text
}

// word is what comes before a line that is not plain information.
func word(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "btrkeep: error: "
	case level >= slog.LevelWarn:
		return "btrkeep: warning: "
	case level >= slog.LevelInfo:
		return ""
	default:
		return "btrkeep: debug: "
	}
}

// words are one record for people.
type words struct{ text, hint string }

// line puts the job before the message and the error after it. Of the other fields it shows those that the message does not tell
// already: messages are sentences, and most fields are there for journalctl.
func line(message string, fields []field) words {
	var job, failure, hint, rest string
	for _, f := range fields {
		value := f.text()
		switch {
		case f.name == jobs.KeyJob:
			job = value + ": "
		case f.name == jobs.KeyError:
			failure = value
		case f.name == jobs.KeyHint:
			hint = value
		case f.name != jobs.KeyEvent && value != "" && !tells(message, value):
			rest += " " + f.name + "=" + quote(value)
		}
	}
	text := message + rest
	if failure != "" && !strings.Contains(message, failure) {
		text += ": " + failure
	}
	if !strings.HasPrefix(message, job) {
		text = job + text
	}
	return words{text, hint}
}

// tells reports whether the message has the value, from the beginning of a word.
func tells(message, value string) bool {
	for rest := message; ; {
		i := strings.Index(rest, value)
		if i < 0 {
			return false
		}
		before, _ := utf8.DecodeLastRuneInString(rest[:i])
		if i == 0 || !unicode.IsLetter(before) && !unicode.IsDigit(before) {
			return true
		}
		_, size := utf8.DecodeRuneInString(rest[i:])
		rest = rest[i+size:]
	}
}

// quote leaves plain words as they are.
func quote(value string) string {
	plain := func(r rune) bool { return r > ' ' && r != '"' && r != '=' && unicode.IsPrint(r) }
	if strings.IndexFunc(value, func(r rune) bool { return !plain(r) }) < 0 {
		return value
	}
	return strconv.Quote(value)
}
