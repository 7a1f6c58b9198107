package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs/retention"
)

// Run makes one run of the job and returns its account, which is in the history by then.
// It never returns with a lock held. A run that is refused because the job is running already has the result skipped and names the holder.
func (r *Runner) Run(ctx context.Context, job config.Job, o Options) Record {
	return r.execute(ctx, job, o, runKind{}, (*run).everything)
}

// Prune makes step 5 of a run alone: at the source and at every destination that is present.
func (r *Runner) Prune(ctx context.Context, job config.Job, o Options) Record {
	return r.execute(ctx, job, o, runKind{pruning: true}, (*run).pruneOnly)
}

var errTimeout = errors.New("the job's timeout")

// run is one execution under way.
type run struct {
	*Runner
	job    config.Job
	opts   Options
	log    *slog.Logger
	start  time.Time // with its monotonic reading, which opts.Clock need not have
	source *source
	unlock func() // the origin
	state  State
	taken  *Snapshot
	runKind
	noting bool // whether this run may write the state: it holds the lock

	mu  sync.Mutex // guards what the destinations' goroutines write
	rec Record
	// Nothing is pruned in this run: by a wrong clock everything is too old, and without the state it is not known what absent disks need.
	holdPrune bool
	doubtful  bool              // the clock
	paused    map[string]Paused // destinations, by name
}

// runKind is what tells some runs from others.
type runKind struct {
	pruning bool    // step 5 alone: no backup was tried, so none succeeded
	member  *member // of a group; nil: of none, or alone
}

func timeLimit(ctx context.Context, limit config.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, time.Duration(limit), fmt.Errorf("%w of %s is over", errTimeout, limit))
}

func (r *Runner) execute(ctx context.Context, job config.Job, o Options, kind runKind, steps func(*run, context.Context) error) Record {
	if job.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = timeLimit(ctx, job.Timeout)
		defer cancel()
	}
	n := &run{Runner: r, runKind: kind, job: job, opts: o, log: r.Log.With(KeyJob, job.Name), start: time.Now()}
	n.rec = Record{Job: job.Name, Trigger: o.Trigger, Started: o.Clock.Wall, Transfers: []Transfer{}, Pruned: []Pruned{}}
	err := n.locked(ctx, steps)
	n.finish(ctx, err)
	return n.rec
}

// locked does the steps under the job's locks.
func (r *run) locked(ctx context.Context, steps func(*run, context.Context) error) error {
	unlock, err := lockJob(r.Config, r.job, r.holder())
	if err != nil {
		return err
	}
	defer unlock()
	defer r.keepAwake()()
	r.noting = true
	if r.state, err = LoadState(r.Config.StateDir, r.job); err != nil {
		// One that cannot be parsed is written anew; one that cannot be read may be whole, and stays.
		r.holdPrune, r.noting = true, errors.Is(err, errStateSyntax)
		r.warn("%v: nothing is pruned this time, as it is not known what absent destinations need", err)
	}
	if pauses, err := LoadPauses(r.Config.StateDir, r.job, r.opts.Clock.Wall); err != nil {
		r.warn("%v: nothing counts as paused", err)
	} else {
		r.paused = pauses.Destinations
	}
	if why := r.state.doubt(r.opts.Clock); why != "" {
		r.holdPrune, r.doubtful = true, true
		r.warn("%s", why)
	}
	return steps(r, ctx)
}

// keepAwake keeps the machine from going to sleep during the run, if that is wanted. A machine that cannot be kept awake is no reason not to back it up.
func (r *run) keepAwake() (release func()) {
	if r.job.InhibitSleep && r.KeepAwake != nil {
		release, err := r.KeepAwake("a backup of " + r.job.Name)
		if err == nil {
			return release
		}
		r.warn("%v", err)
	}
	return func() {}
}

