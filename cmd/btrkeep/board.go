package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/jobs"
)

// board is how jobs stand at one moment, as status and watch draw it.
func board(all []jobs.Status, now time.Time, zone *time.Location) *grid {
	g := &grid{columns: []column{
		{head: "JOB", least: 6},
		{head: "DESTINATION", short: "DEST", least: 5, turn: 5},
		{head: "STATE", turn: 6},
		{head: "NEWEST BACKUP", short: "NEWEST", turn: 3},
		{head: "AGE", turn: 8},
		{head: "NEXT RUN", short: "NEXT", turn: 2},
		{head: "BACKLOG", turn: 7},
		{head: "SPACE LEFT", short: "LEFT", turn: 4},
		{head: "PROVED", turn: 1},
	}}
	clock := wallClock{now.In(zone)}
	for _, s := range all {
		name := s.Job
		for _, d := range s.Destinations {
			newest := cell{text: "-"}
			if d.Newest != "" {
				newest = cell{text: d.Newest, short: clock.day(d.NewestTime)}
			}
			g.row(cell{text: name}, cell{text: d.Name}, stateCell(s, d, clock), newest, ageCell(d), clock.next(s.NextRun), backlogCell(d), spaceCell(d), provedCell(d, now))
			name = ""
			for _, text := range []string{pausedText(d.Paused, zone), unprovenText(d, now)} {
				if text != "" {
					g.note(text)
				}
			}
		}
		if text := pausedText(s.Paused, zone); text != "" {
			g.note(text)
		}
	}
	return g
}

// wallClock is what time it is, where times are shown.
type wallClock struct{ now time.Time }

// day is a time in few characters: of today, of another day, of another year.
func (c wallClock) day(t time.Time) string {
	t = t.In(c.now.Location())
	switch {
	case t.Format(time.DateOnly) == c.now.Format(time.DateOnly):
		return t.Format("15:04")
	case t.Sub(c.now).Abs() < 300*24*time.Hour:
		return t.Format("Jan 02")
	default:
		return t.Format("2006-01")
	}
}

func (c wallClock) next(t time.Time) cell {
	if t.IsZero() {
		return cell{text: "-"}
	}
	return cell{text: t.In(c.now.Location()).Format("Jan 02 15:04"), short: c.day(t)}
}

// since is for how long something has been so, and since when.
func (c wallClock) since(what string, t time.Time, as style) cell {
	if t.IsZero() {
		return cell{text: what, as: as}
	}
	return cell{
		text:  fmt.Sprintf("%s since %s", what, t.In(c.now.Location()).Format("Jan 02 15:04")),
		short: what + " " + shortAge(c.now.Sub(t)), as: as,
	}
}

// stateCell is how a destination stands, or its job: what is going on, then what is wrong, then what is not as usual.
func stateCell(s jobs.Status, d jobs.DestinationStatus, clock wallClock) cell {
	switch {
	case d.Progress != nil:
		return runningCell(*d.Progress)
	case s.State == "running" && d.Paused == nil && !elsewhere(s):
		return cell{text: "running", as: styleBusy}
	case d.State == "stale":
		return cell{text: "stale", as: styleBad}
	case d.State == "failing":
		return clock.since("failing", d.LastSuccess, styleBad)
	case s.Failing() || s.Error != "":
		return clock.since("failing", s.LastSuccess, styleBad)
	case s.Paused != nil || d.Paused != nil:
		return cell{text: "paused", as: styleWarn}
	case s.Late:
		return cell{text: "late " + shortAge(clock.now.Sub(s.NextRun)), as: styleWarn}
	case d.State == jobs.StateAbsent && d.AbsentSince.IsZero():
		return cell{text: "absent", as: styleWarn}
	case d.State == jobs.StateAbsent:
		return cell{text: "absent " + shortAge(clock.now.Sub(d.AbsentSince)), as: styleWarn}
	case s.State == jobs.StateAbsent:
		return cell{text: "source absent", short: "absent", as: styleWarn}
	case s.Waiting:
		return cell{text: "waiting", as: styleBusy}
	case d.LastResult == jobs.ResultCancelled:
		return cell{text: "cancelled", as: styleWarn}
	case d.State == "never":
		return cell{text: "never"}
	}
	return cell{text: d.State, as: styleGood}
}

