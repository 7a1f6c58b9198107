package jobs_test

import (
	"context"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/local"
	"github.com/btrkeep/btrkeep/jobs/remote"
)

// place is where the destinations are for which the tests of this process are made, or the source: "" is this machine, "push" has the destinations on another one, "pull" the source.
var place = os.Getenv("BTRKEEP_TEST_PLACE")

// placed is the job as the configuration has it: in w.job all paths are as this machine has them.
func (w *world) placed() config.Job {
	job := w.job
	job.Destinations = slices.Clone(job.Destinations)
	switch w.place {
	case "pull":
		job.Source = w.farURL(job.Source)
	case "push":
		for i := range job.Destinations {
			job.Destinations[i].URL = w.farURL(job.Destinations[i].URL)
		}
	}
	return job
}

func (w *world) farURL(path string) string { return w.far.URL((&url.URL{Path: path}).EscapedPath()) }

// reach has a runner open what is on the other machine, too.
func (w *world) reach(r *jobs.Runner, near local.Opener) {
	far := remote.Opener{SSH: w.far.SSH, Version: "test", Zone: time.UTC, Checkpoint: w.cfg.Checkpoint}
	r.Origin = far.Origin
	r.Open = func(ctx context.Context, job config.Job, d config.Destination, owner jobs.Owner, last jobs.Identity) (jobs.Destination, error) {
		if d.Local() {
			return near.Open(ctx, job, d, owner, last)
		}
		return far.Open(ctx, job, d, owner, last)
	}
	r.At = func(ctx context.Context, job config.Job, d config.Destination) (jobs.Destination, error) {
		if d.Local() {
			return near.At(ctx, job, d)
		}
		return far.At(ctx, job, d)
	}
}
