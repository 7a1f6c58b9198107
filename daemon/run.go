package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// run is one run under way.
type run struct {
	job      config.Job
	since    time.Time // by the wall clock, for others to read
	reported time.Time // when its progress was last logged
	clients  []*watch
	record   jobs.Record // valid once it has ended
}

// begin starts a run. From here on the next time counts, whatever becomes of the run: state that cannot be written must not start it over and over.
func (l *loop) begin(e *entry, clock jobs.Clock) {
	now := l.local(clock)
	r := &run{job: e.job, since: now, reported: time.Now(), clients: e.clients}
	o := jobs.Options{Clock: clock, Trigger: e.trigger}
	e.last, e.seen = now, now
	e.waiting, e.trigger, e.clients = false, "", nil
	e.settle(now, l.seed)
	l.running[e.job.Name] = r
	runner, cfg := l.runner, l.cfg
	go func() {
		r.record = l.execute(l.runs, runner, cfg, r.job, o)
		select {
		case l.ended <- r:
		case <-l.gone:
		}
	}()
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
			Error: fmt.Sprintf("panic: %v", p), Hint: "this is a mistake in btrkeep: please report it with the lines from the log",
		}
		if err := remember(cfg, job, func(s *jobs.State) {
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

// remember changes what is remembered of a job, under the job's lock.
func remember(cfg *config.Config, job config.Job, change func(*jobs.State)) error {
	holder := jobs.Holder{PID: os.Getpid(), Job: job.Name, Since: time.Now()}
	unlock, err := jobs.Lock(filepath.Join(cfg.RuntimeDir, job.Name+".lock"), holder)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := jobs.LoadState(cfg.StateDir, job)
	if err != nil {
		return err
	}
	change(&s)
	return s.Save(cfg.StateDir)
}

// finish takes a run that has ended off the list and tells those who asked for it.
func (l *loop) finish(r *run) {
	delete(l.running, r.job.Name)
	l.d.progress.forget(r.job.Name)
	for _, w := range r.clients {
		w.end(r.record)
	}
}