// elsewhere reports whether the run is known to be at work at other destinations, and so has done with those of which nothing is known.
func elsewhere(s jobs.Status) bool {
	for _, d := range s.Destinations {
		if d.Progress != nil {
			return true
		}
	}
	return false
}

func runningCell(p jobs.Progress) cell {
	if percent, known := percentOf(p); known {
		return cell{text: fmt.Sprintf("running %d %%", percent), short: fmt.Sprintf("running %d%%", percent), as: styleBusy}
	}
	return cell{text: "running", as: styleBusy}
}

// percentOf is how much of a transfer is done. An estimate may be too small: it is never all before the end.
func percentOf(p jobs.Progress) (percent int64, known bool) {
	if p.Step != "transfer" || p.Estimate <= 0 {
		return 0, false
	}
	return min(99, int64(100*float64(p.Resumed+p.Bytes)/float64(p.Estimate))), true
}

func ageCell(d jobs.DestinationStatus) cell {
	if d.NewestTime.IsZero() {
		return cell{text: "-"}
	}
	age := time.Duration(d.AgeSeconds) * time.Second
	return cell{text: formatAge(age), short: shortAge(age)}
}

func backlogCell(d jobs.DestinationStatus) cell {
	if d.BacklogBytes == 0 {
		return cell{text: fmt.Sprint(d.Backlog)}
	}
	return cell{text: fmt.Sprintf("%d (%s)", d.Backlog, formatBytes(d.BacklogBytes)), short: fmt.Sprintf("%d %s", d.Backlog, shortBytes(d.BacklogBytes))}
}

func spaceCell(d jobs.DestinationStatus) cell {
	if d.Total == 0 {
		return cell{text: "-"}
	}
	percent := 100 * d.Free / d.Total
	c := cell{text: fmt.Sprintf("%s (%d %%)", formatBytes(d.Free), percent), short: fmt.Sprintf("%s %d%%", shortBytes(d.Free), percent)}
	if d.FullInSeconds > 0 {
		left := time.Duration(d.FullInSeconds) * time.Second
		c.text += ", full in " + shortAge(left)
		c.short = shortBytes(d.Free) + " " + shortAge(left)
		if left < 14*24*time.Hour {
			c.as = styleWarn
		}
	}
	return c
}

// provedCell is when a restore was proved, or else the backups were verified, for the last time that it went well.
func provedCell(d jobs.DestinationStatus, now time.Time) cell {
	if unproven := d.Unproven(); unproven {
		return cell{text: "FAILED", as: styleBad}
	}
	var parts []string
	if t := d.Drill; t != nil && !t.LastSuccess.IsZero() {
		parts = append(parts, shortAge(now.Sub(t.LastSuccess)))
	}
	if v := d.Verified; v != nil {
		parts = append(parts, shortAge(now.Sub(v.Time)))
	}
	switch {
	case len(parts) == 0:
		return cell{text: "-"}
	case d.Drill == nil:
		return cell{text: "verify " + parts[0], short: parts[0]}
	case d.Verified == nil:
		return cell{text: "drill " + parts[0], short: parts[0]}
	}
	return cell{text: "drill " + parts[0] + ", verify " + parts[1], short: parts[0]}
}

// unprovenText says why backups cannot be relied on; nothing if they can.
func unprovenText(d jobs.DestinationStatus, now time.Time) string {
	if !d.Unproven() {
		return ""
	}
	return proofText(d, now)
}

func pausedText(p *jobs.Paused, zone *time.Location) string {
	if p == nil {
		return ""
	}
	return p.Text(zone)
}

// shortAge is a duration in one unit and few characters.
func shortAge(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	case d < 1000*24*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours())/24)
	default:
		return fmt.Sprintf("%dy", int(d.Hours())/24/365)
	}
}

// shortBytes is formatBytes in five characters at most.
func shortBytes[N int64 | uint64](n N) string {
	number, unit, _ := strings.Cut(formatBytes(n), " ")
	if len(number) > 3 { // with a digit behind the point that nobody needs
		number, _, _ = strings.Cut(number, ".")
	}
	return number + strings.TrimSuffix(unit, "iB")
}
