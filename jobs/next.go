package jobs

import (
	"time"

	"github.com/btrkeep/btrkeep/config"
)

// NextRun is when the schedule of a job fires next, by when its state says that the last run was; a time that has passed already means: as soon as the daemon can. now is in the
// zone in which schedules live. Zero without a schedule.
func (s State) NextRun(job config.Job, now time.Time) time.Time { return nextRun(job, s, now) }
