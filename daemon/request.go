package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// dismiss tells the clients of a run that will not be why.
func (l *loop) dismiss(t *task, why string) {
	for _, w := range t.clients {
		w.end(notNow(t.job.Name, l.d.now().Wall, why))
	}
	t.clients = nil
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
	l.regroup(true)
	wanted, err := l.named(names)
	if err != nil {
		return nil, err
	}
	clock := l.d.now()
	w := l.d.progress.watch()
	for _, t := range wanted {
		w.expect(t.job.Name)
		if r := l.running[t.key()]; r != nil {
			held := &jobs.HeldError{
				Path:   filepath.Join(l.cfg.RuntimeDir, t.job.Name+".lock"),
				Holder: jobs.Holder{PID: os.Getpid(), Job: t.job.Name, Since: r.since},
			}
			w.end(notNow(t.job.Name, clock.Wall, held.Error()))
			continue
		}
		t.clients = append(t.clients, w)
		if !t.waiting {
			l.enqueue(t, byCommand)
		} else { // no condition is to keep it any longer
			t.trigger, t.hindrance = byCommand, ""
		}
	}
	return w, nil
}

// named gives the runs of jobs, or of all members of groups, each once.
func (l *loop) named(names []string) ([]*task, error) {
	runs := slices.DeleteFunc(slices.Clone(l.tasks), func(t *task) bool { return t.kind != config.TaskRun })
	if len(names) == 0 {
		return runs, nil
	}
	var found []*task
	unknown := &unknownJobError{}
	for _, name := range names {
		known := false
		for _, t := range runs {
			if t.job.Name != name && t.job.Group != name {
				continue
			}
			if known = true; !slices.Contains(found, t) {
				found = append(found, t)
			}
		}
		if !known {
			unknown.names = append(unknown.names, name)
		}
	}
	if len(unknown.names) == 0 {
		return found, nil
	}
	for _, t := range runs {
		unknown.known = append(unknown.known, t.job.Name)
	}
	return nil, unknown
}
