package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/jobs"
)

// frame is what draws lines over the ones before, without a flicker.
func frame(lines []string) string {
	return "\x1b[H" + strings.Join(lines, "\x1b[K\r\n") + "\x1b[K\x1b[J"
}

// lines are the whole screen: at most so many as it is high, none wider than it is.
func (w *watcher) lines(s screen, height int, now time.Time) []string {
	head := []string{s.paint(cut(w.title(now), s.width), styleDim), ""}
	tail := append([]string{""}, w.transfers(s, max(2, height/3), now)...)
	tail = append(tail, s.paint(cut(clean(w.question()), s.width), styleWarn), s.paint(cut("↑↓ choose   s start   p pause/resume   c cancel   q quit", s.width), styleDim))
	table, chosen := []string{"looking at the disks …"}, 0
	if !w.looked.IsZero() {
		table, chosen = w.table(s, now)
	}
	room := max(1, height-len(head)-len(tail))
	all := append(head, around(table, chosen, room)...)
	all = append(all, tail...)
	return all[:min(len(all), height)]
}

func (w *watcher) title(now time.Time) string {
	text := now.In(w.cfg.Timezone).Format("15:04:05") + "  btrkeep"
	if w.deaf != nil {
		return text + ": the daemon is not running: nothing happens on schedule"
	}
	text += fmt.Sprintf(": %d running, %d waiting", len(running(w.status)), len(w.status.Waiting))
	if w.status.ReloadError != "" {
		text += "; the configuration as it is now was refused"
	}
	return text
}

// table is that of status, with the chosen job marked, and the line at which that is.
func (w *watcher) table(s screen, now time.Time) (lines []string, chosen int) {
	g := board(w.now(now), now, w.cfg.Timezone)
	g.columns[0].head, g.columns[0].least = "  "+g.columns[0].head, g.columns[0].least+2
	line, job := 0, -1
	for _, r := range g.rows {
		line++
		if r.cells == nil {
			line += len(wrap(r.aside, s.width-asideIndent)) - 1
			continue
		}
		mark := "  "
		if r.cells[0].text != "" {
			if job++; job == w.chosen {
				mark, chosen = "> ", line
				r.cells[0].as = styleChosen
			}
		}
		r.cells[0].text = mark + r.cells[0].text
	}
	return g.lines(s), chosen
}

// around are so many lines as there is room for, the first, which is the head of the table, always, and the one at which the user is.
func around(lines []string, at, room int) []string {
	if len(lines) <= room || room < 2 {
		return lines[:min(len(lines), room)]
	}
	from := min(max(1, at-(room-1)/2), len(lines)-(room-1))
	return append([]string{lines[0]}, lines[from:from+room-1]...)
}

// transfers draws what is running, two lines each, in so many lines at most.
func (w *watcher) transfers(s screen, most int, now time.Time) []string {
	var lines []string
	for i, p := range w.status.Running {
		one := []string{cut(clean(transferTitle(p)), s.width)}
		if p.Step == "transfer" {
			one = append(one, cut("  "+transferText(p, w.rates[p.Job+"/"+p.Destination], now), s.width))
		}
		left := len(w.status.Running) - i
		if more := min(left-1, 1); len(lines)+len(one)+more > most { // a line to say that there are more
			return append(lines, cut(fmt.Sprintf("and %d more", left), s.width))
		}
		lines = append(lines, one...)
	}
	return lines
}

func transferTitle(p jobs.Progress) string {
	text := p.Job
	if p.Destination != "" {
		text += " → " + p.Destination
	}
	text += ": " + p.Step
	if p.Snapshot != "" {
		text += " of " + p.Snapshot
	}
	if p.Step == "transfer" {
		text += ", " + basisText(p.Parent)
	}
	return text
}

// barWidth is how wide the bar of a transfer is.
const barWidth = 20

// transferText is how far a transfer is, how fast, and how long it still takes.
func transferText(p jobs.Progress, r *rate, now time.Time) string {
	have := p.Resumed + p.Bytes
	text := formatBytes(have)
	percent, known := percentOf(p)
	if known {
		full := int(percent) * barWidth / 100
		text = fmt.Sprintf("[%s%s] %2d %%  %s of about %s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), percent, text, formatBytes(max(have, p.Estimate)))
	}
	perSecond := 0.0
	if r != nil {
		perSecond = r.perSecond()
	}
	if elapsed := now.Sub(p.Started).Seconds(); perSecond <= 0 && elapsed >= 1 {
		perSecond = float64(p.Bytes) / elapsed
	}
	if perSecond <= 0 {
		return text
	}
	text += fmt.Sprintf("  %s/s", formatBytes(int64(perSecond)))
	if left := p.Estimate - have; known && left > 0 {
		text += ", " + shortAge(time.Duration(float64(left)/perSecond*float64(time.Second))) + " left"
	}
	return text
}
