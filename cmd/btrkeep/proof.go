package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/jobs"
)

// proofText says what is known of a destination's backups, or nothing if nobody has looked.
func proofText(d jobs.DestinationStatus, now time.Time) string {
	var parts []string
	if v := d.Verified; v != nil {
		parts = append(parts, verifiedText(*v, now))
	}
	if t := d.Drill; t != nil {
		parts = append(parts, drilledText(*t, now))
	}
	return strings.Join(parts, "; ")
}

func verifiedText(v jobs.Verified, now time.Time) string {
	when := ago(now.Sub(v.Time))
	var text string
	switch {
	case v.Result == jobs.ResultOK:
		return "verified " + when + ": ok"
	case v.Problems == 0:
		text = "verify failed " + when
	case v.Problems == 1:
		text = "verify found 1 problem " + when
	default:
		text = fmt.Sprintf("verify found %d problems %s", v.Problems, when)
	}
	if len(v.Damaged) > 0 {
		text += ", in " + strings.Join(v.Damaged, ", ")
	}
	if v.Error != "" {
		text += ": " + oneLine(v.Error)
	}
	return text
}

func drilledText(t jobs.Drilled, now time.Time) string {
	when := ago(now.Sub(t.Time))
	if t.Result == jobs.ResultOK {
		return fmt.Sprintf("restore proved %s, %s", when, time.Duration(t.Seconds*float64(time.Second)).Round(time.Second))
	}
	text := "restore drill failed " + when
	if !t.LastSuccess.IsZero() {
		text += ", proved " + ago(now.Sub(t.LastSuccess))
	}
	if t.Error != "" {
		text += ": " + oneLine(t.Error)
	}
	return text
}

// doing is the state and the step of a job that the daemon is at work on. A verify or a drill leaves the state as it is.
func doing(p jobs.Progress, s jobs.Status) (state, step string) {
	switch {
	case isRun(p):
		return "running", progressText(p, time.Now())
	case s.State == "running":
		return s.State, s.Step
	default:
		return s.State, p.Step + " of " + p.Destination
	}
}

// ago is how long something is past, in one unit.
func ago(d time.Duration) string {
	days := int(d.Hours()) / 24
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case days < 1:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	case days == 1:
		return "1 day ago"
	default:
		return fmt.Sprintf("%d days ago", days)
	}
}
