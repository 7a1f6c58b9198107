package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/jobs"
)

const daysLegend = "● ok  ○ partial  ✗ failed  - skipped or cancelled  · no run"

// dayMark is how a run went; of those of one hour the worst is drawn. The zero value is none.
type dayMark struct {
	mark  string
	worst int
	as    style
}

func dayMarkOf(result string) dayMark {
	switch result {
	case jobs.ResultOK:
		return dayMark{"●", 1, styleGood}
	case jobs.ResultSkipped, jobs.ResultCancelled:
		return dayMark{"-", 2, styleNone}
	case jobs.ResultPartial:
		return dayMark{"○", 3, styleWarn}
	}
	return dayMark{"✗", 4, styleBad}
}

// dayLines draw the runs of one job, newest first, with a line for each day, from the first to the last: its hours, and what the runs came to.
func dayLines(records []jobs.Record, zone *time.Location, s screen) []string {
	lines := []string{cut(records[0].Job, s.width), s.paint(fmt.Sprintf("%16s%-6d%-6d%-6d%d", "", 0, 6, 12, 18), styleDim)}
	byDay := map[string][]jobs.Record{}
	for _, r := range records {
		day := r.Started.In(zone).Format(time.DateOnly)
		byDay[day] = append(byDay[day], r)
	}
	first, last := records[len(records)-1].Started.In(zone), records[0].Started.In(zone)
	skipped := 0
	for day := time.Date(last.Year(), last.Month(), last.Day(), 12, 0, 0, 0, zone); ; day = day.AddDate(0, 0, -1) { // noon: no day has two or none
		label := day.Format(time.DateOnly)
		if of := byDay[label]; len(of) > 0 {
			if skipped > 0 {
				lines = append(lines, "  "+count(skipped, "day")+" without a run")
			}
			skipped = 0
			lines = append(lines, dayLine(of, day, zone, s))
		} else {
			skipped++
		}
		if label <= first.Format(time.DateOnly) {
			return lines
		}
	}
}

func dayLine(records []jobs.Record, day time.Time, zone *time.Location, s screen) string {
	var hours [24]dayMark
	counts := map[string]int{}
	var bytes int64
	for _, r := range records {
		h := r.Started.In(zone).Hour()
		counts[r.Result]++
		if m := dayMarkOf(r.Result); m.worst > hours[h].worst {
			hours[h] = m
		}
		for _, t := range r.Transfers {
			bytes += t.Bytes
		}
	}
	line := day.Format("2006-01-02 Mon") + "  "
	for _, m := range hours {
		line += s.paint(cmp.Or(m.mark, markNone), m.as)
	}
	var parts []string
	for _, result := range []string{jobs.ResultFailed, jobs.ResultPartial, jobs.ResultSkipped, jobs.ResultCancelled, jobs.ResultOK} {
		if n := counts[result]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, result))
		}
	}
	if bytes > 0 {
		parts = append(parts, formatBytes(bytes))
	}
	const drawn = 16 + 24 + gap
	return line + "  " + cut(strings.Join(parts, ", "), s.width-drawn)
}

// count is a number of things.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprint(n, " ", thing)
}

// byJob splits records by their jobs, in the order of their names.
func byJob(records []jobs.Record) [][]jobs.Record {
	of := map[string][]jobs.Record{}
	var names []string
	for _, r := range records {
		if of[r.Job] == nil {
			names = append(names, r.Job)
		}
		of[r.Job] = append(of[r.Job], r)
	}
	slices.Sort(names)
	var all [][]jobs.Record
	for _, name := range names {
		all = append(all, of[name])
	}
	return all
}
