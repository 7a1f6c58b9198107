package jobs

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/btrkeep/btrkeep/config"
)

// Status is how one job stands: an element of `status --json`. Fields are only ever added.
type Status struct {
	Job          string              `json:"job"`
	Source       string              `json:"source"`
	State        string              `json:"state"`          // ok, never, running, failing, partial, skipped, cancelled; absent: the source is on another machine that cannot be reached now
	Step         string              `json:"step,omitempty"` // of a run under way
	LastRun      time.Time           `json:"last_run,omitzero"`
	LastSuccess  time.Time           `json:"last_success,omitzero"`
	LastResult   string              `json:"last_result"`
	LastError    string              `json:"last_error"`
	NextRun      time.Time           `json:"next_run,omitzero"` // zero without a schedule
	Held         string              `json:"held,omitempty"`    // why a run that is due has to wait, such as "on battery"
	Late         bool                `json:"late"`              // NextRun has passed by more than a run may take, and nothing has begun
	Waiting      bool                `json:"waiting,omitempty"` // it is due, and waits until others have ended
	Paused       *Paused             `json:"paused,omitempty"`  // nil: it is not
	Snapshots    int                 `json:"snapshots"`
	Error        string              `json:"error,omitempty"` // of looking at it now
	Hint         string              `json:"hint,omitempty"`
	Destinations []DestinationStatus `json:"destinations"`

	grace time.Duration // how long after NextRun it is late
}

// DestinationStatus is how one destination of a job stands.
type DestinationStatus struct {
	Name        string    `json:"name"`
	URL         string    `json:"url"`
	State       string    `json:"state"` // ok, stale, absent, failing, never
	Newest      string    `json:"newest"`
	NewestTime  time.Time `json:"newest_time,omitzero"`
	AgeSeconds  int64     `json:"age_seconds,omitempty"`
	Stale       bool      `json:"stale"`
	AbsentSince time.Time `json:"absent_since,omitzero"`
	LastResult  string    `json:"last_result"`
	LastError   string    `json:"last_error"`
	LastSuccess time.Time `json:"last_success,omitzero"`
	Backups     int       `json:"backups"`
	Backlog     int       `json:"backlog"` // snapshots that the next run would bring over
	Free        uint64    `json:"free_bytes,omitempty"`
	Total       uint64    `json:"total_bytes,omitempty"`
	Verified    *Verified `json:"verified,omitempty"` // nil: never
	Drill       *Drilled  `json:"drill,omitempty"`    // nil: never

	MaxAgeSeconds int64     `json:"max_age_seconds,omitempty"`
	BacklogBytes  int64     `json:"backlog_bytes,omitempty"`   // about what the backlog has, if its snapshots are like the last ones that came over; 0: not known
	FullInSeconds int64     `json:"full_in_seconds,omitempty"` // until its disk is full, at the rate of the last weeks; 0: not known, or never
	Paused        *Paused   `json:"paused,omitempty"`          // nil: it is not
	Progress      *Progress `json:"progress,omitempty"`        // of the run under way, if it is at work there
}

// Verified is what the last verify of a destination found.
type Verified struct {
	Time     time.Time `json:"time"`
	Result   string    `json:"result"` // ok, failed
	Problems int       `json:"problems"`
	Damaged  []string  `json:"damaged,omitempty"` // backups with problems that no verify has found sound since
	Error    string    `json:"error,omitempty"`   // why it could not be done
}

// Drilled is how the last restore drill of a destination went.
type Drilled struct {
	Time        time.Time `json:"time"`
	Result      string    `json:"result"` // ok, failed
	Seconds     float64   `json:"seconds"`
	Error       string    `json:"error,omitempty"`
	LastSuccess time.Time `json:"last_success,omitzero"`
}

// Status looks at one job: the state of its last run, and what is really there.
func (r *Runner) Status(ctx context.Context, job config.Job, now time.Time) Status {
	s := Status{Job: job.Name, Source: cmp.Or(job.Source, job.Received), State: "never", Destinations: []DestinationStatus{}}
	state, err := LoadState(r.Config.StateDir, job)
	if err != nil {
		s.Error = err.Error()
	}
	s.LastRun, s.LastSuccess, s.LastResult, s.LastError = state.LastRun, state.LastSuccess, state.LastResult, state.LastError
	switch {
	case s.Failing():
		s.State = "failing"
	case s.LastResult != "":
		s.State = s.LastResult
	}
	src, err := r.openSource(ctx, job)
	if err != nil {
		if s.Hint = Hint(err); errors.Is(err, ErrAbsent) {
			s.State = StateAbsent
		} else {
			s.Error = err.Error()
		}
		src = &source{job: job}
	}
	defer src.close()
	s.Snapshots = src.countOwn()
	paused, err := LoadPauses(r.Config.StateDir, job, now)
	if err != nil {
		s.Error = cmp.Or(s.Error, err.Error())
	}
	s.Paused, s.grace = paused.Job, state.grace(job)
	s.Expect(nextRun(job, state, now.In(r.Config.Timezone)), now)
	for _, d := range job.Destinations {
		one := r.destinationStatus(ctx, src, d, state, now)
		if p, ok := paused.Destinations[d.Name]; ok {
			one.Paused = &p
		}
		s.Destinations = append(s.Destinations, one)
	}
	return s
}

// Expect notes when the next run is to be, and whether it is late. A job that is paused is not.
func (s *Status) Expect(next, now time.Time) {
	s.NextRun = next
	s.Late = s.Paused == nil && !next.IsZero() && now.Sub(next) > s.grace
}

