package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/daemon"
	"github.com/btrkeep/btrkeep/jobs"
)

// tasks are what the daemon does for jobs besides their runs.
func (a *app) tasks(d *daemon.Daemon, log *slog.Logger, slots *jobs.Slots) map[config.Task]daemon.Task {
	runner := func(cfg *config.Config, kind config.Task) *jobs.Runner {
		return a.runner(cfg, log, slots, func(p jobs.Progress) {
			p.Step = string(kind) // whatever it does for that: it is not the run of the job, which may be under way as well
			d.Progress(p)
		})
	}
	return map[config.Task]daemon.Task{
		config.TaskVerify: func(ctx context.Context, cfg *config.Config, job config.Job, destination string, clock jobs.Clock) jobs.TaskResult {
			return runner(cfg, config.TaskVerify).Verify(ctx, job, jobs.VerifyOptions{
				Clock: clock, Destination: destination,
				Deep: job.Verify.Deep, Sample: float64(job.Verify.Sample) / 100, MaxTime: time.Duration(job.Verify.MaxTime),
			}).TaskResult()
		},
		config.TaskDrill: func(ctx context.Context, cfg *config.Config, job config.Job, destination string, clock jobs.Clock) jobs.TaskResult {
			return runner(cfg, config.TaskDrill).Drill(ctx, job, jobs.DrillOptions{Clock: clock, Destination: destination}).TaskResult()
		},
	}
}
