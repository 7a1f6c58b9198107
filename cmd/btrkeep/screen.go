package main

import (
	"os"
	"strings"
	"unicode"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"
)

// screen is what is known of the place where something is drawn.
type screen struct {
	width  int  // columns
	colour bool // ANSI colours
}

// plainWidth is how wide output is that goes to no terminal.
const plainWidth = 80

// screen is that of standard output. Colours are for terminals alone, and not for those who have set NO_COLOR (https://no-color.org).
func (a *app) screen() screen {
	if !isTerminal(a.stdout) {
		return screen{width: plainWidth}
	}
	s := screen{width: plainWidth, colour: a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"}
	if f, ok := a.stdout.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			s.width = w
		}
	}
	return s
}

// style is how something is meant.
type style int

const (
	styleNone style = iota
	styleGood
	styleBusy
	styleWarn
	styleBad
	styleDim
	styleChosen
)

// sgr are the parameters of the escape sequence for a style, console_codes(4).
func (as style) sgr() string {
	return [...]string{styleGood: "32", styleBusy: "36", styleWarn: "33", styleBad: "1;31", styleDim: "2", styleChosen: "7"}[as]
}

// paint gives text a style.
func (s screen) paint(text string, as style) string {
	if !s.colour || as == styleNone || text == "" {
		return text
	}
	return "\x1b[" + as.sgr() + "m" + text + "\x1b[0m"
}

// width is how many columns text takes: two for a wide character, none for a combining one.
func width(text string) int { return runewidth.StringWidth(text) }

// pad fills text up with spaces.
func pad(text string, columns int) string {
	return text + strings.Repeat(" ", max(0, columns-width(text)))
}

// shorten takes from the middle of text what does not fit: what a name or a path begins and ends with tells it from others.
func shorten(text string, columns int) string {
	if width(text) <= columns {
		return text
	}
	if columns < 3 {
		return runewidth.Truncate(text, max(columns, 0), "")
	}
	tail := (columns - 1) / 2
	end := runewidth.TruncateLeft(text, width(text)-tail, "")
	return runewidth.Truncate(text, columns-1-width(end), "") + "…" + end
}

// cut takes from the end of text what does not fit.
func cut(text string, columns int) string {
	if columns < 1 {
		return ""
	}
	return runewidth.Truncate(text, columns, "…")
}

// clean takes out what would move the cursor: texts name files, which anybody may have named.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// wrap breaks text between words into lines of so many columns; a word that is longer is broken where it has to be.
func wrap(text string, columns int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(clean(text)) {
		switch {
		case line == "":
			line = word
		case width(line)+1+width(word) <= columns:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
		for width(line) > columns {
			head := runewidth.Truncate(line, columns, "")
			if head == "" {
				break
			}
			lines, line = append(lines, head), line[len(head):]
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
