package jobs

import (
	"context"
	"log/slog"

	"github.com/btrkeep/btrkeep/config"
)

// Runner executes jobs of one configuration. It may be used by several goroutines; two runs of one job exclude each other by the job's lock.
type Runner struct {
	Config   *config.Config
	Open     Opener
	At       func(ctx context.Context, job config.Job, d config.Destination) (Destination, error) // opens a destination whether or not there is a source: to restore
	Log      *slog.Logger
	Slots    *Slots         // one transfer at a time for each destination disk; shared by all runners of a process
	Progress func(Progress) // may be nil; called from several goroutines
}

// Options of one run.
type Options struct {
	Clock   Clock  // what time it is: see Now
	Trigger string // "schedule", "catch-up", "command"
}
