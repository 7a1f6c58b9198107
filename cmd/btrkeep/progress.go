package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/btrkeep/btrkeep/jobs"
)

// progressLine is the line on a terminal that tells how a transfer goes. Where standard error is no terminal it shows nothing.
type progressLine struct {
	mu   sync.Mutex
	w    io.Writer // nil: no terminal
	last time.Time
	long bool // something is on the line
}

// progressEvery bounds how often the line is drawn.
const progressEvery = 200 * time.Millisecond

func (a *app) progressLine() *progressLine {
	if a.json || !isTerminal(a.stderr) {
		return &progressLine{}
	}
	return &progressLine{w: a.stderr}
}

func (l *progressLine) show(p jobs.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.w == nil || time.Since(l.last) < progressEvery || p.Step != "transfer" {
		return
	}
	l.last, l.long = time.Now(), true
	fmt.Fprintf(l.w, "\r\x1b[K%s", progressText(p, time.Now()))
}

// progressText is bytes, rate, time elapsed and, where it is known, how much is left.
func progressText(p jobs.Progress, now time.Time) string {
	elapsed := now.Sub(p.Started)
	text := fmt.Sprintf("%s → %s: %s  %s", p.Job, p.Destination, p.Snapshot, formatBytes(p.Resumed+p.Bytes))
	if p.Resumed > 0 {
		text += fmt.Sprintf(" (%s of them before)", formatBytes(p.Resumed))
	}
	if s := elapsed.Seconds(); s >= 1 {
		rate := float64(p.Bytes) / s
		text += fmt.Sprintf("  %s/s  %s", formatBytes(int64(rate)), elapsed.Round(time.Second))
		if left := p.Estimate - p.Resumed - p.Bytes; p.Estimate > 0 && left > 0 && rate > 0 {
			text += fmt.Sprintf("  %d %%, about %s left", 100*(p.Resumed+p.Bytes)/p.Estimate, time.Duration(float64(left)/rate*float64(time.Second)).Round(time.Second))
		}
	}
	return text
}

func (l *progressLine) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.long {
		fmt.Fprint(l.w, "\r\x1b[K")
		l.long = false
	}
}
