package daemon

import (
	"cmp"
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

// key names a task: one of a key is under way at most.
type key struct {
	job  string
	kind config.Task
}

func (k key) String() string {
	if k.kind == config.TaskRun {
		return k.job
	}
	return string(k.kind) + " of " + k.job
}

// task is one kind of thing that the daemon does for one job, as the loop sees it: when it is due next.
type task struct {
	job  config.Job
	kind config.Task

	last    time.Time // start of the last one; zero: none is known
	seen    time.Time // counts where last does not: since when the task is known
	dropped time.Time // times up to here were missed and given up

	base time.Time // what the following were computed from
	at   time.Time // the schedule's next time; zero: never
	due  time.Time // the same, later by the jitter

	waiting   bool     // has fallen due and is in the queue
	trigger   string   // of the run it waits for
	hindrance string   // why it waits although there is room; empty: there is none
	clients   []*watch // who wants to know how that run ends

	owed []string  // destinations that the last verify left out, as they were not there
	hold time.Time // on the monotonic clock: no further attempt before
	away string    // what was logged of destinations that are not there
}

func (t *task) key() key { return key{t.job.Name, t.kind} }

// unit is the name of what is done at once: the job, or the group that it is a member of.
func (t *task) unit() string { return cmp.Or(t.job.Group, t.job.Name) }

// inherit takes over what was known of the task under the configuration before.
func (t *task) inherit(old *task) {
	t.last, t.seen, t.dropped = old.last, old.seen, old.dropped
	t.waiting, t.trigger, t.hindrance, t.clients = old.waiting, old.trigger, old.hindrance, old.clients
	t.owed, t.hold, t.away = old.owed, old.hold, old.away
}

// settle computes the next time, if what it is computed from has changed: by a run, or because the clock was set back to before the last run, which
// then tells nothing about when the next one is due.
func (t *task) settle(now time.Time, seed maphash.Seed) {
	future := now.Add(tolerance)
	base := t.last
	if base.IsZero() || base.After(future) {
		if t.seen.After(future) {
			t.seen = now
		}
		base = t.seen
	}
	anchor := base.Truncate(time.Second) // else `@every` would be later by the time that starting a run takes, each time
	if t.dropped.After(base) && !t.dropped.After(future) {
		base = t.dropped
	}
	if !base.Equal(t.base) {
		t.base = base
		t.at = t.job.ScheduleOf(t.kind).Next(base.In(now.Location()), anchor)
		t.due = t.at
		if !t.at.IsZero() {
			t.due = t.at.Add(t.delay(seed))
		}
	}
}

// isDue reports whether the next time has come.
func (t *task) isDue(now time.Time) bool { return !t.due.IsZero() && !t.due.After(now) }

// late reports whether the next time was missed.
func (t *task) late(now time.Time) bool { return now.Sub(t.due) > grace }

// drop gives up the times that were missed, if the job does not want them made up for. Those that have just come are not missed.
func (t *task) drop(now time.Time, seed maphash.Seed) (missed time.Time, any bool) {
	if t.job.CatchUp || !t.isDue(now) || !t.late(now) {
		return time.Time{}, false
	}
	missed = t.at
	t.dropped = now.Add(-grace - time.Duration(t.job.Jitter))
	t.settle(now, seed)
	for t.isDue(now) && t.late(now) { // its jitter was shorter than the longest
		t.dropped = t.at
		t.settle(now, seed)
	}
	return missed, true
}

// delay is the jitter of the next time: random, but the same however often it is asked for, and for all members of a group.
func (t *task) delay(seed maphash.Seed) time.Duration {
	seconds := uint64(time.Duration(t.job.Jitter) / time.Second)
	if seconds == 0 {
		return 0
	}
	return time.Duration(maphash.Comparable(seed, [2]string{key{t.unit(), t.kind}.String(), t.at.UTC().Format(time.RFC3339)})%seconds) * time.Second
}
