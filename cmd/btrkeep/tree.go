package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/jobs"
)

// Marks of the timeline. What is filled exists at both ends: a snapshot that some destination has, a backup whose snapshot is still at the source.
const (
	markCommon   = "●"
	markAlone    = "○"
	markPinned   = "◆" // common, pinned
	markPinAlone = "◇"
	markBegun    = "◐"
	markUseless  = "✗"
	markNone     = "·"
)

const treeLegend = "● at both ends  ○ only here  ◆◇ the same, pinned  ◐ interrupted  ✗ no backup"

// moment is one snapshot, wherever it is.
type moment struct {
	taken time.Time
	marks []string // at the source, then at each destination; "" where it is not
}

// moments are those of a job, oldest first. A snapshot and its backups are one by UUID.
func moments(l jobs.Listing) []moment {
	var all []*moment
	columns := 1 + len(l.Destinations)
	add := func(taken time.Time) *moment {
		m := &moment{taken: taken, marks: make([]string, columns)}
		all = append(all, m)
		return m
	}
	byUUID, byName := map[btrfs.UUID]*moment{}, map[string]*moment{}
	for _, s := range l.Snapshots {
		m := add(s.Created)
		m.marks[0] = mark(len(s.CommonWith) > 0, s.Pinned)
		byUUID[s.UUID], byName[s.Name] = m, m
	}
	for i, d := range l.Destinations {
		for _, b := range d.Backups {
			m := byUUID[b.ReceivedUUID]
			common := m != nil && m.marks[0] != ""
			if m == nil { // a snapshot that came with a restoration has another UUID: that it is the same, the listing has found out
				same := byName[b.Name]
				common = same != nil && same.marks[0] != "" && isCommon(l, b.Name, d.Name)
				if common {
					m = same
				}
			}
			if m == nil {
				m = add(b.Created)
				byUUID[b.ReceivedUUID] = m
			}
			if m.marks[i+1] = mark(common, b.Pinned); !b.Complete || b.Altered {
				m.marks[i+1] = markUseless
			}
		}
		for _, u := range d.Unfinished {
			if m := byName[u.Snapshot]; m != nil && m.marks[i+1] == "" {
				m.marks[i+1] = markBegun
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *moment) int { return a.taken.Compare(b.taken) })
	list := make([]moment, len(all))
	for i, m := range all {
		list[i] = *m
	}
	return list
}

func isCommon(l jobs.Listing, snapshot, destination string) bool {
	return slices.ContainsFunc(l.Snapshots, func(s jobs.ListedSnapshot) bool {
		return s.Name == snapshot && slices.Contains(s.CommonWith, destination)
	})
}

func mark(common, pinned bool) string {
	switch {
	case common && pinned:
		return markPinned
	case pinned:
		return markPinAlone
	case common:
		return markCommon
	}
	return markAlone
}

// treeLines draw what is kept of a job on an axis of years, months, days and times.
func treeLines(l jobs.Listing, zone *time.Location, s screen) []string {
	lines := []string{cut(clean(l.Job+": "+l.Source), s.width)}
	all := moments(l)
	branches := branch(all, zone, 0, "")
	axis := 0
	for _, b := range branches {
		axis = max(axis, width(b.label))
	}
	heads, notes := columnsOf(l, s.width-axis-treeIndent)
	line := strings.Repeat(" ", treeIndent+axis)
	for _, h := range heads {
		line += "  " + h
	}
	lines = append(lines, s.paint(strings.TrimRight(line, " "), styleDim))
	for _, b := range branches {
		line := strings.Repeat(" ", treeIndent) + b.label
		if b.of != nil {
			line = strings.Repeat(" ", treeIndent) + pad(b.label, axis)
			for i, h := range heads { // there may be fewer of these than of marks
				line += "  " + s.paint(pad(cmp.Or(b.of.marks[i], markNone), width(h)), markStyle(b.of.marks[i]))
			}
		}
		lines = append(lines, strings.TrimRight(line, " "))
	}
	if len(all) == 0 {
		lines = append(lines, strings.Repeat(" ", treeIndent)+"nothing yet")
	}
	for _, note := range notes {
		for _, line := range wrap(note, s.width-treeIndent) {
			lines = append(lines, strings.Repeat(" ", treeIndent)+line)
		}
	}
	return lines
}

const treeIndent = 2

func markStyle(mark string) style {
	switch mark {
	case markCommon:
		return styleGood
	case markPinned, markPinAlone:
		return styleBusy
	case markBegun:
		return styleWarn
	case markUseless:
		return styleBad
	}
	return styleNone
}

// columnsOf are the heads of the columns: the names of the places, shortened if there is no room, or numbers with a key. Notes tell what the marks do not.
func columnsOf(l jobs.Listing, room int) (heads, notes []string) {
	heads = []string{"source"}
	widest, sum := 0, 0
	for _, d := range l.Destinations {
		heads = append(heads, clean(d.Name))
		if d.State != jobs.StatePresent {
			notes = append(notes, fmt.Sprintf("%s: %s", d.Name, d.Error))
		}
	}
	for _, h := range heads {
		widest, sum = max(widest, width(h)), sum+gap+width(h)
	}
	for ; sum > room && widest > 6; widest-- {
		sum = 0
		for i, h := range heads {
			heads[i] = shorten(h, widest-1)
			sum += gap + width(heads[i])
		}
	}
	if sum <= room {
		return heads, notes
	}
	heads, sum = []string{"0"}, gap+1
	key, left := "0 source", ""
	for i, d := range l.Destinations {
		number := fmt.Sprint(i + 1)
		if sum += gap + len(number); sum > room {
			left += ", " + d.Name
			continue
		}
		heads = append(heads, number)
		key += ", " + number + " " + d.Name
	}
	if left != "" {
		key += "; no room for " + left[2:]
	}
	return heads, append([]string{key}, notes...)
}

// treeLine is one line of the axis; of is nil where only the axis goes on.
type treeLine struct {
	label string
	of    *moment
}

// axisDepth is how many steps the axis has.
const axisDepth = 4

// axisLabel is how a time is written at a step of the axis.
func axisLabel(t time.Time, level int) string {
	return t.Format([axisDepth]string{"2006", "Jan", "02 Mon", "15:04"}[level])
}

// branch draws moments from a level of the axis on. What has nothing beside it is written in one line.
func branch(all []moment, zone *time.Location, level int, indent string) []treeLine {
	var lines []treeLine
	groups := group(all, zone, level)
	for i, g := range groups {
		tee, below := "├─ ", "│  "
		if i == len(groups)-1 {
			tee, below = "└─ ", "   "
		}
		if level == 0 {
			tee, below = "", ""
		}
		t := g[0].taken.In(zone)
		label := axisLabel(t, level)
		at := level + 1
		for ; at < axisDepth && len(group(g, zone, at)) == 1; at++ {
			label += " " + axisLabel(t, at)
		}
		if at < axisDepth {
			lines = append(lines, treeLine{label: indent + tee + label})
			lines = append(lines, branch(g, zone, at, indent+below)...)
			continue
		}
		for j := range g { // several within one minute
			if j > 0 {
				label = strings.Repeat(" ", width(label))
			}
			lines = append(lines, treeLine{label: indent + tee + label, of: &g[j]})
			if tee != "" {
				tee = below
			}
		}
	}
	return lines
}

// group splits moments, which are in order, where a level of the axis changes.
func group(all []moment, zone *time.Location, level int) [][]moment {
	var groups [][]moment
	last := ""
	for i, m := range all {
		label := axisLabel(m.taken.In(zone), level)
		if i == 0 || label != last {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], m)
		last = label
	}
	return groups
}
