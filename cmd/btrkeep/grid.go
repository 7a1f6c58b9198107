package main

import (
	"strings"
)

// A grid is a table that fits into a number of columns: what there is room for is written out, else columns are shortened, one after the other.
type grid struct {
	columns []column
	rows    []gridRow
}

type column struct {
	head, short string // short: when the column is shortened
	least       int    // how narrow its texts may be made; 0: they are not
	turn        int    // columns are shortened in this order; 0: never
}

// gridRow is a row, or a text between rows that leaves their columns alone.
type gridRow struct {
	cells []cell
	aside string
}

// cell is what is in a column of a row.
type cell struct {
	text, short string // short: when its column is shortened; empty: the same
	as          style
}

func (c cell) in(short bool) string {
	if short && c.short != "" {
		return c.short
	}
	return c.text
}

// row adds a row.
func (g *grid) row(cells ...cell) { g.rows = append(g.rows, gridRow{cells: cells}) }

// note adds a text between rows.
func (g *grid) note(text string) { g.rows = append(g.rows, gridRow{aside: text}) }

// gap is between two columns.
const gap = 2

// lines are those of the table on a screen. None is wider than that.
func (g *grid) lines(s screen) []string {
	short, widths := g.fit(s.width)
	var lines []string
	var head []string
	for i, c := range g.columns {
		head = append(head, pad(shorten(c.title(short[i]), widths[i]), widths[i]))
	}
	lines = append(lines, s.paint(cut(strings.TrimRight(strings.Join(head, "  "), " "), s.width), styleDim))
	for _, r := range g.rows {
		if r.cells == nil {
			for _, line := range wrap(r.aside, s.width-asideIndent) {
				lines = append(lines, strings.Repeat(" ", asideIndent)+line)
			}
			continue
		}
		lines = append(lines, g.line(s, r, short, widths))
	}
	return lines
}

// asideIndent is where texts between rows begin.
const asideIndent = 6

func (g *grid) line(s screen, r gridRow, short []bool, widths []int) string {
	var line strings.Builder
	left := s.width
	blank := 0
	for i, c := range r.cells {
		if blank >= left {
			break
		}
		text := cut(shorten(clean(c.in(short[i])), widths[i]), left-blank)
		if text != "" {
			line.WriteString(strings.Repeat(" ", blank) + s.paint(text, c.as))
			left -= blank + width(text)
			blank = 0
		}
		blank += widths[i] - width(text) + gap
	}
	return line.String()
}

func (c column) title(short bool) string {
	if short && c.short != "" {
		return c.short
	}
	return c.head
}

// fit chooses which columns are shortened, and how wide each is.
func (g *grid) fit(most int) (short []bool, widths []int) {
	short = make([]bool, len(g.columns))
	widths = g.widths(short)
	for turn := 1; total(widths) > most && turn <= len(g.columns); turn++ {
		for i, c := range g.columns {
			short[i] = short[i] || c.turn == turn
		}
		widths = g.widths(short)
	}
	for total(widths) > most {
		widest := -1
		for i, c := range g.columns {
			if c.least > 0 && widths[i] > c.least && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return short, widths
}

func (g *grid) widths(short []bool) []int {
	widths := make([]int, len(g.columns))
	for i, c := range g.columns {
		widths[i] = width(c.title(short[i]))
		for _, r := range g.rows {
			if i < len(r.cells) {
				widths[i] = max(widths[i], width(clean(r.cells[i].in(short[i]))))
			}
		}
	}
	return widths
}

func total(widths []int) int {
	sum := -gap
	for _, w := range widths {
		sum += w + gap
	}
	return sum
}
