package config

import (
	"fmt"
	"strings"
)

// Error is one mistake in a configuration file.
type Error struct {
	File         string
	Line, Column int    // from 1; 0 where a file as a whole is meant
	Text         string // the offending line
	Msg          string // what is wrong
	Hint         string // what to do
}

// Errors are all mistakes of a configuration, in the order of files and lines.
type Errors []*Error

// ValueError is a value that cannot be what its key wants. The types of this package return it
// from UnmarshalText; [Load] adds the position.
type ValueError struct {
	Msg  string // what is wrong
	Hint string // what to do, or ""
}

func (e *ValueError) Error() string { return e.Msg }

func refuse(hint, format string, args ...any) error {
	return &ValueError{Msg: fmt.Sprintf(format, args...), Hint: hint}
}

// Error is the mistake as btrkeep prints it: position and message, the line with a caret, the hint.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Position())
	b.WriteString(": ")
	b.WriteString(e.Msg)
	if e.Line > 0 {
		b.WriteString("\n  | ")
		b.WriteString(e.Text)
		if e.Column > 0 {
			b.WriteString("\n  | ")
			b.WriteString(caret(e.Text, e.Column))
		}
	}
	if e.Hint != "" {
		b.WriteString("\n  hint: ")
		b.WriteString(e.Hint)
	}
	return b.String()
}

// Position is "file:line:column", or the file alone.
func (e *Error) Position() string {
	if e.Line == 0 {
		return e.File
	}
	return fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column)
}

// caret is the line under text that points at its column-th character; tabs stay tabs, so that it
// lines up however wide they are shown.
func caret(text string, column int) string {
	var b strings.Builder
	n := 1
	for _, r := range text {
		if n >= column {
			break
		}
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
		n++
	}
	b.WriteByte('^')
	return b.String()
}

func (e Errors) Error() string {
	texts := make([]string, len(e))
	for i, one := range e {
		texts[i] = one.Error()
	}
	return strings.Join(texts, "\n")
}
