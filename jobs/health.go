package jobs

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/config"
)

// Kinds of problems, in the order of what hurts more.
const (
	ProblemStale   = "stale"   // the newest backup at a destination is older than its max_age
	ProblemFailing = "failing" // the last run failed, or its transfer to a destination
	ProblemVerify  = "verify"  // the last verify found damage, or could not be done
	ProblemDrill   = "drill"   // the last restore drill failed
)

// Problem is something about a job that needs somebody.
type Problem struct {
	Kind        string    `json:"kind"`                  // stale, failing, verify, drill
	Destination string    `json:"destination,omitempty"` // empty: the job itself
	Text        string    `json:"text"`
	Since       time.Time `json:"since,omitzero"` // of the last time that it was well; zero: never
}

// Key tells a problem from others of the same job, whatever its words are at the moment.
func (p Problem) Key() string { return p.Kind + " " + p.Destination }

// Health is what is wrong with a job, by what its state remembers: no disk is looked at. It changes with time alone, as backups grow stale. A destination that is absent is no
// problem, and becomes one when it is stale; nor is a job that has not run yet.
//
// What failed is failing until it goes well: that its disk was unplugged since, or the job busy, mends nothing.
func (s State) Health(job config.Job, now time.Time) []Problem {
	var found []Problem
	for _, d := range job.Destinations {
		at := s.Destinations[d.URL]
		if text := at.stale(d, s.FirstSeen, now); text != "" {
			found = append(found, Problem{Kind: ProblemStale, Destination: d.Name, Text: text, Since: at.NewestTaken})
		}
		if at.Failing != "" {
			found = append(found, Problem{Kind: ProblemFailing, Destination: d.Name, Text: oneLine(at.Failing), Since: at.LastSuccess})
		}
		for _, proof := range []struct {
			kind string
			task config.Task
		}{{ProblemVerify, config.TaskVerify}, {ProblemDrill, config.TaskDrill}} {
			p := at.Proofs[proof.task]
			if p.Last.IsZero() || p.Result != ResultFailed && len(p.Damaged) == 0 {
				continue
			}
			found = append(found, Problem{Kind: proof.kind, Destination: d.Name, Text: p.text(), Since: p.LastSuccess})
		}
	}
	if s.Failing != "" {
		found = append(found, Problem{Kind: ProblemFailing, Text: oneLine(s.Failing), Since: s.LastSuccess})
	}
	return found
}

// stale says why a destination is, or nothing. One that never had a backup is given its max_age from when the job was first met.
func (s DestinationState) stale(d config.Destination, met, now time.Time) string {
	if d.MaxAge <= 0 {
		return ""
	}
	if s.NewestTaken.IsZero() {
		if met.IsZero() || now.Sub(met) <= time.Duration(d.MaxAge) {
			return ""
		}
		return fmt.Sprintf("no backup there, and max_age is %s", d.MaxAge)
	}
	age := now.Sub(s.NewestTaken)
	if age <= time.Duration(d.MaxAge) {
		return ""
	}
	text := fmt.Sprintf("the newest backup, %s, is %s old, and max_age is %s", s.Newest, days(age), d.MaxAge)
	if !s.AbsentSince.IsZero() {
		text += "; absent for " + days(now.Sub(s.AbsentSince))
	}
	return text
}

// days is a duration as people say it: in days when it is some.
func days(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
	}
	return d.Round(time.Minute).String()
}

func (p Proof) text() string {
	if len(p.Damaged) > 0 {
		return "damaged: " + strings.Join(p.Damaged, ", ")
	}
	return oneLine(cmp.Or(p.Error, fmt.Sprintf("%d problems", p.Problems)))
}

// maxText bounds what is said of a problem: an error may carry all that some program has said.
const maxText = 2000

// oneLine is an error, which may be several joined, without what no line can hold.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ReplaceAll(strings.TrimSpace(text), "\n", "; "))
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}
