package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/daemon"
	"github.com/btrkeep/btrkeep/daemon/journal"
	"github.com/btrkeep/btrkeep/daemon/metrics"
	"github.com/btrkeep/btrkeep/daemon/notify"
	"github.com/btrkeep/btrkeep/internal/power"
	"github.com/btrkeep/btrkeep/jobs"
)

func (a *app) daemonCommand() *cobra.Command {
	return &cobra.Command{
		Use: "daemon", Short: "run the jobs on their schedules: what the systemd unit starts", Args: cobra.NoArgs,
		Long: `Run the jobs on their schedules until SIGTERM. SIGHUP reads the configuration
anew; if it holds mistakes, the old one stays in force.`,
		RunE: func(c *cobra.Command, _ []string) error {
			path, err := filepath.Abs(a.configPath)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			a.configPath = path
			if _, err := a.load(); err != nil {
				return err
			}
			tail := journal.NewTail(a.logger(slog.LevelInfo, true).Handler())
			log, slots := slog.New(tail), &jobs.Slots{}
			d := &daemon.Daemon{ConfigPath: path, Load: a.loadFiles, Log: log, Version: version()}
			d.Runner = func(cfg *config.Config) daemon.Runner { return a.runner(cfg, log, slots, d.Progress) }
			d.OnBattery = power.OnBattery
			d.Tasks = a.tasks(d, log, slots)
			d.Observers = []daemon.Observer{notify.New(log, tail.Of), metrics.New(log, version(), time.Now)}
			err = d.Run(c.Context())
			if _, held := errors.AsType[*jobs.HeldError](err); held {
				return &exitError{exitNotNow, err}
			}
			if err != nil {
				return &exitError{exitFailed, err}
			}
			return nil
		},
	}
}

func (a *app) checkCommand() *cobra.Command {
	authorizedKey, tell := false, false
	c := a.view("check", "look for problems in the configuration and on the machine", `Read the configuration and look at everything it names: every problem with its
cure, and the next three times of each job. Nothing is changed.

Exit status: 0 nothing is wrong; 1 something on the machine is; 2 the configuration is.

With --tell, everybody whom notify names is also told that this is a test.

With --authorized-key nothing is looked for: it prints, for each machine that the configuration names with ssh://, the line for authorized_keys there.`,
		cobra.NoArgs, func(ctx context.Context, cfg *config.Config, list []config.Job) error {
			if authorizedKey {
				return a.authorizedKeys(ctx, cfg, list)
			}
			return a.check(ctx, cfg, list, tell)
		})
	c.Flags().BoolVar(&tell, "tell", false, "tell everybody whom notify names that this is a test")
	c.Flags().BoolVar(&authorizedKey, "authorized-key", false, "print the line to paste into authorized_keys of each other machine")
	return c
}

// authorizedKeys prints text that can be pasted as it is.
func (a *app) authorizedKeys(ctx context.Context, cfg *config.Config, list []config.Job) error {
	lines, err := a.remote(cfg).Authorize(ctx, list)
	if err != nil {
		return &exitError{exitFailed, err}
	}
	if a.json {
		return a.printJSON(lines)
	}
	if len(lines) == 0 {
		fmt.Fprintln(a.stderr, "btrkeep: hint: no job has a source or destination on another machine")
	}
	for _, l := range lines {
		fmt.Fprintf(a.stdout, "# For %s: %s\n", l.Host, strings.Join(l.Jobs, ", "))
		if l.Adds {
			fmt.Fprintln(a.stdout, "# What is kept there is pruned there, by a job with received = ...; without --append-only this machine does that, and may delete and read backups")
		}
		fmt.Fprintln(a.stdout, l.Line)
	}
	return nil
}

// checkReport is what `check --json` prints. Fields are only ever added.
type checkReport struct {
	Config   string                 `json:"config"`
	Files    []string               `json:"files"`
	Findings []jobs.Finding         `json:"findings"`
	Next     map[string][]time.Time `json:"next"` // the next three times of each job
}

func (a *app) check(ctx context.Context, cfg *config.Config, list []config.Job, tell bool) error {
	report := checkReport{Config: a.configPath, Files: cfg.Files, Findings: []jobs.Finding{}, Next: map[string][]time.Time{}}
	for _, w := range cfg.Warnings {
		report.Findings = append(report.Findings, jobs.Finding{Level: jobs.LevelWarning, Text: w})
	}
	if _, err := exec.LookPath("btrfs"); err != nil && cfg.Receiver == config.ReceiverProgs {
		report.Findings = append(report.Findings, jobs.Finding{Level: jobs.LevelError, Text: "the btrfs program is not installed", Hint: "install btrfs-progs"})
	}
	report.Findings = append(report.Findings, textfileFindings(cfg)...)
	now := time.Now().In(cfg.Timezone)
	for _, j := range list {
		report.Findings = append(report.Findings, a.viewer(cfg).Check(ctx, j)...)
		report.Next[j.Name] = jobs.NextRuns(j, now, 3)
	}
	report.Findings = append(report.Findings, notify.Check(cfg)...)
	if tell {
		report.Findings = append(report.Findings, notify.Try(ctx, list, now)...)
	}
	failed := false
	for _, f := range report.Findings {
		failed = failed || f.Level == jobs.LevelError
	}
	var err error
	if a.json {
		err = a.printJSON(report)
	} else {
		err = a.writeCheck(report, list, cfg.Timezone)
	}
	if err == nil && failed {
		err = &exitError{status: exitFailed}
	}
	return err
}

func (a *app) writeCheck(report checkReport, list []config.Job, zone *time.Location) error {
	for _, f := range report.Findings {
		where := ""
		if f.Job != "" {
			where = f.Job + ": "
		}
		fmt.Fprintf(a.stderr, "btrkeep: %s: %s%s\n", f.Level, where, f.Text)
		a.printHint(f.Hint)
	}
	return a.table(func(w io.Writer) {
		for _, j := range list {
			fmt.Fprintf(w, "%s\t%s", j.Name, orDash(j.Schedule.String()))
			for _, t := range report.Next[j.Name] {
				fmt.Fprintf(w, "\t%s", t.In(zone).Format("Mon 2006-01-02 15:04"))
			}
			fmt.Fprintln(w)
		}
	})
}