// holder is this run as the holder of locks.
func (r *run) holder() Holder {
	return Holder{PID: os.Getpid(), Job: r.job.Name, Since: r.opts.Clock.Wall, Session: runSession(r.Config.StateDir, r.job)}
}

func (r *run) everything(ctx context.Context) error {
	if r.job.Received != "" {
		return r.pruneOnly(ctx)
	}
	defer r.leave()
	if err := r.look(ctx); err != nil {
		return err
	}
	snapErr := r.snapshot(ctx)
	// What can still be done is done: older snapshots may be missing somewhere, and pruning may be what makes room for the next one.
	r.eachDestination(ctx, r.deliver)
	return errors.Join(snapErr, r.pruneSource(ctx))
}

func (r *run) pruneOnly(ctx context.Context) error {
	defer r.leave()
	if err := r.look(ctx); err != nil {
		return err
	}
	r.eachDestination(ctx, func(ctx context.Context, t *target) error {
		if err := r.lookAt(ctx, t); err != nil {
			return err
		}
		return r.pruneDestination(ctx, t)
	})
	return r.pruneSource(ctx)
}

// leave gives the source free.
func (r *run) leave() {
	if r.unlock != nil {
		r.unlock()
	}
	r.source.close()
}

// look looks at the source and cleans what a killed run left there.
func (r *run) look(ctx context.Context) error {
	var err error
	if r.source, err = r.openSource(ctx, r.job); err != nil {
		return err
	}
	if r.source.origin == nil {
		return nil
	}
	if r.unlock, err = r.source.origin.Lock(ctx, r.holder()); err != nil {
		return err
	}
	if len(r.source.leftovers()) > 0 {
		var removed []string
		removed, err = r.source.origin.Clean(ctx)
		r.log.Warn("deleted what an interrupted run left at the source", "names", strings.Join(removed, " "), KeyEvent, EventLeftover)
		err = errors.Join(err, r.source.refresh(ctx))
	}
	if e := r.sweepDrill(ctx); e != nil {
		r.warn("what an interrupted drill left at the source: %v", e)
	}
	for _, w := range []string{r.source.nestedWarning(), r.source.alteredWarning()} {
		if w != "" {
			r.warn("%s", w)
		}
	}
	return err
}

// snapshot is step 3, between its hooks: after_snapshot runs whenever before_snapshot was started, since it thaws what that froze.
func (r *run) snapshot(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	r.report(Progress{Step: "snapshot"})
	taken, err := r.hooked(ctx, func() (*Snapshot, error) { return r.source.take(ctx, r.opts.Clock.Wall) })
	switch last := r.source.lastOwn(); {
	case taken != nil:
		r.taken, r.rec.Snapshot = taken, taken.Name
		r.log.Info("snapshot "+taken.Name, KeySnapshot, taken.Name, KeyEvent, EventSnapshot)
	case err == nil && last != nil:
		r.rec.Unchanged, r.rec.Snapshot = true, last.Name
		r.log.Info("nothing has changed since "+r.rec.Snapshot+": no new snapshot", KeySnapshot, r.rec.Snapshot, KeyEvent, EventSnapshot)
	}
	return err
}

// hooked takes the snapshot between the hooks: the run's own, or those of its group.
func (r *run) hooked(ctx context.Context, take func() (*Snapshot, error)) (taken *Snapshot, err error) {
	if r.member != nil {
		return r.member.together(ctx, take)
	}
	if err = hook(ctx, "before_snapshot", r.job.Hooks.BeforeSnapshot, r.job); err == nil {
		taken, err = take()
	}
	env := []string{}
	if taken != nil {
		env = append(env, "BTRKEEP_SNAPSHOT="+taken.Path)
	}
	return taken, errors.Join(err, hookLate(ctx, "after_snapshot", r.job.Hooks.AfterSnapshot, r.job, env...))
}

