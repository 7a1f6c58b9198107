// Package notify tells people and services how the jobs fare.
//
// Somebody is told once when something breaks, is reminded while it stays so, and is told once when it is well again. What is wrong is what [jobs.State.Health] says: so a disk that is
// away is nobody's concern until its backups are stale. A check in the manner of healthchecks.io hears of every run.
//
// What has been told, and what could not be told yet, is kept in the state directory: a restart tells nothing twice and forgets nothing. Nothing here can harm a run.
package notify

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// Notifier is an observer of the daemon. Make it with [New].
type Notifier struct {
	log  *slog.Logger
	tail func(job string) string // the last lines of the log about a job
	host string
	send func(ctx context.Context, e entry) error // what reaches out: replaced in tests

	ctx     context.Context // of what is being sent
	stop    context.CancelFunc
	sending sync.WaitGroup

	saving sync.Mutex // guards saved, and the file; taken before mu
	saved  string     // what the file in the state directory holds

	mu      sync.Mutex // guards what follows; never held while something is sent, or a file read or written: the daemon's loop takes it
	cfg     *config.Config
	now     time.Time            // of the last tick
	looked  time.Time            // when all jobs were looked at last
	changed map[string]bool      // jobs to look at with the next tick
	refused error                // what is wrong with the configuration's files
	runs    map[string]string    // id of the run under way, by job
	looking bool                 // somebody does, so that no more than one does
	ledger  ledger               // what has been told
	outbox  outbox               // what has not been told yet
	broken  map[string]time.Time // targets whose failure was logged, and when
}

// lookEvery is how often all jobs are looked at: backups grow stale by themselves, and runs are made by others too.
const lookEvery = 5 * time.Minute

// New makes a notifier. tail gives the last lines of the log about a job.
func New(log *slog.Logger, tail func(job string) string) *Notifier {
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	n := &Notifier{
		log: log, tail: tail, host: host, send: send, changed: map[string]bool{}, runs: map[string]string{}, broken: map[string]time.Time{},
	}
	n.ctx, n.stop = context.WithCancel(context.Background())
	return n
}

// Configured takes the configuration in force. With the first one it reads what an earlier daemon has told.
func (n *Notifier) Configured(cfg *config.Config) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cfg == nil {
		n.recall(cfg.StateDir)
	}
	n.cfg, n.looked = cfg, time.Time{}
}

// Refused takes what is wrong with the configuration's files.
func (n *Notifier) Refused(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refused, n.changed[""] = err, true
}

// Began tells the job's check that a run begins.
func (n *Notifier) Began(job config.Job, kind config.Task, at time.Time) {
	if kind != config.TaskRun {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now = at
	id := newRunID()
	n.runs[job.Name] = id
	if job.Notify.PingURL != "" {
		n.outbox.ping(n.now, job, pingStart, id, "")
	}
}

// Ran tells the job's check how a run ended, and has the job looked at.
func (n *Notifier) Ran(job config.Job, r jobs.Record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changed[job.Name] = true
	id := n.runs[job.Name]
	delete(n.runs, job.Name)
	if job.Notify.PingURL == "" || r.Stopped {
		return
	}
	n.ledger.ran[job.Name] = ran{id: id, status: jobs.ExitStatus([]jobs.Record{r})}
}

// Proved has the job looked at.
func (n *Notifier) Proved(job config.Job, _ config.Task, _ string, _ time.Time, _ jobs.TaskResult) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changed[job.Name] = true
}

// Tick looks at the jobs that something became of, now and then at all, and sends what there is to send.
func (n *Notifier) Tick(clock jobs.Clock) {
	now := clock.Wall
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now = now
	if n.cfg == nil || n.ctx.Err() != nil {
		return
	}
	if due := now.Sub(n.looked); !n.looking && (len(n.changed) > 0 || due >= lookEvery || due < 0) {
		n.look(clock, due >= lookEvery || due < 0)
	}
	n.pump()
}

// look starts to look at what changed, or at all jobs.
func (n *Notifier) look(clock jobs.Clock, all bool) {
	now := clock.Wall
	cfg, refused, changed := n.cfg, n.refused, n.changed
	n.looking, n.changed = true, map[string]bool{}
	if all {
		n.looked = now
	}
	n.sending.Go(func() {
		var found []finding
		for _, job := range cfg.Jobs {
			if !job.Notify.IsZero() && (all || changed[job.Name]) {
				found = append(found, n.find(cfg, job, clock))
			}
		}
		n.take(found, func() {
			if !cfg.Notify.IsZero() && (all || changed[""]) {
				n.judge(ownFinding(cfg, refused), now)
			}
			if all {
				n.ledger.forget(cfg)
			}
		}, now)
	})
}

// take takes in what was found. What is to be told is written down before anybody is told: else a power cut could have it told twice, or, after its end, never.
func (n *Notifier) take(found []finding, more func(), now time.Time) {
	n.mu.Lock()
	for _, f := range found {
		n.judge(f, now)
	}
	more()
	n.mu.Unlock()
	n.save()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.looking = false
	n.pump()
}

// finding is how a job is found, or the daemon itself.
type finding struct {
	name     string // of the job; empty: the daemon itself
	job      config.Job
	notify   config.Notify
	problems []jobs.Problem
	unknown  bool // its state cannot be read
	running  bool // so that it may be well in a moment
	doubtful bool // the clock: how old anything is is not known
}

func (n *Notifier) find(cfg *config.Config, job config.Job, clock jobs.Clock) finding {
	f := finding{name: job.Name, job: job, notify: job.Notify}
	s, err := jobs.LoadState(cfg.StateDir, job)
	if err != nil {
		n.log.Warn(err.Error(), jobs.KeyJob, job.Name)
		f.unknown = true
		return f
	}
	f.problems, f.doubtful = s.Health(job, clock.Wall), s.Doubts(clock)
	return f
}

// problemConfig is what is wrong where a reload was refused.
const problemConfig = "config"

func ownFinding(cfg *config.Config, refused error) finding {
	f := finding{notify: cfg.Notify}
	if refused != nil {
		f.problems = []jobs.Problem{{Kind: problemConfig, Text: "the configuration has mistakes, and the one before stays in force: " + refused.Error()}}
	}
	return f
}

// judge compares what was found with what has been told, and puts what there is to tell into the outbox.
func (n *Notifier) judge(f finding, now time.Time) {
	if r, ok := n.ledger.ran[f.name]; ok { // a run has ended
		delete(n.ledger.ran, f.name)
		what, why := r.outcome(f.problems), n.tail(f.name)
		n.outbox.ping(now, f.job, what, r.id, why)
	}
	if f.unknown {
		return
	}
	_, f.running = n.runs[f.name]
	m, any := n.ledger.update(f, now)
	if !any {
		return
	}
	m.Host, m.Time = n.host, now
	if m.Event != EventRecovered {
		m.Log = n.tail(f.name)
	}
	n.outbox.message(now, f.notify, m)
}

// Close ends the notifier: what is being sent is given until ctx ends, and what was not sent is kept for the next one.
func (n *Notifier) Close(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		n.sending.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	n.stop()
}
