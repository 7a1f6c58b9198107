package daemon

import (
	"slices"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// isPaused looks whether a job is paused now. Whoever pauses or resumes one writes that down for all to see, also while no daemon runs; so it is looked at when something is due.
func (l *loop) isPaused(job config.Job, now time.Time) bool {
	p, err := jobs.LoadPauses(l.cfg.StateDir, job, now)
	if err != nil {
		l.d.Log.Warn(err.Error(), jobs.KeyJob, job.Name)
	}
	return p.Job != nil
}

// sift takes out of the queue what the schedule has put there and what has been paused since. It is still due, and is made when it is resumed.
func (l *loop) sift(now time.Time) {
	l.queue = slices.DeleteFunc(l.queue, func(t *task) bool {
		if t.trigger == byCommand || len(t.clients) > 0 || !l.isPaused(t.job, now) {
			return false
		}
		t.waiting, t.trigger, t.paused = false, "", true
		return true
	})
}

// pausedAt reports whether a destination is paused.
func (p *proof) pausedAt(d config.Destination) bool {
	pauses, err := jobs.LoadPauses(p.cfg.StateDir, p.job, p.d.now().Wall)
	if err != nil {
		p.d.Log.Warn(err.Error(), jobs.KeyJob, p.job.Name)
	}
	_, paused := pauses.Destinations[d.Name]
	return paused
}