// pruneSource is step 5 at the source.
func (r *run) pruneSource(ctx context.Context) error {
	if ctx.Err() != nil || r.holdPrune {
		return nil
	}
	decisions := r.source.retention(protections(r.job, r.state, r.Config.Timezone), r.opts.Clock.Wall)
	if !slices.ContainsFunc(decisions, func(d retention.Decision) bool { return d.Remove }) {
		return nil
	}
	// What the state on the disk protects may go now: the new one has to be there first.
	if err := r.state.Save(r.Config.StateDir); err != nil {
		return fmt.Errorf("nothing is pruned at the source: %w", err)
	}
	return r.leftAlone("source", r.source.delete(ctx, decisions, func(d retention.Decision) { r.pruned("source", d) }))
}

func (s *source) retention(keep protected, now time.Time) []retention.Decision {
	return retention.Plan(sourceItems(s.job, s.snapshots, keep), s.job.Keep, now, s.zone)
}

func (r *run) pruned(where string, d retention.Decision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rec.Pruned = append(r.rec.Pruned, Pruned{Where: where, Name: d.Name, Reason: strings.Join(d.Reasons, "; ")})
}

func (r *run) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.mu.Lock()
	r.rec.Warnings = append(r.rec.Warnings, text)
	r.mu.Unlock()
	r.log.Warn(text, KeyEvent, EventWarning)
}

func (r *run) report(p Progress) {
	if r.Progress == nil {
		return
	}
	p.Job = r.job.Name
	if p.Started.IsZero() {
		p.Started = time.Now()
	}
	r.Progress(p)
}

// finish makes the account of the run: result, state, history, hooks, the last line in the log.
func (r *run) finish(ctx context.Context, err error) {
	rec := &r.rec
	rec.Ended = rec.Started.Add(time.Since(r.start))
	var held *HeldError
	rec.Locked = errors.As(err, &held)
	if rec.Locked || errors.Is(err, ErrAbsent) { // a source may be on a machine that is off
		rec.NotNow = true
	}
	if err != nil {
		rec.Error, rec.Hint = err.Error(), Hint(err)
	}
	rec.Stopped = stopped(ctx)
	if ctx.Err() != nil && err == nil {
		rec.Error = fmt.Sprintf("stopped: %v", context.Cause(ctx))
	}
	rec.settle()
	if Cancelled(ctx) {
		rec.giveUp(ctx, err)
	}
	if r.pruning || rec.Stopped {
		// Whoever watches on_success for backups must not hear of it; what was stopped has neither succeeded nor failed.
	} else if rec.Result == ResultFailed || rec.failed() {
		env := []string{"BTRKEEP_RESULT=" + rec.Result, "BTRKEEP_ERROR=" + rec.firstError(), "BTRKEEP_SNAPSHOT_NAME=" + rec.Snapshot}
		r.afterwards(ctx, "on_failure", r.job.Hooks.OnFailure, env)
	} else if rec.Result == ResultOK {
		r.afterwards(ctx, "on_success", r.job.Hooks.OnSuccess, []string{"BTRKEEP_RESULT=ok", "BTRKEEP_SNAPSHOT_NAME=" + rec.Snapshot})
	}
	if r.noting {
		s := &r.state
		if r.source != nil && r.source.origin != nil {
			s.Snapshots = r.source.countOwn()
		}
		if !r.doubtful {
			s.Clock, s.Doubt = r.opts.Clock, Clock{}
		}
		if !r.pruning && !r.job.Adhoc { // these tell nothing about the job's schedule
			s.settle(rec)
		}
		if err := s.keep(r.Config.StateDir); err != nil {
			r.warn("%v", err)
		}
	}
	if err := AppendHistory(r.Config.StateDir, *rec); err != nil {
		r.warn("%v", err)
	}
	r.logEnd()
	r.report(Progress{Step: "done"})
}

// stopped reports whether a run was ended from outside, other than by its own time limit or by somebody who cancelled it.
func stopped(ctx context.Context) bool {
	return ctx.Err() != nil && !errors.Is(context.Cause(ctx), errTimeout) && !Cancelled(ctx)
}

