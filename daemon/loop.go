package daemon

import (
	"cmp"
	"context"
	"hash/maphash"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

const (
	// recheck is how often the wall clock is looked at: timers stand still while the machine sleeps, and know nothing of a clock that is set.
	recheck = 30 * time.Second

	// stopPatience is how long runs have to end when the daemon stops: they need to kill a child and let it clean up, not to finish a transfer.
	stopPatience = 8 * time.Second
)

// loop owns everything that changes. All of it is touched by one goroutine only, that of run; others go through call.
type loop struct {
	d       *Daemon
	loaded  *config.Config // as it was read, with its groups
	grouped time.Time      // when it was looked last what they stand for, on the monotonic clock
	cfg     *config.Config // the same, with the members of the groups
	runner  Runner
	tasks   []*task       // of cfg.Jobs, sorted by name
	queue   []*task       // that have fallen due, in that order
	running map[key]*work // tasks under way
	notes   []*note
	battery *bool        // whether the machine runs on battery, if that was asked this time round
	refused *ReloadError // what is wrong with the files, if they were not taken
	stop    bool         // nothing starts any more
	started time.Time
	seed    maphash.Seed // of the jitter
	manager manager
	runs    context.Context // of all tasks under way; it ends when the daemon does, with errStopping

	hup   <-chan os.Signal
	calls chan func()
	ended chan *work
	gone  chan struct{} // closed when run has returned
}

func (d *Daemon) newLoop(hup <-chan os.Signal) *loop {
	return &loop{
		d: d, running: map[key]*work{}, started: d.now().Wall, seed: maphash.MakeSeed(), manager: manager{log: d.Log},
		hup: hup, calls: make(chan func()), ended: make(chan *work), gone: make(chan struct{}),
	}
}

// run works until ctx ends and the runs under way have.
func (l *loop) run(ctx context.Context, cfg *config.Config) {
	defer close(l.gone)
	// Not ctx itself: runs are told why.
	var cancel context.CancelCauseFunc
	l.runs, cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(errStopping)
	l.use(cfg)
	l.manager.start()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(l.step())
		select {
		case <-ctx.Done():
			l.wind(func() { cancel(errStopping) })
			return
		case <-timer.C:
		case w := <-l.ended:
			l.finish(w)
		case f := <-l.calls:
			f()
		case <-l.hup:
			_ = l.reload() // it has been logged
		}
	}
}

// step does what is to be done now and says how long nothing will be.
func (l *loop) step() time.Duration {
	clock := l.d.now()
	now := l.local(clock)
	l.regroup(false)
	l.admit(now)
	l.dispatch(clock)
	l.report()
	tick := jobs.Clock{Wall: now, Boot: clock.Boot, ID: clock.ID}
	l.observe(func(o Observer) { o.Tick(tick) })
	l.manager.status(l.summary(now))
	wait := min(recheck, l.manager.ping())
	if l.write() {
		return 0
	}
	if next := l.next(); next != nil {
		wait = min(wait, next.due.Sub(now))
	}
	return wait
}

// local is a clock's reading in the configured time zone. Without the monotonic reading, so that differences are those of the wall clock.
func (l *loop) local(c jobs.Clock) time.Time { return c.Wall.Round(0).In(l.cfg.Timezone) }

// next is the task that falls due first, or nil.
func (l *loop) next() *task {
	var first *task
	for _, t := range l.tasks {
		if l.free(t) && !t.due.IsZero() && (first == nil || t.due.Before(first.due)) {
			first = t
		}
	}
	return first
}

// wind ends the runs.
func (l *loop) wind(cancel func()) {
	l.stop = true
	l.d.Log.Info("stopping", "running", len(l.running))
	l.manager.stopping(len(l.running), stopPatience)
	for _, t := range l.queue {
		l.dismiss(t, errStopping.Error())
	}
	l.queue = nil
	cancel()
	l.await()
	for l.write() {
	}
}

// await waits for what is under way.
func (l *loop) await() {
	deadline := time.NewTimer(stopPatience)
	defer deadline.Stop()
	for len(l.running) > 0 {
		select {
		case w := <-l.ended:
			l.finish(w)
		case f := <-l.calls:
			f()
		case <-deadline.C:
			var names []string
			for _, k := range l.underWay() {
				names = append(names, k.String())
			}
			l.d.Log.Error("stopping although runs have not ended in "+stopPatience.String(), "jobs", strings.Join(names, ", "))
			return
		}
	}
}

// underWay are the keys of what is under way, sorted.
func (l *loop) underWay() []key {
	return slices.SortedFunc(maps.Keys(l.running), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.job, b.job), cmp.Compare(a.kind, b.kind))
	})
}

// call has f done by the loop, or returns an error without having done it.
func (l *loop) call(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case l.calls <- func() { f(); close(done) }:
		<-done
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-l.gone:
		return errStopping
	}
}
