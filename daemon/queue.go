package daemon

import (
	"slices"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// What a run was started by.
const (
	bySchedule = "schedule"
	byCatchUp  = "catch-up"
	byCommand  = "command"
)

// admit puts what has fallen due into the queue. A task that is there already, or is under way, is there once at most: what falls due meanwhile is one.
func (l *loop) admit(now time.Time) {
	var fell []*task
	for _, t := range l.tasks {
		t.settle(now, l.seed)
		t.paused = (t.isDue(now) || len(t.owed) > 0) && l.free(t) && l.isPaused(t.job, now)
		switch {
		case !l.free(t), t.paused:
		case t.kind != config.TaskRun:
			// These are made up for in any case: else a machine that is off at night would never see one.
			if t.isDue(now) || len(t.owed) > 0 {
				fell = append(fell, t)
			}
		case t.isDue(now):
			l.consult(t, now)
			if missed, any := t.drop(now, l.seed); any {
				text := "missed " + missed.Format("2006-01-02 15:04") + ", not made up for (catch_up = false)"
				l.d.Log.Info(text, jobs.KeyJob, t.job.Name, jobs.KeyEvent, EventDropped)
			}
			if t.isDue(now) {
				fell = append(fell, t)
			}
		}
	}
	slices.SortStableFunc(fell, func(a, b *task) int { return a.due.Compare(b.due) })
	for _, t := range fell {
		trigger := bySchedule
		if t.late(now) {
			trigger = byCatchUp
		}
		l.enqueue(t, trigger)
	}
}

// free reports whether a task may be put into the queue when it is due.
func (l *loop) free(t *task) bool {
	if t.kind == config.TaskRun {
		return !t.waiting
	}
	return !t.waiting && l.running[t.key()] == nil && !time.Now().Before(t.hold)
}

// consult looks whether someone else has run the job meanwhile.
func (l *loop) consult(t *task, now time.Time) {
	if l.running[t.key()] != nil {
		return
	}
	s, err := jobs.LoadState(l.cfg.StateDir, t.job)
	if err == nil && s.LastRun.After(t.last) && !s.LastRun.After(now) {
		t.last = s.LastRun
		t.settle(now, l.seed)
	}
}

func (l *loop) enqueue(t *task, trigger string) {
	t.waiting, t.trigger = true, trigger
	l.queue = append(l.queue, t)
}

// dispatch starts tasks from the queue as far as the configuration allows, runs first.
func (l *loop) dispatch(clock jobs.Clock) {
	l.sift(l.local(clock))
	for _, may := range []func(*task) bool{l.mayRun, l.mayProve} {
		var left []*task
		for _, t := range l.queue {
			if may(t) {
				l.begin(t, clock)
			} else {
				left = append(left, t)
			}
		}
		l.queue = left
	}
}

// mayRun: verifies and drills only read, so no run waits for them.
func (l *loop) mayRun(t *task) bool {
	runs := 0
	for k := range l.running {
		if k.kind == config.TaskRun {
			runs++
		}
	}
	return t.kind == config.TaskRun && l.running[t.key()] == nil && runs < l.cfg.Parallel
}

// mayProve: they begin when there is room beside the runs, so that none waits for its turn, and nothing of the same job is under way.
func (l *loop) mayProve(t *task) bool {
	if t.kind == config.TaskRun || len(l.running) >= l.cfg.Parallel {
		return false
	}
	for k := range l.running {
		if k.job == t.job.Name {
			return false
		}
	}
	return true
}