// settle notes what became of a run. One that was stopped is still due, like one that was killed, and says as little about the job: the daemon makes it up after its next start. One that was
// cancelled is not due any more, and tells nothing of what was wrong.
func (s *State) settle(rec *Record) {
	if rec.Stopped {
		return
	}
	s.LastRun = rec.Started
	if rec.Result != ResultCancelled || s.LastError == "" || s.LastResult != ResultFailed && s.LastResult != ResultPartial {
		s.LastResult, s.LastError = rec.Result, rec.firstError()
	}
	switch {
	case rec.Error != "" && !rec.NotNow:
		s.Failing = rec.Error
	case rec.Error == "":
		s.Failing = ""
	}
	if rec.Result == ResultOK {
		s.LastSuccess = rec.Started
	}
}

func (r *run) afterwards(ctx context.Context, what string, argv, env []string) {
	if err := hookLate(ctx, what, argv, r.job, env...); err != nil {
		r.warn("%v", err)
	}
}

// settle gives the run its result from those of its transfers.
func (rec *Record) settle() {
	var ok, failed, away, paused int
	for _, t := range rec.Transfers {
		switch t.Result {
		case ResultOK:
			ok++
		case ResultFailed:
			failed++
		case ResultPaused: // as was asked for
			paused++
		default:
			away++
		}
	}
	none := paused > 0 && ok == 0 && failed == 0 // nothing was backed up
	if (away > 0 || none) && rec.Error == "" {
		rec.NotNow = true
	}
	switch {
	case rec.Error != "" && rec.NotNow:
		rec.Result = ResultSkipped
	case rec.Error != "" && ok == 0, failed > 0 && ok == 0:
		rec.Result = ResultFailed
	case rec.Error != "" || failed > 0:
		rec.Result = ResultPartial
	case away > 0 && ok == 0, none:
		rec.Result = ResultSkipped
	case away > 0:
		rec.Result = ResultPartial
	default:
		rec.Result = ResultOK
	}
}

// firstError is the run's own error, or else that of its first transfer that failed.
func (rec *Record) firstError() string {
	if rec.Error != "" {
		return rec.Error
	}
	for _, t := range rec.Transfers {
		if t.Result == ResultFailed {
			return t.Destination + ": " + t.Error
		}
	}
	return ""
}

func (r *run) logEnd() {
	rec := &r.rec
	if n := len(rec.Pruned); n > 0 {
		r.log.Info(fmt.Sprintf("pruned %d", n), "pruned", n, KeyEvent, EventPruned)
	}
	attrs := []any{KeyResult, rec.Result, KeySnapshot, rec.Snapshot, KeySeconds, rec.Ended.Sub(rec.Started).Round(time.Millisecond).Seconds(), KeyEvent, EventRun}
	text := fmt.Sprintf("%s in %s", rec.Result, rec.Ended.Sub(rec.Started).Round(time.Millisecond))
	switch {
	case rec.Result == ResultOK || (rec.NotNow && !rec.failed() && rec.Error == ""):
		r.log.Info(text, attrs...)
	case rec.Result == ResultCancelled:
		r.log.Warn(rec.Error+" after "+rec.Ended.Sub(rec.Started).Round(time.Millisecond).String(), attrs...)
	case rec.NotNow && !rec.failed():
		r.log.Warn("not now: "+rec.Error, attrs...)
	default:
		attrs = append(attrs, KeyError, rec.firstError())
		if hint := cmp.Or(rec.Hint, rec.firstHint()); hint != "" {
			attrs = append(attrs, KeyHint, hint)
		}
		r.log.Error(text, attrs...)
	}
}

func (rec *Record) firstHint() string {
	for _, t := range rec.Transfers {
		if t.Hint != "" {
			return t.Hint
		}
	}
	return ""
}
