package daemon

import (
	"context"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// An Observer is told what the daemon does, so that it can tell others. All methods but Close are called by the goroutine that starts the runs and feeds the watchdog: they must return at
// once, and have what takes time done elsewhere. That an observer fails never harms a run.
//
// What an observer is told is not all there is: runs are also made by other processes, and what those did is in the states of the jobs ([jobs.LoadState]), where [jobs.State.Health] finds what is wrong.
type Observer interface {
	// Configured is told of the configuration in force: at the start, and after each reload.
	Configured(cfg *config.Config)

	// Refused is told what is wrong with the files, when a reload was refused; nil when one was taken again.
	Refused(err error)

	// Began is told that a run, a verify or a drill begins.
	Began(job config.Job, kind config.Task, at time.Time)

	// Ran is told how a run ended. State and history have it already.
	Ran(job config.Job, r jobs.Record)

	// Proved is told what a verify or a drill showed of one destination. The state may not have it yet.
	Proved(job config.Job, kind config.Task, destination string, at time.Time, r jobs.TaskResult)

	// Tick comes every half minute at least, and after the machine has slept. The time is in the configured zone.
	Tick(clock jobs.Clock)

	// Close ends the observer, when all runs have ended. It returns when ctx ends at the latest.
	Close(ctx context.Context)
}

// observe tells all observers.
func (l *loop) observe(tell func(Observer)) {
	for _, o := range l.d.Observers {
		tell(o)
	}
}
