package daemon

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// Status is what a daemon says of itself. Fields are only ever added.
type Status struct {
	PID         int                  `json:"pid"`
	Version     string               `json:"version"`
	Started     time.Time            `json:"started"`
	Config      string               `json:"config"` // path
	Files       []string             `json:"files"`  // the configuration in force was read from these
	ReloadError string               `json:"reload_error"`
	Running     []jobs.Progress      `json:"running"` // one for each task under way, or for each destination that it is at work on
	Waiting     []string             `json:"waiting"` // jobs that are due and wait for their turn
	Next        map[string]time.Time `json:"next"`    // by job; those without a schedule are left out
	Held        map[string]string    `json:"held"`    // by job: why a run that is due has to wait, such as "on battery"
}

func (l *loop) status() Status {
	s := Status{
		PID: os.Getpid(), Version: l.d.Version, Started: l.started, Config: l.d.ConfigPath, Files: slices.Clone(l.cfg.Files),
		Running: []jobs.Progress{}, Waiting: []string{}, Next: map[string]time.Time{}, Held: map[string]string{},
	}
	if l.refused != nil {
		s.ReloadError = l.refused.Error()
	}
	for _, k := range l.underWay() {
		doing := l.d.progress.of(k)
		if len(doing) == 0 {
			step := string(k.kind)
			if k.kind == config.TaskRun {
				step = "check"
			}
			doing = []jobs.Progress{{Job: k.job, Step: step, Started: l.running[k].since}}
		}
		s.Running = append(s.Running, doing...)
	}
	for _, t := range l.queue {
		if t.kind == config.TaskRun {
			s.Waiting = append(s.Waiting, t.job.Name)
			if t.hindrance != "" {
				s.Held[t.job.Name] = t.hindrance
			}
		}
	}
	for _, t := range l.tasks {
		if t.kind == config.TaskRun && !t.due.IsZero() {
			s.Next[t.job.Name] = t.due
		}
	}
	return s
}

// summary is the status in one line for systemd.
func (l *loop) summary(now time.Time) string {
	var parts []string
	if n := len(l.running); n > 0 {
		parts = append(parts, fmt.Sprintf("%d running", n))
	}
	if n := len(l.queue); n > 0 {
		parts = append(parts, fmt.Sprintf("%d waiting", n))
	}
	if t := l.next(); t != nil {
		layout := "15:04"
		if t.due.Format(time.DateOnly) != now.Format(time.DateOnly) {
			layout = "2006-01-02 15:04"
		}
		parts = append(parts, "next "+t.key().String()+" at "+t.due.Format(layout))
	} else if len(parts) == 0 {
		parts = append(parts, "no job has a schedule")
	}
	line := strings.Join(parts, ", ")
	if l.refused != nil {
		first, _, _ := strings.Cut(l.refused.Error(), "\n")
		line += "; reload refused: " + first
	}
	return line
}

// reportEvery is how often a long transfer is mentioned in the log.
const reportEvery = 5 * time.Minute

// report logs how long transfers go.
func (l *loop) report() {
	for _, k := range l.underWay() {
		w := l.running[k]
		if time.Since(w.reported) < reportEvery {
			continue
		}
		w.reported = time.Now()
		for _, p := range l.d.progress.of(k) {
			if p.Step == "transfer" {
				l.d.Log.Info(progressLine(p, time.Since(p.Started)), jobs.KeyJob, p.Job, jobs.KeyDestination, p.Destination,
					jobs.KeySnapshot, p.Snapshot, jobs.KeyBytes, p.Bytes, jobs.KeyEvent, EventProgress)
			}
		}
	}
}

// progressLine says for people how far a transfer is.
func progressLine(p jobs.Progress, elapsed time.Duration) string {
	line := fmt.Sprintf("%s: sending %s: %s", p.Destination, p.Snapshot, size(p.Bytes))
	if p.Estimate > p.Bytes {
		line += " of about " + size(p.Estimate)
	}
	line += " in " + elapsed.Round(time.Second).String()
	if s := elapsed.Seconds(); s > 0 {
		line += ", " + size(int64(float64(p.Bytes)/s)) + "/s"
	}
	return line
}

// size is a number of bytes with three digits that matter.
func size(bytes int64) string {
	n, unit := float64(bytes), 0
	units := [...]string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	for n >= 1000 && unit < len(units)-1 {
		n, unit = n/1024, unit+1
	}
	if unit == 0 || n >= 100 {
		return fmt.Sprintf("%.0f %s", n, units[unit])
	}
	return fmt.Sprintf("%.3g %s", n, units[unit])
}
