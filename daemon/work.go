package daemon

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// work is one task under way.
type work struct {
	key
	job      config.Job
	since    time.Time // by the wall clock, for others to read
	reported time.Time // when its progress was last logged
	clients  []*watch
	cancel   context.CancelCauseFunc
	end      func() // what the loop has to do when it has ended; valid then
}

// begin starts a task.
func (l *loop) begin(t *task, clock jobs.Clock) {
	w := &work{key: t.key(), job: t.job, since: l.local(clock), reported: time.Now(), clients: t.clients}
	do := l.prove
	if t.kind == config.TaskRun {
		do = l.makeRun
	}
	execute := do(t, w, clock)
	t.waiting, t.trigger, t.clients = false, "", nil
	l.running[w.key] = w
	l.observe(func(o Observer) { o.Began(w.job, w.kind, w.since) })
	go func() {
		w.end = execute()
		select {
		case l.ended <- w:
		case <-l.gone:
		}
	}()
}

// makeRun prepares a run. From here on the next time counts, whatever becomes of the run: state that cannot be written must not start it over and over.
func (l *loop) makeRun(t *task, w *work, clock jobs.Clock) (execute func() (end func())) {
	o := jobs.Options{Clock: clock, Trigger: t.trigger}
	t.last, t.seen = w.since, w.since
	t.settle(w.since, l.seed)
	ctx, runner, cfg := l.cancellable(w), l.runner, l.cfg
	return func() func() {
		record := l.execute(ctx, runner, cfg, w.job, o)
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
}

// cancellable is the context of a task under way: it ends with the daemon, and with w.cancel.
func (l *loop) cancellable(w *work) context.Context {
	ctx, cancel := context.WithCancelCause(l.runs)
	w.cancel = cancel
	return ctx
}

// execute is runner.Run, a panic made a failed run: one job's bad luck must not end the backups of all others, and must not go unseen.
func (l *loop) execute(ctx context.Context, runner Runner, cfg *config.Config, job config.Job, o jobs.Options) (rec jobs.Record) {
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
			s.LastRun, s.LastResult, s.LastError = rec.Started, rec.Result, rec.Error
		}); err != nil {
			l.d.Log.Warn(err.Error(), jobs.KeyJob, job.Name)
		}
		if err := jobs.AppendHistory(cfg.StateDir, rec); err != nil {
			l.d.Log.Warn(err.Error(), jobs.KeyJob, job.Name)
		}
	}()
	return runner.Run(ctx, job, o)
}

const panicHint = "this is a mistake in btrkeep: please report it with the lines from the log"

// finish takes a task that has ended off the list.
func (l *loop) finish(w *work) {
	delete(l.running, w.key)
	l.d.progress.forget(w.key)
	w.cancel(nil) // it has ended
	w.end()
}
