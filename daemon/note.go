package daemon

import (
	"errors"
	"slices"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// note is what has still to be written into the state of a job.
type note struct {
	job    config.Job
	change func(*jobs.State)
	hold   time.Time // on the monotonic clock: no further attempt before
}

func (l *loop) note(job config.Job, change func(*jobs.State)) {
	l.notes = append(l.notes, &note{job: job, change: change})
}

// write writes down one of the notes, if one can be now, and reports whether it has tried. A job's notes are written in their order, when no run of
// the job is under way.
//
// One at a time, because each waits for the disk; and by the loop, so that it never holds a job's lock while a run of the job begins.
func (l *loop) write() bool {
	for i, n := range l.notes {
		earlier := func(other *note) bool { return other.job.Name == n.job.Name }
		if l.running[key{n.job.Name, config.TaskRun}] != nil || time.Now().Before(n.hold) || slices.ContainsFunc(l.notes[:i], earlier) {
			continue
		}
		err := jobs.Remember(l.cfg, n.job, n.change)
		if _, held := errors.AsType[*jobs.HeldError](err); held { // by a run of someone else
			n.hold = time.Now().Add(recheck)
			return true
		}
		l.notes = slices.Delete(l.notes, i, i+1)
		if err != nil {
			l.d.Log.Warn(err.Error(), jobs.KeyJob, n.job.Name)
		}
		return true
	}
	return false
}
