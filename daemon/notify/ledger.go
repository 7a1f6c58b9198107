package notify

import (
	"slices"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// ledger is what has been told.
type ledger struct {
	Told map[string]told `json:"told"` // by the job's name; empty: the daemon itself

	ran map[string]ran // runs that have ended, and of which the checks have not heard
}

// told is what has been told of a job that is not well.
type told struct {
	Problems []jobs.Problem `json:"problems"`
	Last     time.Time      `json:"last"` // when something was told
}

func newLedger() ledger { return ledger{Told: map[string]told{}, ran: map[string]ran{}} }

// update takes in how a job is found, and gives what is to be told, if anything.
func (l *ledger) update(f finding, now time.Time) (m Message, any bool) {
	before := l.Told[f.name]
	if f.doubtful { // a clock that was moved makes nothing stale, and nothing fresh
		stale := func(p jobs.Problem) bool { return p.Kind == jobs.ProblemStale }
		f.problems = slices.DeleteFunc(slices.Clone(f.problems), stale)
		for _, p := range before.Problems {
			if stale(p) {
				f.problems = append(f.problems, p)
			}
		}
	}
	m = Message{Job: f.name, Problems: []Problem{}, Resolved: []jobs.Problem{}}
	for _, p := range f.problems {
		fresh := !contains(before.Problems, p)
		any = any || fresh
		m.Problems = append(m.Problems, Problem{p, fresh})
	}
	for _, p := range before.Problems {
		if !contains(f.problems, p) {
			m.Resolved = append(m.Resolved, p)
		}
	}
	switch {
	case any:
		m.Event = EventProblem
	case len(m.Resolved) > 0:
		m.Event, any = EventRecovered, true
	case len(f.problems) > 0 && !f.running && f.notify.Remind > 0 && now.Sub(before.Last) >= time.Duration(f.notify.Remind):
		m.Event, any = EventReminder, true
	case now.Before(before.Last): // the clock was set back: else nobody would be reminded until it has caught up
		before.Last = now
		l.Told[f.name] = before
		return m, false
	}
	if len(f.problems) == 0 {
		delete(l.Told, f.name)
	} else if any {
		l.Told[f.name] = told{f.problems, now}
	}
	return m, any
}

func contains(list []jobs.Problem, p jobs.Problem) bool {
	return slices.ContainsFunc(list, func(other jobs.Problem) bool { return other.Key() == p.Key() })
}

// forget drops jobs that have left the configuration, and those that nobody is told of any more.
func (l *ledger) forget(cfg *config.Config) {
	for name := range l.Told {
		known := name == "" && !cfg.Notify.IsZero()
		for _, job := range cfg.Jobs {
			known = known || job.Name == name && !job.Notify.IsZero()
		}
		if !known {
			delete(l.Told, name)
		}
	}
	for name := range l.ran {
		if !slices.ContainsFunc(cfg.Jobs, func(j config.Job) bool { return j.Name == name }) {
			delete(l.ran, name)
		}
	}
}
