package daemon

import (
	"fmt"
	"time"

	"github.com/btrkeep/btrkeep/jobs"
)

// hindered says why a task that is due may not begin now, or nothing. What somebody has asked for may.
//
// Such a task waits in the queue and is looked at again each time round, half a minute later at most. What is under way when a condition ends goes on.
func (l *loop) hindered(t *task, now time.Time) string {
	switch {
	case t.trigger == byCommand:
		return ""
	case !t.job.Window.Holds(now):
		return fmt.Sprintf("outside its window %s", t.job.Window)
	case t.job.OnlyOnAC && l.onBattery():
		return "on battery"
	}
	return ""
}

// onBattery asks once each time round.
func (l *loop) onBattery() bool {
	if l.battery == nil {
		answer := l.d.OnBattery != nil && l.d.OnBattery()
		l.battery = &answer
	}
	return *l.battery
}

// mayBegin is hindered, logged once for each reason.
func (l *loop) mayBegin(t *task, now time.Time) bool {
	why := l.hindered(t, now)
	if why != t.hindrance && why != "" {
		l.d.Log.Info(fmt.Sprintf("%s is due and waits: %s", t.key(), why), jobs.KeyJob, t.job.Name)
	}
	t.hindrance = why
	return why == ""
}
