package daemon

import (
	"errors"
	"fmt"
	"slices"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// errNotRunning says that there is nothing to cancel.
var errNotRunning = errors.New("it is not running")

// cancel ends what is under way of a job, or of the members of a group, and takes what waits for its turn out of the queue. It does not wait for the end. The runs of a group that have begun
// together end together.
func (l *loop) cancel(name, by string) error {
	if _, err := l.named([]string{name}); err != nil {
		return err
	}
	meant := func(job config.Job) bool { return job.Name == name || job.Group == name }
	why := &jobs.CancelledError{By: by}
	any := false
	for _, w := range l.running {
		if meant(w.job) {
			w.cancel(why)
			any = true
		}
	}
	l.queue = slices.DeleteFunc(l.queue, func(t *task) bool {
		if !meant(t.job) {
			return false
		}
		l.giveUp(t, why.Error())
		any = true
		return true
	})
	if !any {
		return fmt.Errorf("job %s: %w", name, errNotRunning)
	}
	l.d.Log.Info(why.Error(), jobs.KeyJob, name)
	return nil
}

// giveUp gives up what waited for its turn: the times until now are not made up for.
func (l *loop) giveUp(t *task, why string) {
	l.dismiss(t, why)
	t.waiting, t.trigger = false, ""
	now := l.local(l.d.now())
	if t.isDue(now) {
		t.dropped = now
		t.settle(now, l.seed)
	}
	t.owed = nil
}
