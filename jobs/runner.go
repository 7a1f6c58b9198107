package jobs

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/btrkeep/btrkeep/config"
)

// Runner executes jobs of one configuration. It may be used by several goroutines; two runs of one job exclude each other by the job's lock.
type Runner struct {
	Config    *config.Config
	Open      Opener
	Origin    func(ctx context.Context, job config.Job) (Origin, error)                            // of a source on another machine
	At        func(ctx context.Context, job config.Job, d config.Destination) (Destination, error) // opens a destination whether or not there is a source: to restore
	Log       *slog.Logger
	Slots     *Slots                                       // one transfer at a time for each destination disk; shared by all runners of a process
	Progress  func(Progress)                               // may be nil; called from several goroutines
	View      *View                                        // of those that only look and change nothing; nil: each look is anew
	KeepAwake func(why string) (release func(), err error) // keeps the machine from going to sleep; nil: it cannot
	Backoff   time.Duration                                // how long to wait before a line that was lost is tried again, at first; 0: a second
}

// Options of one run.
type Options struct {
	Clock   Clock  // what time it is: see Now
	Trigger string // "schedule", "catch-up", "command"

	Triggers map[string]string // of members of a group, by their names, where they differ
}

// open opens a destination for a job whose source is src; without one, to look at what is there.
func (r *Runner) open(ctx context.Context, src *source, job config.Job, d config.Destination, last DestinationState) (Destination, error) {
	if _, err := os.Stat(job.Received); job.Received != "" && errors.Is(err, fs.ErrNotExist) {
		return nil, hintf("is its disk mounted? Otherwise nobody has kept anything there yet", "%w: %s does not exist", ErrAbsent, job.Received)
	}
	if src == nil || src.origin == nil {
		return r.At(ctx, job, d)
	}
	return r.Open(ctx, job, d, src.owner(), Identity{FileSystem: last.FileSystem, MountPoint: last.MountPoint})
}
