package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/daemon"
	"github.com/btrkeep/btrkeep/jobs"
)

func (a *app) pauseCommand() *cobra.Command {
	var limit string
	c := &cobra.Command{
		Use: "pause JOB[/DESTINATION]…", Short: "have the schedule start nothing of a job, or leave out a destination",
		Long: `Have the schedule start no run, verify or drill of a job until it is resumed, or
for a while. With a destination its runs leave that one out, and all else goes on.
What is under way goes on. It holds across restarts, with and without the daemon.

"btrkeep run" without names leaves out what is paused (exit status 75); a job that
is named is run all the same, without the destinations that are paused. A backup
that grows stale meanwhile is stale. What fell due meanwhile is made once when the
job is resumed, if catch_up is set.

Exit status: 0 done; 1 it could not be noted; 2 usage or configuration.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p := &jobs.Paused{Since: time.Now().UTC().Round(0), By: a.person()}
			if limit != "" {
				var howLong config.Duration
				if err := howLong.UnmarshalText([]byte(limit)); err != nil {
					return &exitError{exitUsage, &jobs.HintError{Err: fmt.Errorf("--for: %w", err), Hint: "write a number with its unit, such as 90m, 2h or 3d"}}
				}
				p.Until = p.Since.Add(time.Duration(howLong))
			}
			return a.setPause(c.Context(), args, p)
		},
	}
	c.Flags().StringVar(&limit, "for", "", "end the pause after `TIME`, such as 2h or 3d")
	a.jsonFlag(c)
	return c
}

func (a *app) resumeCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "resume JOB[/DESTINATION]…", Short: "end a pause",
		Long: `End the pause of a job, or of a destination. What fell due meanwhile is made soon
after, once, if catch_up is set.

Exit status: 0 done; 1 it could not be noted; 2 usage or configuration.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.setPause(c.Context(), args, nil) },
	}
	a.jsonFlag(c)
	return c
}

func (a *app) cancelCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "cancel JOB…", Short: "end what the daemon is doing for a job",
		Long: `End the run, verify or drill of a job that is under way in the daemon, or waits for
its turn. Nothing is harmed: the next run goes on with the transfer where it was.
It is not made up for before its schedule's next time.

Exit status: 0 done; 2 usage or configuration; 75 nothing is under way.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, list, err := a.selected(args)
			if err != nil {
				return err
			}
			return a.cancel(c.Context(), cfg, list)
		},
	}
	a.jsonFlag(c)
	return c
}

// cancel ends what is under way of the jobs. Of those that are named some may have ended, as members of a group do one after the other: it is not now only if nothing was cancelled.
func (a *app) cancel(ctx context.Context, cfg *config.Config, list []config.Job) error {
	client, _, err := daemonOf(ctx, cfg)
	if err != nil {
		return &exitError{exitNotNow, err}
	}
	done := []cancelling{}
	var idle error
	for _, j := range list {
		if err := client.Cancel(ctx, j.Name, a.person()); errors.Is(err, daemon.ErrIdle) {
			idle = err
			continue
		} else if err != nil {
			return &exitError{exitFailed, err}
		}
		if done = append(done, cancelling{j.Name}); !a.json {
			fmt.Fprintf(a.stdout, "%s: cancelled\n", j.Name)
		}
	}
	if a.json {
		if err := a.printJSON(done); err != nil {
			return err
		}
	}
	if len(done) == 0 {
		return &exitError{exitNotNow, idle}
	}
	return nil
}

// cancelling is a job of which something was cancelled: an element of what is printed as JSON. Fields are only ever added.
type cancelling struct {
	Job string `json:"job"`
}

// pausing is what became of a pause: an element of what is printed as JSON. Fields are only ever added.
type pausing struct {
	Job         string       `json:"job"`
	Destination string       `json:"destination,omitempty"` // empty: the job
	Paused      *jobs.Paused `json:"paused"`                // null: it is not
	Before      bool         `json:"before"`                // whether it was
}

// setPause pauses what is named, or resumes it if p is nil.
func (a *app) setPause(ctx context.Context, names []string, p *jobs.Paused) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	all := []pausing{}
	var list []config.Job
	for _, name := range names { // all of them are looked at before the first is done
		found, destination, err := pickPart(cfg, name)
		if err != nil {
			return err
		}
		for _, job := range found {
			list = append(list, job)
			all = append(all, pausing{Job: job.Name, Destination: destination, Paused: p})
		}
	}
	for i := range all {
		if all[i].Before, err = jobs.SetPause(cfg, list[i], all[i].Destination, p, time.Now()); err != nil {
			return &exitError{exitFailed, err}
		}
	}
	if client, err := daemon.Dial(cfg.RuntimeDir); err == nil { // which looks at what is due whenever it was asked something
		_, _ = client.Status(ctx)
	}
	if a.json {
		return a.printJSON(all)
	}
	for _, one := range all {
		what := one.Job
		if one.Destination != "" {
			what += "/" + one.Destination
		}
		switch {
		case p != nil:
			fmt.Fprintf(a.stdout, "%s: %s\n", what, p.Text(cfg.Timezone))
		case one.Before:
			fmt.Fprintf(a.stdout, "%s: resumed\n", what)
		default:
			fmt.Fprintf(a.stdout, "%s: was not paused\n", what)
		}
	}
	return nil
}

// pickPart gives the job of a name, or the members of a group, which have the same destinations, and the destination if it names one.
func pickPart(cfg *config.Config, name string) (list []config.Job, destination string, err error) {
	name, destination, part := strings.Cut(name, "/")
	if list, err = pick(cfg, []string{name}); err != nil {
		return nil, "", err
	}
	job := list[0]
	if !part || slices.ContainsFunc(job.Destinations, func(d config.Destination) bool { return d.Name == destination }) {
		return list, destination, nil
	}
	var known []string
	for _, d := range job.Destinations {
		known = append(known, d.Name)
	}
	return nil, "", &exitError{exitUsage, &jobs.HintError{
		Err: fmt.Errorf("job %s has no destination %q", name, destination), Hint: "destinations: " + strings.Join(known, ", "),
	}}
}

// person is who gives the command.
func (a *app) person() string {
	name := ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return cmp.Or(a.getenv("SUDO_USER"), name)
}

// withoutPaused leaves out the jobs that are paused, and gives an account of each: for who has not named any.
func withoutPaused(cfg *config.Config, list []config.Job) (left []config.Job, records []jobs.Record) {
	now := time.Now()
	for _, job := range list {
		p, _ := jobs.LoadPauses(cfg.StateDir, job, now) // what cannot be read pauses nothing; the run says so
		if p.Job == nil {
			left = append(left, job)
			continue
		}
		records = append(records, jobs.Record{
			Job: job.Name, Trigger: "command", Started: now, Ended: now, Result: jobs.ResultSkipped, Transfers: []jobs.Transfer{}, Pruned: []jobs.Pruned{}, NotNow: true,
			Error: p.Job.Text(cfg.Timezone), Hint: fmt.Sprintf("`btrkeep resume %s` ends that; `btrkeep run %s` runs it all the same", job.Name, job.Name),
		})
	}
	return left, records
}
