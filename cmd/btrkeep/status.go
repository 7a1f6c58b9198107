package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/daemon"
	"github.com/btrkeep/btrkeep/jobs"
)

func (a *app) statusCommand() *cobra.Command {
	asPlugin := false
	c := &cobra.Command{
		Use: "status [JOB…]", Short: "how each job and destination stands",
		Long: `Per job and destination: how it stands, the newest backup and its age, the next
run, how many snapshots wait to be brought over (and about how large they are),
the space left and when it is used up at the rate of the last weeks, and how long
ago a restore was proved (by a drill, or else by a verify).

As wide as the terminal allows, else 80 columns.

Exit status: 0 all is well; 1 something fails, is stale or late; 2 configuration.

With --nagios one line and its performance data, and the exit statuses of a
Nagios plugin: 0 OK; 1 WARNING: late, or the daemon is not running or runs with
another configuration; 2 CRITICAL: something fails or is stale; 3 UNKNOWN.`,
		RunE: func(c *cobra.Command, args []string) error {
			if asPlugin {
				return a.nagios(c.Context(), args)
			}
			cfg, list, err := a.selected(args)
			if err != nil {
				return err
			}
			return a.status(c.Context(), cfg, list)
		},
	}
	a.jsonFlag(c)
	c.Flags().BoolVar(&asPlugin, "nagios", false, "one line, as a Nagios plugin")
	c.MarkFlagsMutuallyExclusive("json", "nagios")
	return c
}

func (a *app) status(ctx context.Context, cfg *config.Config, list []config.Job) error {
	now := time.Now()
	all := a.lookAll(ctx, cfg, list, now)
	d := askDaemon(ctx, cfg, all, now)
	if a.json {
		if err := a.printJSON(all); err != nil {
			return err
		}
	} else {
		a.printLines(board(all, now, cfg.Timezone).lines(a.screen()))
		for _, s := range all {
			a.statusProblems(s)
		}
	}
	if d.refused != "" {
		fmt.Fprintf(a.stderr, "btrkeep: warning: the daemon did not take the configuration as it is now, the one before stays in force: %s\n", d.refused)
	}
	if !d.running && !a.json {
		a.printHint(daemonHint)
	}
	for _, s := range all {
		if s.Alarming() {
			return &exitError{status: exitFailed}
		}
	}
	return nil
}

const daemonHint = "the daemon is not running: nothing happens on schedule (systemctl enable --now btrkeep)"

// lookAll looks how jobs stand.
func (a *app) lookAll(ctx context.Context, cfg *config.Config, list []config.Job, now time.Time) []jobs.Status {
	r := a.looker(cfg)
	return jobs.Each(ctx, list, func(ctx context.Context, job config.Job) jobs.Status { return r.Status(ctx, job, now) })
}

// daemonState is what the daemon says of itself.
type daemonState struct {
	running bool
	refused string // why it did not take the configuration as it is now
}

// askDaemon adds what the daemon knows better: which jobs are running or wait for their turn, and when it will start the next run. Runs that others make are seen by their locks.
func askDaemon(ctx context.Context, cfg *config.Config, all []jobs.Status, now time.Time) (d daemonState) {
	_, status, err := daemonOf(ctx, cfg)
	d = daemonState{running: err == nil || errors.Is(err, fs.ErrPermission), refused: status.ReloadError} // who may not ask does not know that it is not running
	merge(cfg, all, status, now)
	return d
}

// merge adds to the status of jobs what the daemon says.
func merge(cfg *config.Config, all []jobs.Status, status daemon.Status, now time.Time) {
	for i := range all {
		s := &all[i]
		if next, ok := status.Next[s.Job]; ok {
			s.Expect(next, now)
		}
		overlay(s, status)
		s.Held = status.Held[s.Job]
		if j := indexJob(cfg, s.Job); s.State != "running" && j >= 0 {
			if _, held := jobs.Running(cfg, cfg.Jobs[j]); held {
				s.State = "running"
			}
		}
		if s.State == "running" || s.Waiting {
			s.Late = false
		}
	}
}

// overlay adds to a job's status what the daemon is doing for it.
func overlay(s *jobs.Status, status daemon.Status) {
	for _, p := range status.Running {
		if p.Job != s.Job {
			continue
		}
		s.State, s.Step = doing(p, *s)
		for i := range s.Destinations {
			if d := &s.Destinations[i]; d.Name == p.Destination && isRun(p) {
				d.Progress = &p
			}
		}
	}
	for _, name := range status.Waiting {
		s.Waiting = s.Waiting || name == s.Job
	}
}

// isRun reports whether a progress is of a run, and not of a verify or a drill.
func isRun(p jobs.Progress) bool {
	return p.Step != string(config.TaskVerify) && p.Step != string(config.TaskDrill)
}

func (a *app) statusProblems(s jobs.Status) {
	if s.Error != "" {
		fmt.Fprintf(a.stderr, "btrkeep: error: %s: %s\n", s.Job, s.Error)
		a.printHint(s.Hint)
	} else if s.Failing() && s.LastError != "" {
		fmt.Fprintf(a.stderr, "btrkeep: error: %s: last run: %s\n", s.Job, s.LastError)
	}
	for _, d := range s.Destinations {
		if d.State == "failing" && d.LastError != "" && !strings.HasSuffix(s.LastError, d.LastError) {
			fmt.Fprintf(a.stderr, "btrkeep: error: %s: %s: %s\n", s.Job, d.Name, d.LastError)
		}
	}
}
