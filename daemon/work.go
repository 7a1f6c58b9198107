package daemon

import (
	"context"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// work is one task under way.
type work struct {
	key
	unit     string // what takes one of the places for runs: the job's name, or its group's
	job      config.Job
	since    time.Time // by the wall clock, for others to read
	reported time.Time // when its progress was last logged
	clients  []*watch
	cancel   context.CancelCauseFunc
	end      func() // what the loop has to do when it has ended; valid then
}

// begin starts a task; with a member of a group, all of its members that wait as well.
func (l *loop) begin(t *task, clock jobs.Clock) {
	switch {
	case t.kind != config.TaskRun:
		execute, w := l.prove(t, clock)
		l.start(w, execute)
	case t.job.Group != "":
		l.beginGroup(l.waitingWith(t, l.local(clock)), clock)
	default:
		o := jobs.Options{Clock: clock, Trigger: t.trigger}
		w := l.takeUp(t, clock)
		ctx, runner, cfg := l.cancellable(w), l.runner, l.cfg
		l.start(w, func() (end func()) {
			return l.ran(w, l.guard(cfg, w.job, o, func() jobs.Record { return runner.Run(ctx, w.job, o) }))
		})
	}
}

// takeUp makes a waiting task one under way. From here on the next time counts, whatever becomes of a run: state that cannot be written must not start it over and over.
func (l *loop) takeUp(t *task, clock jobs.Clock) *work {
	w := &work{key: t.key(), unit: t.unit(), job: t.job, since: l.local(clock), reported: time.Now(), clients: t.clients}
	if t.kind == config.TaskRun {
		t.last, t.seen = w.since, w.since
		t.settle(w.since, l.seed)
	}
	t.waiting, t.trigger, t.hindrance, t.clients = false, "", "", nil
	l.running[w.key] = w
	l.observe(func(o Observer) { o.Began(w.job, w.kind, w.since) })
	return w
}

// start has a task done.
func (l *loop) start(w *work, execute func() (end func())) {
	go func() {
		w.end = execute()
		l.ends(w)
	}()
}

// ends hands a task back to the loop.
func (l *loop) ends(w *work) {
	select {
	case l.ended <- w:
	case <-l.gone:
	}
}

// waitingWith are the runs in the queue of the members of the group of t that may begin.
func (l *loop) waitingWith(t *task, now time.Time) []*task {
	batch := []*task{t}
	for _, other := range l.queue {
		if other != t && other.waiting && other.kind == config.TaskRun && other.job.Group == t.job.Group && l.running[other.key()] == nil && l.hindered(other, now) == "" {
			batch = append(batch, other)
		}
	}
	return batch
}

// beginGroup starts the runs of members of a group.
func (l *loop) beginGroup(batch []*task, clock jobs.Clock) {
	o := jobs.Options{Clock: clock, Trigger: batch[0].trigger, Triggers: map[string]string{}}
	for _, t := range batch {
		o.Triggers[t.job.Name] = t.trigger
	}
	works := map[string]*work{}
	var members []config.Job
	for _, t := range batch {
		works[t.job.Name] = l.takeUp(t, clock)
		members = append(members, t.job)
	}
	ctx, runner, cfg := l.cancellable(slices.Collect(maps.Values(works))...), l.runner, l.cfg
	go runner.RunGroup(ctx, members, o, func(job config.Job, run func() jobs.Record) {
		w := works[job.Name]
		w.end = l.ran(w, l.guard(cfg, w.job, o, run))
		l.ends(w)
	})
}

// ran is what the loop has to do when a run has ended.
func (l *loop) ran(w *work, record jobs.Record) (end func()) {
	return func() {
		for _, c := range w.clients {
			c.end(record)
		}
		l.observe(func(o Observer) { o.Ran(w.job, record) })
		if record.Result == jobs.ResultOK { // all destinations are there
			l.unhold(w.job)
		}
	}
}

// cancellable is the context of a task under way, or of several that end together: it ends with the daemon, and with the cancel of each.
func (l *loop) cancellable(all ...*work) context.Context {
	ctx, cancel := context.WithCancelCause(l.runs)
	release := shared(cancel, len(all))
	for _, w := range all {
		w.cancel = release
	}
	return ctx
}

// shared is cancel for n that have it in common: without a cause, by which one says that it has ended, only the last call counts.
func shared(cancel context.CancelCauseFunc, n int) context.CancelCauseFunc {
	return func(cause error) {
		if n--; cause != nil || n == 0 {
			cancel(cause)
		}
	}
}

// guard makes a run, a panic made a failed one: one job's bad luck must not end the backups of all others, and must not go unseen.
func (l *loop) guard(cfg *config.Config, job config.Job, o jobs.Options, run func() jobs.Record) (rec jobs.Record) {
	start := time.Now()
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		l.d.Log.Error(fmt.Sprintf("panic: %v\n%s", p, debug.Stack()), jobs.KeyJob, job.Name, jobs.KeyEvent, EventPanic)
		rec = jobs.Record{
			Job: job.Name, Trigger: o.Trigger, Started: o.Clock.Wall, Ended: o.Clock.Wall.Add(time.Since(start)),
			Result: jobs.ResultFailed, Transfers: []jobs.Transfer{}, Pruned: []jobs.Pruned{},
			Error: fmt.Sprintf("panic: %v", p), Hint: panicHint,
		}
		if err := jobs.Remember(cfg, job, func(s *jobs.State) {
			s.LastRun, s.LastResult, s.LastError, s.Failing = rec.Started, rec.Result, rec.Error, rec.Error
		}); err != nil {
			l.d.Log.Warn(err.Error(), jobs.KeyJob, job.Name)
		}
		if err := jobs.AppendHistory(cfg.StateDir, rec); err != nil {
			l.d.Log.Warn(err.Error(), jobs.KeyJob, job.Name)
		}
	}()
	return run()
}

const panicHint = "this is a mistake in btrkeep: please report it with the lines from the log"

// finish takes a task that has ended off the list.
func (l *loop) finish(w *work) {
	delete(l.running, w.key)
	l.d.progress.forget(w.key)
	w.cancel(nil) // it has ended
	w.end()
}
