package jobs

import (
	"os"
	"slices"
	"time"

	"github.com/btrkeep/btrkeep/config"
)

// TaskResult is what came of a verify, or of a drill, of one destination.
type TaskResult struct {
	Result   string   // ok, failed; absent, busy, skipped: not now
	Problems int      // that were found
	Findings []string // those problems in words, or the first of them
	Damaged  []string // names of the backups that have them
	Sound    []string // names of the backups that were read whole and have none
	Error    string   // why it could not be done, or not now
	Hint     string
	Seconds  float64
}

// NotNow reports that nothing was done, and nothing is wrong.
func (r TaskResult) NotNow() bool {
	return r.Result == ResultAbsent || r.Result == ResultBusy || r.Result == ResultSkipped
}

// TaskState is what the daemon remembers of the verifies, or of the drills, of a job: it tells when the next is due.
//
//easyjson:json
type TaskState struct {
	FirstSeen time.Time `json:"first_seen,omitzero"`
	Last      time.Time `json:"last,omitzero"`  // start of the last one that the schedule asked for
	Owed      []string  `json:"owed,omitempty"` // names of the destinations that it left out: they were not there, or it was cut short
}

// Proof is what the last verify, or the last drill, of a destination showed.
//
//easyjson:json
type Proof struct {
	Last        time.Time `json:"last"` // its start
	LastSuccess time.Time `json:"last_success,omitzero"`
	Result      string    `json:"result"` // ok, failed
	Problems    int       `json:"problems,omitempty"`
	Damaged     []string  `json:"damaged,omitempty"` // backups that were found damaged, by this one or one before, and not found sound since
	Error       string    `json:"error,omitempty"`
	Seconds     float64   `json:"seconds"`
}

// Prove notes what a verify, or a drill, that began at start showed of a destination. One that could not be done now shows nothing.
func (s *State) Prove(kind config.Task, d config.Destination, start time.Time, r TaskResult) {
	if r.NotNow() {
		return
	}
	there := s.Destinations[d.URL]
	proofs := map[config.Task]Proof{}
	for k, p := range there.Proofs {
		proofs[k] = p
	}
	p := Proof{
		Last: start, LastSuccess: proofs[kind].LastSuccess, Result: r.Result, Problems: r.Problems, Error: r.Error, Seconds: r.Seconds,
	}
	if r.Result == ResultOK {
		p.LastSuccess = start
	}
	// A pass over a tenth of the files that finds nothing says nothing of the damage that another tenth has.
	for _, name := range slices.Concat(proofs[kind].Damaged, r.Damaged) {
		if !slices.Contains(r.Sound, name) && !slices.Contains(p.Damaged, name) {
			p.Damaged = append(p.Damaged, name)
		}
	}
	proofs[kind] = p
	there.Name, there.Proofs = d.Name, proofs
	s.Destinations[d.URL] = there
}

// NoteTask changes what is remembered of a task.
func (s *State) NoteTask(kind config.Task, change func(*TaskState)) {
	t := s.Tasks[kind]
	change(&t)
	if s.Tasks == nil {
		s.Tasks = map[config.Task]TaskState{}
	}
	s.Tasks[kind] = t
}

// Meet notes since when a task is known, if that has not been noted.
func (s *State) Meet(kind config.Task, now time.Time) {
	if kind == config.TaskRun {
		if s.FirstSeen.IsZero() {
			s.FirstSeen = now
		}
		return
	}
	s.NoteTask(kind, func(t *TaskState) {
		if t.FirstSeen.IsZero() {
			t.FirstSeen = now
		}
	})
}

// DrillTurns are the destinations that the next drill of the job is to be of: the first that is there. That whose last drill is the longest ago comes first.
func (s *State) DrillTurns(job config.Job) []config.Destination {
	turns := slices.Clone(job.Destinations)
	if name := job.Drill.Destination; name != "" {
		return slices.DeleteFunc(turns, func(d config.Destination) bool { return d.Name != name })
	}
	last := func(d config.Destination) time.Time { return s.Destinations[d.URL].Proofs[config.TaskDrill].Last }
	slices.SortStableFunc(turns, func(a, b config.Destination) int { return last(a).Compare(last(b)) })
	return turns
}

// NoteVerify notes what a verify that somebody asked for showed, as Remember does. When the next scheduled one is due does not depend on it.
func (r *Runner) NoteVerify(job config.Job, rep VerifyReport) error {
	results := map[string]TaskResult{} // by URL
	for _, d := range rep.Destinations {
		one := VerifyReport{Started: rep.Started, Ended: rep.Ended, Result: d.Result, Destinations: []VerifiedDestination{d}}
		if rep.Error != "" && d.Result != ResultFailed { // it was stopped, or kept from it
			continue
		}
		i := slices.IndexFunc(job.Destinations, func(c config.Destination) bool { return c.URL == d.URL })
		if t := one.TaskResult(); i >= 0 && !t.NotNow() {
			results[job.Destinations[i].URL] = t
		}
	}
	if len(results) == 0 {
		return nil
	}
	return Remember(r.Config, job, func(s *State) {
		for _, d := range job.Destinations {
			if t, ok := results[d.URL]; ok {
				s.Prove(config.TaskVerify, d, rep.Started, t)
			}
		}
	})
}

// Remember changes the state of a job, under the locks that a run of it takes: an error wraps *HeldError while one is under way.
func Remember(cfg *config.Config, job config.Job, change func(*State)) error {
	unlock, err := lockJob(cfg, job, Holder{PID: os.Getpid(), Job: job.Name, Since: time.Now()})
	if err != nil {
		return err
	}
	defer unlock()
	s, err := LoadState(cfg.StateDir, job)
	if err != nil {
		return err
	}
	change(&s)
	return s.Save(cfg.StateDir)
}
