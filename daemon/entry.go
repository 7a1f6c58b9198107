package daemon

import (
	"hash/maphash"
	"time"

	"github.com/btrkeep/btrkeep/config"
)

const (
	// grace is how late a run may start and still count as on time.
	grace = 2 * time.Minute

	// tolerance is how far in the future the last run may lie and still be believed: time services step clocks back by less, and the time that
	// comes again then must not make the same run again.
	tolerance = 2 * time.Minute
)

// entry is one job as the loop sees it: when it is due next.
type entry struct {
	job     config.Job
	last    time.Time // start of the last run; zero: none is known
	seen    time.Time // counts where last does not: since when the job is known
	dropped time.Time // times up to here were missed and given up
	isNew   bool      // seen has to be written into the state

	base time.Time // what the following were computed from
	at   time.Time // the schedule's next time; zero: never
	due  time.Time // the same, later by the jitter

	waiting bool     // has fallen due and is in the queue
	trigger string   // of the run it waits for
	clients []*watch // who wants to know how that run ends
}

// settle computes the next time, if what it is computed from has changed: by a run, or because the clock was set back to before the last run, which
// then tells nothing about when the next one is due.
func (e *entry) settle(now time.Time, seed maphash.Seed) {
	future := now.Add(tolerance)
	base := e.last
	if base.IsZero() || base.After(future) {
		if e.seen.After(future) {
			e.seen = now
		}
		base = e.seen
	}
	anchor := base.Truncate(time.Second) // else `@every` would be later by the time that starting a run takes, each time
	if e.dropped.After(base) && !e.dropped.After(future) {
		base = e.dropped
	}
	if !base.Equal(e.base) {
		e.base = base
		e.at = e.job.Schedule.Next(base.In(now.Location()), anchor)
		e.due = e.at
		if !e.at.IsZero() {
			e.due = e.at.Add(delay(seed, e.job, e.at))
		}
	}
}

// isDue reports whether the next time has come.
func (e *entry) isDue(now time.Time) bool { return !e.due.IsZero() && !e.due.After(now) }

// late reports whether the next time was missed.
func (e *entry) late(now time.Time) bool { return now.Sub(e.due) > grace }

// drop gives up the times that were missed, if the job does not want them made up for. Those that have just come are not missed.
func (e *entry) drop(now time.Time, seed maphash.Seed) (missed time.Time, any bool) {
	if e.job.CatchUp || !e.isDue(now) || !e.late(now) {
		return time.Time{}, false
	}
	missed = e.at
	e.dropped = now.Add(-grace - time.Duration(e.job.Jitter))
	e.settle(now, seed)
	for e.isDue(now) && e.late(now) { // its jitter was shorter than the longest
		e.dropped = e.at
		e.settle(now, seed)
	}
	return missed, true
}

// delay is the jitter of one time of a job: random, but the same however often it is asked for.
func delay(seed maphash.Seed, job config.Job, at time.Time) time.Duration {
	seconds := uint64(time.Duration(job.Jitter) / time.Second)
	if seconds == 0 {
		return 0
	}
	return time.Duration(maphash.Comparable(seed, [2]string{job.Name, at.UTC().Format(time.RFC3339)})%seconds) * time.Second
}