// leastGrace is how late a run may be in any case: a machine that wakes up, or a daemon that is being restarted, needs a moment.
const leastGrace = 5 * time.Minute

// grace is how long after its time a run is late: the jitter, and as long as a run takes, in which another one may have been waited for.
func (s State) grace(job config.Job) time.Duration {
	run := 0.0
	for _, d := range job.Destinations {
		run += s.Destinations[d.URL].LastSeconds
	}
	return leastGrace + time.Duration(job.Jitter) + time.Duration(run*float64(time.Second))
}

// nextRun is when the schedule fires next; a time that has passed already means: as soon as the daemon runs.
func nextRun(job config.Job, state State, now time.Time) time.Time {
	last := state.LastRun
	if last.IsZero() {
		last = state.FirstSeen
	}
	if last.IsZero() || last.After(now) {
		last = now
	}
	return job.Schedule.Next(last.In(now.Location()), last.In(now.Location()))
}

func (r *Runner) destinationStatus(ctx context.Context, src *source, d config.Destination, state State, now time.Time) DestinationStatus {
	last := state.Destinations[d.URL]
	s := DestinationStatus{
		Name: d.Name, URL: d.URL, Newest: last.Newest, NewestTime: last.NewestTaken,
		LastResult: last.LastResult, LastError: last.LastError, LastSuccess: last.LastSuccess, AbsentSince: last.AbsentSince,
		MaxAgeSeconds: int64(time.Duration(d.MaxAge).Seconds()),
	}
	seen, there := r.inspect(ctx, src, src.job, d, state)
	s.Free, s.Total = seen.Free, seen.Total
	s.Verified, s.Drill = verified(last.Proofs[config.TaskVerify], seen), drilled(last.Proofs[config.TaskDrill])
	if seen.State == StatePresent {
		s.Newest, s.NewestTime = "", time.Time{}
		if b, ok := newest(there.Backups, now); ok {
			s.Newest, s.NewestTime = b.Name, b.Taken
		}
		s.Backups = countComplete(there.Backups)
	}
	switch seen.State {
	case StateAbsent: // which of them its policy would still keep is not known without what it has
		s.Backlog = newerThan(src.snapshots, last.NewestTaken)
	case StatePresent:
		s.Backlog = len(missing(src.job, src.snapshots, there, d.Keep, now, r.Config.Timezone))
	}
	if s.Newest != "" { // else the first is sent in full
		s.BacklogBytes = int64(s.Backlog) * last.Increment
	}
	if seen.State == StatePresent {
		last.Free = seen.Free
	}
	s.FullInSeconds = int64(last.FullIn().Seconds())
	if !s.NewestTime.IsZero() {
		s.AgeSeconds = int64(now.Sub(s.NewestTime).Seconds())
	}
	s.Stale = d.MaxAge > 0 && (s.NewestTime.IsZero() || now.Sub(s.NewestTime) > time.Duration(d.MaxAge))
	switch {
	case s.Stale:
		s.State = "stale"
	case seen.State == StateError:
		s.State, s.LastError = "failing", seen.Error
	case s.Unproven(): // also while it is absent: that does not mend what is damaged
		s.State = "failing"
	case seen.State == StateAbsent:
		s.State = StateAbsent
	case last.LastResult == ResultFailed:
		s.State = "failing"
	case s.Newest == "":
		s.State = "never"
	default:
		s.State = "ok"
	}
	return s
}

// countComplete is how many of them are backups.
func countComplete(backups []Backup) (n int) {
	for _, b := range backups {
		if b.Complete && !b.Altered {
			n++
		}
	}
	return n
}

// newerThan is how many snapshots btrkeep took after a time.
func newerThan(snapshots []Snapshot, t time.Time) (n int) {
	for _, s := range snapshots {
		if s.Own && s.Taken.After(t) {
			n++
		}
	}
	return n
}

func verified(p Proof, seen ListedDestination) *Verified {
	if p.Last.IsZero() {
		return nil
	}
	v := &Verified{Time: p.Last, Result: p.Result, Problems: p.Problems, Error: p.Error}
	for _, name := range p.Damaged {
		is := func(b ListedBackup) bool { return b.Name == name }
		if seen.State != StatePresent || slices.ContainsFunc(seen.Backups, is) { // else it was deleted, and the damage with it
			v.Damaged = append(v.Damaged, name)
		}
	}
	if v.Result == ResultOK && len(v.Damaged) > 0 { // which the last one did not look at
		v.Result, v.Problems = ResultFailed, len(v.Damaged)
	}
	return v
}

func drilled(p Proof) *Drilled {
	if p.Last.IsZero() {
		return nil
	}
	return &Drilled{Time: p.Last, Result: p.Result, Seconds: p.Seconds, Error: p.Error, LastSuccess: p.LastSuccess}
}

// Unproven reports whether the last verify or drill showed that backups cannot be relied on.
func (d DestinationStatus) Unproven() bool {
	return d.Verified != nil && d.Verified.Result == ResultFailed || d.Drill != nil && d.Drill.Result == ResultFailed
}

// Failing reports whether the last run failed, whatever the job does now.
func (s Status) Failing() bool {
	return s.LastResult == ResultFailed || s.LastResult == ResultPartial && s.LastError != "" // partial for an absent destination leaves none
}

// Alarming reports whether the job or one of its destinations needs somebody.
func (s Status) Alarming() bool {
	return s.Failing() || s.Error != "" || s.Late || slices.ContainsFunc(s.Destinations, func(d DestinationStatus) bool {
		return d.State == "stale" || d.State == "failing"
	})
}
