package jobs

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/btrkeep/btrkeep/config"
)

// group is what the runs of the members of a group share: their snapshots are made together, between one call of each hook, as soon as every run is ready for its own. After that they
// go on one after the other.
type group struct {
	name    string
	hooks   config.Hooks
	sources []string
	turn    chan struct{} // of transfers and prunes: one at a time

	ready, done sync.WaitGroup // runs that may still come to their snapshot, and those that may still be at it
	freeze      sync.Once
	thaw        sync.Once
	frozen      error // of before_snapshot
	thawed      error // of after_snapshot

	mu    sync.Mutex
	taken []string // paths of the new snapshots
}

// RunGroup makes a run of each of the jobs, which are members of one group: see [Runner.Run]. Their snapshots are made together. What one comes to does not hurt the others.
//
// each is called once for each job, from a goroutine of its own; it calls run, and takes what that gives. RunGroup returns when all of these have.
func (r *Runner) RunGroup(ctx context.Context, members []config.Job, o Options, each func(job config.Job, run func() Record)) {
	first := members[0]
	if first.Timeout > 0 { // for all of them: they wait for one another
		var cancel context.CancelFunc
		ctx, cancel = timeLimit(ctx, first.Timeout)
		defer cancel()
	}
	g := &group{name: first.Group, hooks: first.Hooks, turn: make(chan struct{}, 1)}
	g.ready.Add(len(members))
	g.done.Add(len(members))
	var wg sync.WaitGroup
	for _, job := range members {
		g.sources = append(g.sources, job.Source)
		job.Timeout = 0
		job.Hooks.BeforeSnapshot, job.Hooks.AfterSnapshot = nil, nil
		wg.Go(func() {
			m := &member{group: g}
			defer m.leave()
			own := o
			own.Trigger = cmp.Or(o.Triggers[job.Name], o.Trigger)
			each(job, func() Record { return r.execute(ctx, job, own, runKind{member: m}, (*run).everything) })
		})
	}
	wg.Wait()
}

// member is one run of a group.
type member struct {
	*group
	arrived, snapped, hasTurn bool
}

// leave lets the others go on, wherever the run has ended.
func (m *member) leave() {
	if !m.arrived {
		m.ready.Done()
		m.arrived = true
	}
	if !m.snapped {
		m.done.Done()
		m.snapped = true
	}
	if m.hasTurn {
		<-m.turn
		m.hasTurn = false
	}
}

// together makes the run's snapshot by take, with those of the others, and waits for its turn to go on.
func (m *member) together(ctx context.Context, take func() (*Snapshot, error)) (taken *Snapshot, err error) {
	m.arrived = true
	m.ready.Done()
	m.ready.Wait()
	m.freeze.Do(func() { m.frozen = m.hook(ctx, hook, "before_snapshot", m.hooks.BeforeSnapshot) })
	if err = m.frozen; err == nil {
		if taken, err = take(); taken != nil {
			m.mu.Lock()
			m.taken = append(m.taken, taken.Path)
			m.mu.Unlock()
		}
	}
	m.snapped = true
	m.done.Done()
	m.done.Wait()
	m.thaw.Do(func() {
		m.thawed = m.hook(ctx, hookLate, "after_snapshot", m.hooks.AfterSnapshot, "BTRKEEP_SNAPSHOT="+strings.Join(m.taken, "\n"))
	})
	select {
	case m.turn <- struct{}{}:
		m.hasTurn = true
	case <-ctx.Done(): // what is left to do is short
	}
	return taken, errors.Join(err, m.thawed)
}

func (m *member) hook(ctx context.Context, run func(context.Context, string, []string, config.Job, ...string) error, what string, argv []string, env ...string) error {
	for i := range env {
		env[i] = bounded(env[i])
	}
	return run(ctx, what, argv, config.Job{Name: m.name, Source: bounded(strings.Join(m.sources, "\n"))}, env...)
}

// maxList is how much of a list of paths a hook gets: the kernel takes no variable of 128 KiB, execve(2).
const maxList = 100 << 10

// bounded cuts a list of lines that is too long, with a last line that says so.
func bounded(list string) string {
	if len(list) <= maxList {
		return list
	}
	cut := strings.LastIndexByte(list[:maxList], '\n')
	return list[:max(cut, 0)] + "\n…"
}
