package notify

import (
	"fmt"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/jobs"
)

// Events of a [Message].
const (
	EventProblem   = "problem"   // something broke
	EventReminder  = "reminder"  // it is still broken
	EventRecovered = "recovered" // something is well again
)

// Message is what somebody is told: the JSON that a webhook, and the standard input of a command, gets. Fields are only ever added.
type Message struct {
	Event    string         `json:"event"` // problem, reminder, recovered; test: see Try
	Job      string         `json:"job"`   // empty: the daemon itself
	Host     string         `json:"host"`
	Time     time.Time      `json:"time"`
	Problems []Problem      `json:"problems"` // all there are now
	Resolved []jobs.Problem `json:"resolved"` // those that are no more
	Log      string         `json:"log,omitempty"`
}

// Problem is one of a job's, new or told before.
type Problem struct {
	jobs.Problem
	New bool `json:"new"`
}

// Title is the message in one line.
func (m Message) Title() string {
	about := m.Job
	if about == "" {
		about = "btrkeep"
	}
	if m.Event == EventTest {
		return fmt.Sprintf("%s on %s: this is a test", about, m.Host)
	}
	if m.Event == EventRecovered && len(m.Problems) == 0 {
		return fmt.Sprintf("%s on %s: well again", about, m.Host)
	}
	var kinds []string
	for _, p := range m.Problems {
		kinds = append(kinds, name(p.Problem))
	}
	what := strings.Join(kinds, ", ")
	if m.Event != EventProblem {
		what = "still " + what
	}
	return fmt.Sprintf("%s on %s: %s", about, m.Host, what)
}

// names are what people call the kinds of problems.
var names = map[string]string{
	jobs.ProblemStale: "stale", jobs.ProblemFailing: "failing", jobs.ProblemVerify: "damaged", jobs.ProblemDrill: "restore drill failed",
	problemConfig: "configuration refused",
}

func name(p jobs.Problem) string {
	text := names[p.Kind]
	if p.Destination != "" {
		text += " at " + p.Destination
	}
	return text
}

// Text is the message for people.
func (m Message) Text() string {
	var b strings.Builder
	fmt.Fprintln(&b, m.Title())
	for _, p := range m.Problems {
		mark := ""
		if p.New && m.Event == EventProblem {
			mark = "new: "
		}
		fmt.Fprintf(&b, "\n%s%s: %s\n", mark, name(p.Problem), p.Text)
		if !p.Since.IsZero() {
			fmt.Fprintf(&b, "  last well: %s\n", p.Since.Format("2006-01-02 15:04 MST"))
		}
	}
	for _, p := range m.Resolved {
		fmt.Fprintf(&b, "\nwell again: %s (it was: %s)\n", name(p), p.Text)
	}
	if m.Log != "" {
		fmt.Fprintf(&b, "\nThe last lines of the log:\n\n%s\n", strings.TrimRight(m.Log, "\n"))
	}
	if m.Event != EventRecovered && m.Event != EventTest {
		fmt.Fprintf(&b, "\n`btrkeep status` on %s tells more.\n", m.Host)
	}
	return b.String()
}
