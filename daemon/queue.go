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
		switch {
		case !l.free(t):
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
	fell = l.withSiblings(fell)
	slices.SortStableFunc(fell, func(a, b *task) int { return a.due.Compare(b.due) })
	for _, t := range fell {
		trigger := bySchedule
		if t.isDue(now) && t.late(now) {
			trigger = byCatchUp
		}
		l.enqueue(t, trigger)
	}
}

// withSiblings adds the runs of all members of a group of which one has fallen due, though their own time may be another one after somebody has asked for a run of one of them.
func (l *loop) withSiblings(fell []*task) []*task {
	groups := map[string]bool{}
	for _, t := range fell {
		if t.kind == config.TaskRun && t.job.Group != "" {
			groups[t.job.Group] = true
		}
	}
	for _, t := range l.tasks {
		if t.kind == config.TaskRun && groups[t.job.Group] && !t.waiting && !slices.Contains(fell, t) {
			fell = append(fell, t)
		}
	}
	return fell
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
	now := l.local(clock)
	l.battery = nil
	for _, may := range []func(*task) bool{l.mayRun, l.mayProve} {
		var left []*task
		for _, t := range l.queue {
			if !t.waiting { // it began with others of its group
				continue
			}
			if may(t) && l.mayBegin(t, now) {
				l.begin(t, clock)
			} else {
				left = append(left, t)
			}
		}
		l.queue = left
	}
}

// mayRun: verifies and drills only read, so no run waits for them. While some members of a group run, the others wait: else its snapshots would not be made together the next time either.
func (l *loop) mayRun(t *task) bool {
	runs := l.units(config.TaskRun)
	return t.kind == config.TaskRun && !runs[t.unit()] && len(runs) < l.cfg.Parallel
}

// units are what runs take the places of: jobs and groups. With no kinds, those of all that is under way.
func (l *loop) units(kinds ...config.Task) map[string]bool {
	units := map[string]bool{}
	for k, w := range l.running {
		if len(kinds) == 0 {
			units[string(k.kind)+w.unit] = true
		} else if slices.Contains(kinds, k.kind) {
			units[w.unit] = true
		}
	}
	return units
}

// mayProve: they begin when there is room beside the runs, so that none waits for its turn, and nothing of the same job is under way.
func (l *loop) mayProve(t *task) bool {
	if t.kind == config.TaskRun || len(l.units()) >= l.cfg.Parallel {
		return false
	}
	for k := range l.running {
		if k.job == t.job.Name {
			return false
		}
	}
	return true
}
