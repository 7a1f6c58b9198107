package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/daemon"
	"github.com/btrkeep/btrkeep/jobs"
)

func (a *app) runCommand() *cobra.Command {
	var dry, wait bool
	var below string
	c := &cobra.Command{
		Use: "run [JOB…]", Short: "run jobs now and wait for them",
		Long: `Run jobs now (all of them without a name) and wait for them: through the daemon
if one runs with this configuration, else here. Without a name, jobs that are
paused are left out; with --below only those that have something to do on one disk
are run.

A job that is running already is not run again (exit status 75); with --wait it is
waited for, and then run.

Exit status: 0 done; 1 a run failed; 2 usage or configuration; 75 not now.`,
		RunE: func(c *cobra.Command, args []string) error {
			cfg, list, err := a.selected(args)
			if err != nil {
				return err
			}
			if below != "" {
				if list, err = jobsBelow(list, below); err != nil {
					return err
				}
			}
			if dry {
				return a.plan(c.Context(), cfg, list)
			}
			var paused []jobs.Record
			if len(args) == 0 {
				list, paused = withoutPaused(cfg, list)
			}
			run := a.runThem
			if wait {
				run = a.runInTurn
			}
			records, err := run(c.Context(), cfg, list)
			if err != nil {
				return &exitError{exitFailed, err}
			}
			return a.report(append(records, paused...))
		},
	}
	c.Flags().BoolVarP(&dry, "dry-run", "n", false, "show what would be done and change nothing")
	c.Flags().BoolVar(&wait, "wait", false, "wait for a job that is running already, then run it")
	c.Flags().StringVar(&below, "below", "", "only jobs with a destination in this `DIRECTORY` or below it")
	a.jsonFlag(c)
	return c
}

// runThem runs jobs through the daemon, or here if there is none.
func (a *app) runThem(ctx context.Context, cfg *config.Config, list []config.Job) ([]jobs.Record, error) {
	if len(list) == 0 {
		return nil, nil
	}
	records, err := a.runByDaemon(ctx, cfg, list)
	if errors.Is(err, daemon.ErrNotRunning) {
		return a.runHere(ctx, cfg, list, runGroup), nil
	}
	return records, err
}

func (a *app) backupCommand() *cobra.Command {
	var latestOnly, dry bool
	c := &cobra.Command{
		Use: "backup SOURCE DESTINATION", Short: "make one backup without a configuration",
		Long: `Make a snapshot of the subvolume SOURCE and bring it to the directory DESTINATION
on another btrfs, incrementally if the two have a snapshot in common. Nothing is
deleted, except with --latest-only, which keeps one snapshot at the source.

Exit status: 0 done; 1 the run failed; 2 usage; 75 not now.`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			for i := range args {
				if strings.Contains(args[i], "://") {
					continue
				}
				path, err := filepath.Abs(args[i])
				if err != nil {
					return &exitError{exitUsage, err}
				}
				args[i] = path
			}
			cfg, err := config.Adhoc(args[0], args[1], latestOnly, a.getenv)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if dry {
				return a.plan(c.Context(), cfg, cfg.Jobs)
			}
			return a.report(a.runHere(c.Context(), cfg, cfg.Jobs, runGroup))
		},
	}
	c.Flags().BoolVar(&latestOnly, "latest-only", false, "keep only the newest snapshot at the source (and what destinations need to stay incremental)")
	c.Flags().BoolVarP(&dry, "dry-run", "n", false, "show what would be done and change nothing")
	a.jsonFlag(c)
	return c
}

func (a *app) pruneCommand() *cobra.Command {
	var dry bool
	c := &cobra.Command{
		Use: "prune [JOB…]", Short: "delete what the policies no longer keep, and nothing else of a run",
		RunE: func(c *cobra.Command, args []string) error {
			cfg, list, err := a.selected(args)
			if err != nil {
				return err
			}
			if dry {
				return a.planPrune(c.Context(), cfg, list)
			}
			return a.report(a.runHere(c.Context(), cfg, list, pruneEach))
		},
	}
	c.Flags().BoolVarP(&dry, "dry-run", "n", false, "show what would be deleted and delete nothing")
	a.jsonFlag(c)
	return c
}

// runByDaemon has a running daemon do it; daemon.ErrNotRunning if there is none, or one of another configuration.
func (a *app) runByDaemon(ctx context.Context, cfg *config.Config, list []config.Job) ([]jobs.Record, error) {
	client, _, err := daemonOf(ctx, cfg)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(list))
	for i, j := range list {
		names[i] = j.Name
	}
	line := a.progressLine()
	defer line.clear()
	return client.Run(ctx, names, line.show)
}

