package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/child"
)

// hookTimeout bounds one hook: a database that does not thaw must not hold the job for ever.
const hookTimeout = 10 * time.Minute

// lateGrace is what a hook that must run even if the run was stopped has after the stop.
const lateGrace = 4 * time.Second

// hook runs one hook of a job, if it is set, with the run's facts in its environment: BTRKEEP_JOB, BTRKEEP_SOURCE and what env adds.
func hook(ctx context.Context, what string, argv []string, job config.Job, env ...string) error {
	if len(argv) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, hookTimeout, fmt.Errorf("not done after %s", hookTimeout))
	defer cancel()
	c := child.Command{Argv: argv, Env: append([]string{"BTRKEEP_JOB=" + job.Name, "BTRKEEP_SOURCE=" + job.Source}, env...)}
	if err := c.Run(ctx); err != nil {
		return hintf("hooks are programs with arguments, not shell lines; run it by hand to see more", "hook %s: %w", what, err)
	}
	return nil
}

// hookLate runs a hook that must run also when the run has been stopped (a database is thawed, a failure is told), if not for long.
func hookLate(ctx context.Context, what string, argv []string, job config.Job, env ...string) error {
	late, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(lateGrace, func() { cancel(context.Cause(ctx)) })
	})
	defer stop()
	return hook(late, what, argv, job, env...)
}
