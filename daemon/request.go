package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/jobs"
)

// dismiss tells the clients of a run that will not be why.
func (l *loop) dismiss(e *entry, why string) {
	for _, w := range e.clients {
		w.end(notNow(e.job.Name, l.d.now().Wall, why))
	}
	e.clients = nil
}

// notNow is the account of a run that was asked for and not begun.
func notNow(job string, at time.Time, why string) jobs.Record {
	return jobs.Record{
		Job: job, Trigger: byCommand, Started: at, Ended: at, Result: jobs.ResultSkipped,
		Transfers: []jobs.Transfer{}, Pruned: []jobs.Pruned{}, Error: why, NotNow: true,
	}
}

// unknownJobError names jobs that are not in the configuration.
type unknownJobError struct{ names, known []string }

func (e *unknownJobError) Error() string {
	what := "no job is named "
	if len(e.names) > 1 {
		what = "no jobs are named "
	}
	return what + strings.Join(e.names, ", ")
}

// request asks for runs of the named jobs (none: all of them) on behalf of a client. A job that waits for its turn already is not run twice for it.
func (l *loop) request(names []string) (*watch, error) {
	if l.stop {
		return nil, errStopping
	}
	wanted, err := l.named(names)
	if err != nil {
		return nil, err
	}
	clock := l.d.now()
	w := l.d.progress.watch()
	for _, e := range wanted {
		w.expect(e.job.Name)
		if r := l.running[e.job.Name]; r != nil {
			held := &jobs.HeldError{
				Path:   filepath.Join(l.cfg.RuntimeDir, e.job.Name+".lock"),
				Holder: jobs.Holder{PID: os.Getpid(), Job: e.job.Name, Since: r.since},
			}
			w.end(notNow(e.job.Name, clock.Wall, held.Error()))
			continue
		}
		e.clients = append(e.clients, w)
		if !e.waiting {
			l.enqueue(e, byCommand)
		}
	}
	return w, nil
}

// named gives the entries of jobs, each once.
func (l *loop) named(names []string) ([]*entry, error) {
	if len(names) == 0 {
		return l.entries, nil
	}
	var found []*entry
	unknown := &unknownJobError{}
	for _, name := range names {
		i := slices.IndexFunc(l.entries, func(e *entry) bool { return e.job.Name == name })
		switch {
		case i < 0:
			unknown.names = append(unknown.names, name)
		case !slices.Contains(found, l.entries[i]):
			found = append(found, l.entries[i])
		}
	}
	if len(unknown.names) == 0 {
		return found, nil
	}
	for _, e := range l.entries {
		unknown.known = append(unknown.known, e.job.Name)
	}
	return nil, unknown
}
