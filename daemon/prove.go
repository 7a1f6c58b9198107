package daemon

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// Task verifies the backups of a job at one of its destinations, or drills a restore from there. It takes no lock that a run of the job needs. The
// context ends when the daemon stops: Task must then return within seconds, with nothing left that needs a hand.
type Task func(ctx context.Context, cfg *config.Config, job config.Job, destination string, clock jobs.Clock) jobs.TaskResult

const (
	// proveAgain is how soon a verify or a drill looks again for a destination that was not there. A run that finds all of them makes it at once.
	proveAgain = time.Hour

	// maxFindings is how many of the problems that a verify found are logged one by one.
	maxFindings = 5
)

// proof is a verify or a drill under way, of one destination after the other.
type proof struct {
	*work
	d         *Daemon
	cfg       *config.Config
	do        Task
	owed      []string // only of these
	scheduled bool     // not only for what an earlier one left out

	shown []shown
	left  []string // destinations that were not there, or that the end of the daemon kept it from
	why   string   // why the last of these was not there
}

// shown is what it came to at one destination.
type shown struct {
	destination config.Destination
	start       time.Time
	result      jobs.TaskResult
}

// prove prepares a verify or a drill. As long as it is under way it is not due again.
func (l *loop) prove(t *task, clock jobs.Clock) (execute func() (end func()), w *work) {
	w = l.takeUp(t, clock)
	p := &proof{work: w, d: l.d, cfg: l.cfg, do: l.d.Tasks[t.kind], scheduled: t.isDue(w.since)}
	if !p.scheduled {
		p.owed = t.owed
	}
	ctx := l.cancellable(w)
	return func() func() {
		p.all(ctx)
		return func() { l.proved(p) }
	}, w
}

// destinations are those to look at, in that order.
func (p *proof) destinations() []config.Destination {
	if p.kind == config.TaskDrill {
		s, err := jobs.LoadState(p.cfg.StateDir, p.job)
		if err != nil {
			p.d.Log.Warn(err.Error(), jobs.KeyJob, p.job.Name)
		}
		return s.DrillTurns(p.job)
	}
	if p.scheduled {
		return p.job.Destinations
	}
	return slices.DeleteFunc(slices.Clone(p.job.Destinations), func(d config.Destination) bool { return !slices.Contains(p.owed, d.Name) })
}

func (p *proof) all(ctx context.Context) {
	for _, d := range p.destinations() {
		if jobs.Cancelled(ctx) { // nor is it made up for
			return
		}
		if ctx.Err() != nil {
			p.left = append(p.left, d.Name)
			continue
		}
		if p.pausedAt(d) {
			p.left, p.why = append(p.left, d.Name), "it is paused"
			continue
		}
		clock := p.d.now()
		p.d.progress.forget(p.key)
		p.d.progress.post(jobs.Progress{Job: p.job.Name, Step: string(p.kind), Destination: d.Name, Started: clock.Wall})
		r := p.one(ctx, d, clock)
		cut := ctx.Err() != nil
		if !r.NotNow() && (!cut || r.Problems > 0) { // what it had found when it was cut short holds
			p.shown = append(p.shown, shown{d, clock.Wall, r})
			p.log(d, r)
		}
		if jobs.Cancelled(ctx) {
			return
		}
		if cut || r.NotNow() {
			p.left, p.why = append(p.left, d.Name), r.Error
			continue
		}
		if p.kind == config.TaskDrill { // the others have their turn another time
			p.left = nil
			return
		}
	}
}

// one is do, a panic made a failure.
func (p *proof) one(ctx context.Context, d config.Destination, clock jobs.Clock) (r jobs.TaskResult) {
	defer func() {
		if v := recover(); v != nil {
			p.d.Log.Error(fmt.Sprintf("panic: %v\n%s", v, debug.Stack()), jobs.KeyJob, p.job.Name, jobs.KeyEvent, EventPanic)
			r = jobs.TaskResult{Result: jobs.ResultFailed, Error: fmt.Sprintf("panic: %v", v), Hint: panicHint}
		}
	}()
	return p.do(ctx, p.cfg, p.job, d.Name, clock)
}

// log tells what was found at a destination.
func (p *proof) log(d config.Destination, r jobs.TaskResult) {
	event := jobs.EventVerify
	if p.kind == config.TaskDrill {
		event = jobs.EventDrill
	}
	log := p.d.Log.With(jobs.KeyJob, p.job.Name, jobs.KeyDestination, d.Name, jobs.KeyEvent, event)
	took := time.Duration(r.Seconds * float64(time.Second)).Round(time.Millisecond)
	attrs := []any{jobs.KeyResult, r.Result, jobs.KeySeconds, took.Seconds()}
	if r.Result == jobs.ResultOK {
		log.Info(fmt.Sprintf("%s of %s: ok in %s", p.kind, d.Name, took), attrs...)
		return
	}
	text := fmt.Sprintf("%s of %s: failed", p.kind, d.Name)
	if r.Problems > 0 {
		text = fmt.Sprintf("%s of %s: %d problems", p.kind, d.Name, r.Problems)
	}
	if r.Error != "" {
		attrs = append(attrs, jobs.KeyError, r.Error)
	}
	if r.Hint != "" {
		attrs = append(attrs, jobs.KeyHint, r.Hint)
	}
	log.Error(text, attrs...)
	for _, f := range r.Findings[:min(len(r.Findings), maxFindings)] {
		log.Error(f)
	}
}

// proved takes in what a verify or a drill has come to. What it left out is still due.
func (l *loop) proved(p *proof) {
	for _, one := range p.shown {
		l.observe(func(o Observer) { o.Proved(p.job, p.kind, one.destination.Name, one.start, one.result) })
	}
	if p.scheduled || len(p.shown) > 0 || !slices.Equal(p.left, p.owed) {
		l.note(p.job, func(s *jobs.State) {
			for _, one := range p.shown {
				s.Prove(p.kind, one.destination, one.start, one.result)
			}
			s.NoteTask(p.kind, func(t *jobs.TaskState) {
				t.Owed = p.left
				if p.scheduled {
					t.Last = p.since
				}
			})
		})
	}
	i := slices.IndexFunc(l.tasks, func(t *task) bool { return t.key() == p.key })
	if i < 0 {
		return
	}
	t := l.tasks[i]
	t.owed = p.left
	if p.scheduled {
		t.last, t.seen = p.since, p.since
	}
	away := strings.Join(p.left, ", ")
	if away != "" {
		t.hold = time.Now().Add(proveAgain)
	}
	if away != t.away && away != "" && !l.stop {
		l.d.Log.Info(fmt.Sprintf("%s of %s: not now, but as soon as it can be: %s", p.kind, away, p.why), jobs.KeyJob, p.job.Name)
	}
	t.away = away
}

// unhold lets the verifies and drills of a job that wait for a destination look again.
func (l *loop) unhold(job config.Job) {
	for _, t := range l.tasks {
		if t.job.Name == job.Name {
			t.hold = time.Time{}
		}
	}
}
