package metrics

import (
	"maps"
	"sync"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// states collects what the states of the jobs say when it is asked. It reads files of the state directory and nothing else.
type states struct {
	now          func() time.Time
	jobs         []column[job]
	destinations []column[destination]
	proofs       map[config.Task][]column[jobs.Proof]
	problem      *desc

	mu      sync.Mutex
	cfg     *config.Config       // nil: not yet
	running map[string]time.Time // since when, by job; what other processes run is not known
}

func newStates(now func() time.Time) *states {
	return &states{
		now: now, running: map[string]time.Time{},
		jobs: jobColumns(), destinations: destinationColumns(),
		proofs: map[config.Task][]column[jobs.Proof]{config.TaskVerify: proofColumns("verify"), config.TaskDrill: proofColumns("drill")},
		problem: &desc{
			"btrkeep_problem", "Whether a job or one of its destinations needs somebody, by kind: stale, failing, verify, drill. Without a destination it is the job itself.",
			gauge, []string{jobLabel, destinationLabel, kindLabel},
		},
	}
}

func (s *states) use(cfg *config.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg = cfg
}

func (s *states) began(job string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[job] = at
}

func (s *states) ended(job string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, job)
}

// collect tells of all jobs.
func (s *states) collect(e *exposition) {
	s.mu.Lock()
	cfg, running := s.cfg, maps.Clone(s.running)
	s.mu.Unlock()
	if cfg == nil {
		return
	}
	now := s.now().In(cfg.Timezone)
	for _, j := range cfg.Jobs {
		state, err := jobs.LoadState(cfg.StateDir, j)
		s.one(e, job{Job: j, state: state, readable: err == nil, began: running[j.Name], now: now})
	}
}

func (s *states) one(e *exposition, j job) {
	tell(e, s.jobs, j, j.Name)
	for _, d := range j.Destinations {
		there := j.state.Destinations[d.URL]
		tell(e, s.destinations, destination{d, there}, j.Name, d.Name)
		for kind, columns := range s.proofs {
			proof, ok := there.Proofs[kind]
			if ok || j.proves(kind, d) {
				tell(e, columns, proof, j.Name, d.Name)
			}
		}
	}
	for p, is := range j.problems() {
		e.add(s.problem, truth(is), j.Name, p.destination, p.kind)
	}
}

// job is a job, and what is known of it at the moment.
type job struct {
	config.Job
	state    jobs.State
	readable bool
	began    time.Time // of the run under way; zero: none
	now      time.Time // in the zone in which schedules live
}

// proves reports whether the job's schedules ask for proofs of a destination.
func (j job) proves(kind config.Task, d config.Destination) bool {
	if j.ScheduleOf(kind).IsZero() {
		return false
	}
	return kind != config.TaskDrill || j.Drill.Destination == "" || j.Drill.Destination == d.Name
}

// next is when the job runs next. A time that has passed was missed, and waits for the daemon.
func (j job) next() time.Time {
	s := j.state
	if j.began.After(s.LastRun) { // which is written at its end
		s.LastRun = j.began
	}
	next := s.NextRun(j.Job, j.now)
	if !j.CatchUp && next.Before(j.now) { // then it is given up
		next = j.Schedule.Next(j.now, s.LastRun.In(j.now.Location()))
	}
	return next
}

type problem struct{ destination, kind string }

// problems are all that the job can have, with whether it has them.
func (j job) problems() map[problem]bool {
	all := map[problem]bool{{"", jobs.ProblemFailing}: false}
	for _, d := range j.Destinations {
		for _, kind := range []string{jobs.ProblemStale, jobs.ProblemFailing, jobs.ProblemVerify, jobs.ProblemDrill} {
			all[problem{d.Name, kind}] = false
		}
	}
	for _, p := range j.state.Health(j.Job, j.now) {
		all[problem{p.Destination, p.Kind}] = true
	}
	return all
}

// destination is one of a job, and what is known of it.
type destination struct {
	config.Destination
	jobs.DestinationState
}

// column is one metric that every T has a value of, or may have.
type column[T any] struct {
	desc  *desc
	value func(T) (v float64, known bool)
}

func tell[T any](e *exposition, columns []column[T], of T, labels ...string) {
	for _, c := range columns {
		if v, known := c.value(of); known {
			e.add(c.desc, v, labels...)
		}
	}
}