// runHere has the jobs done in this process, as many at once as the configuration says; members of one group together, as one of them.
func (a *app) runHere(ctx context.Context, cfg *config.Config, list []config.Job, do performing) []jobs.Record {
	line := a.progressLine()
	defer line.clear()
	log := slog.New(slog.DiscardHandler) // what it would say is in the records
	if a.verbose {
		log = a.quiet()
	}
	runner := a.runner(cfg, log, &a.slots, line.show)
	records := make([]jobs.Record, len(list))
	var wg sync.WaitGroup
	slots := make(chan struct{}, cfg.Parallel)
	for from := 0; from < len(list); {
		to := from + 1
		for to < len(list) && list[from].Group != "" && list[to].Group == list[from].Group {
			to++
		}
		together, into := list[from:to], records[from:to]
		slots <- struct{}{}
		one := func() {
			do(ctx, runner, together, jobs.Options{Clock: jobs.Now(), Trigger: "command"}, into)
			<-slots
		}
		if from = to; from == len(list) {
			one() // the last has nobody to make way for
		} else {
			wg.Go(one)
		}
	}
	wg.Wait()
	a.writeTextfile(ctx, cfg)
	return records
}

// performing does something for a job, or for members of a group, and puts what it came to at the job's place in records.
type performing func(ctx context.Context, r *jobs.Runner, together []config.Job, o jobs.Options, records []jobs.Record)

func runGroup(ctx context.Context, r *jobs.Runner, together []config.Job, o jobs.Options, records []jobs.Record) {
	if together[0].Group == "" {
		records[0] = r.Run(ctx, together[0], o)
		return
	}
	r.RunGroup(ctx, together, o, func(job config.Job, run func() jobs.Record) {
		records[slices.IndexFunc(together, func(j config.Job) bool { return j.Name == job.Name })] = run()
	})
}

func pruneEach(ctx context.Context, r *jobs.Runner, together []config.Job, o jobs.Options, records []jobs.Record) {
	for i, job := range together {
		records[i] = r.Prune(ctx, job, o)
	}
}

// report prints what became of runs, what was done on stdout and what went wrong on stderr, and gives the exit status.
func (a *app) report(records []jobs.Record) error {
	if a.json {
		if err := a.printJSON(records); err != nil {
			return err
		}
	}
	for _, r := range records {
		if !a.json {
			a.printRecord(r)
		}
		a.printProblems(r)
	}
	if status := jobs.ExitStatus(records); status != exitOK {
		return &exitError{status: status}
	}
	return nil
}

// printRecord tells what one run did.
func (a *app) printRecord(r jobs.Record) {
	switch {
	case r.Unchanged:
		fmt.Fprintf(a.stdout, "%s: nothing has changed since %s\n", r.Job, r.Snapshot)
	case r.Snapshot != "":
		fmt.Fprintf(a.stdout, "%s: snapshot %s\n", r.Job, r.Snapshot)
	}
	for _, t := range byDestination(r.Transfers) {
		switch {
		case t.Result == jobs.ResultOK && t.Bytes > 0:
			before := ""
			if t.ResumedBytes > 0 {
				before = ", after " + formatBytes(t.ResumedBytes) + " before"
			}
			fmt.Fprintf(a.stdout, "%s: %s: %s %s, %s in %.1f s%s\n", r.Job, t.Destination, t.Snapshot, basisText(t.Parent), formatBytes(t.Bytes), t.Seconds, before)
		case t.Result == jobs.ResultOK:
			fmt.Fprintf(a.stdout, "%s: %s: up to date\n", r.Job, t.Destination)
		case t.Result == jobs.ResultAbsent, t.Result == jobs.ResultBusy, t.Result == jobs.ResultPaused, t.Result == jobs.ResultCancelled:
			fmt.Fprintf(a.stdout, "%s: %s: %s\n", r.Job, t.Destination, t.Error)
			a.printHint(t.Hint)
		}
	}
	if n := len(r.Pruned); n > 0 {
		fmt.Fprintf(a.stdout, "%s: pruned %d\n", r.Job, n)
	}
}

// byDestination are transfers in an order that people find again: destinations are served side by side.
func byDestination(transfers []jobs.Transfer) []jobs.Transfer {
	return slices.SortedStableFunc(slices.Values(transfers), func(a, b jobs.Transfer) int { return strings.Compare(a.Destination, b.Destination) })
}

// printProblems tells what needs somebody.
func (a *app) printProblems(r jobs.Record) {
	for _, w := range r.Warnings {
		fmt.Fprintf(a.stderr, "btrkeep: warning: %s: %s\n", r.Job, w)
	}
	for _, t := range byDestination(r.Transfers) {
		if t.Result == jobs.ResultFailed {
			fmt.Fprintf(a.stderr, "btrkeep: error: %s: %s: %s\n", r.Job, t.Destination, t.Error)
			a.printHint(t.Hint)
		}
	}
	if r.Error != "" {
		fmt.Fprintf(a.stderr, "btrkeep: error: %s: %s\n", r.Job, r.Error)
		a.printHint(r.Hint)
	}
}

func (a *app) printHint(hint string) {
	if hint != "" {
		fmt.Fprintf(a.stderr, "btrkeep: hint: %s\n", hint)
	}
}

func basisText(parent string) string {
	if parent == "" {
		return "in full"
	}
	return "against " + parent
}
