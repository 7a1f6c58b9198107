package daemon

import (
	"slices"
	"time"

	"github.com/btrkeep/btrkeep/jobs"
)

// What a run was started by.
const (
	bySchedule = "schedule"
	byCatchUp  = "catch-up"
	byCommand  = "command"
)

// admit puts what has fallen due into the queue. A job that is there already, or runs, is there once at most: what falls due meanwhile is one run.
func (l *loop) admit(now time.Time) {
	var fell []*entry
	for _, e := range l.entries {
		e.settle(now, l.seed)
		if e.waiting || !e.isDue(now) {
			continue
		}
		l.consult(e, now)
		if missed, any := e.drop(now, l.seed); any {
			text := "missed " + missed.Format("2006-01-02 15:04") + ", not made up for (catch_up = false)"
			l.d.Log.Info(text, jobs.KeyJob, e.job.Name, jobs.KeyEvent, EventDropped)
		}
		if e.isDue(now) {
			fell = append(fell, e)
		}
	}
	slices.SortStableFunc(fell, func(a, b *entry) int { return a.due.Compare(b.due) })
	for _, e := range fell {
		trigger := bySchedule
		if e.late(now) {
			trigger = byCatchUp
		}
		l.enqueue(e, trigger)
	}
}

// consult looks whether someone else has run the job meanwhile.
func (l *loop) consult(e *entry, now time.Time) {
	if l.running[e.job.Name] != nil {
		return
	}
	s, err := jobs.LoadState(l.cfg.StateDir, e.job)
	if err == nil && s.LastRun.After(e.last) && !s.LastRun.After(now) {
		e.last = s.LastRun
		e.settle(now, l.seed)
	}
}

func (l *loop) enqueue(e *entry, trigger string) {
	e.waiting, e.trigger = true, trigger
	l.queue = append(l.queue, e)
}

// dispatch starts runs from the queue as far as the configuration allows.
func (l *loop) dispatch(clock jobs.Clock) {
	for i := 0; i < len(l.queue) && len(l.running) < l.cfg.Parallel; {
		e := l.queue[i]
		if l.running[e.job.Name] != nil {
			i++
			continue
		}
		l.queue = slices.Delete(l.queue, i, i+1)
		l.begin(e, clock)
	}
}
