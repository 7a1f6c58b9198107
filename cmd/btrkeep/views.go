package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// view is a command that looks at jobs and prints.
func (a *app) view(use, short, long string, args cobra.PositionalArgs, show func(context.Context, *config.Config, []config.Job) error) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: long, Args: args,
		RunE: func(c *cobra.Command, args []string) error {
			cfg, list, err := a.selected(args)
			if err != nil {
				return err
			}
			return show(c.Context(), cfg, list)
		},
	}
	a.jsonFlag(c)
	return c
}

func (a *app) viewer(cfg *config.Config) *jobs.Runner {
	return a.runner(cfg, a.quiet(), &jobs.Slots{}, nil)
}

// looker is a viewer for many jobs: all see the file systems as they were at one moment. It is for one command.
func (a *app) looker(cfg *config.Config) *jobs.Runner {
	view := &jobs.View{}
	places := a.places(cfg)
	places.local.View = &view.View
	r := a.viewer(cfg)
	r.View, r.Open, r.At = view, places.open, places.at
	return r
}

func (a *app) listCommand() *cobra.Command {
	tree := false
	c := a.view("list [JOB]", "snapshots and backups: which are complete, common, pinned", `With --tree the same as a drawing: for each snapshot, on an axis of years, months,
days and times, at which places it is, the oldest first.

  `+treeLegend, cobra.MaximumNArgs(1),
		func(ctx context.Context, cfg *config.Config, list []config.Job) error {
			return a.list(ctx, cfg, list, tree)
		})
	c.Flags().BoolVar(&tree, "tree", false, "draw what is kept on a time axis")
	c.MarkFlagsMutuallyExclusive("json", "tree")
	return c
}

func (a *app) list(ctx context.Context, cfg *config.Config, list []config.Job, tree bool) error {
	status := exitOK
	r := a.looker(cfg)
	listings := jobs.Each(ctx, list, r.List)
	for _, l := range listings {
		switch {
		case l.Absent && status == exitOK:
			status = exitNotNow
		case l.Error != "" && !l.Absent:
			status = exitFailed
		}
	}
	if a.json {
		if err := a.printJSON(listings); err != nil {
			return err
		}
	} else if tree {
		for _, l := range listings {
			a.printLines(treeLines(l, cfg.Timezone, a.screen()))
		}
		a.printLines([]string{"", treeLegend})
	} else if err := a.table(func(w io.Writer) {
		for _, l := range listings {
			writeListing(w, l, cfg.Timezone)
		}
	}); err != nil {
		return err
	}
	return a.problems(listings, status)
}

func (a *app) printLines(lines []string) {
	for _, line := range lines {
		fmt.Fprintln(a.stdout, line)
	}
}

func (a *app) problems(listings []jobs.Listing, status int) error {
	for _, l := range listings {
		if l.Error != "" {
			fmt.Fprintf(a.stderr, "btrkeep: error: %s: %s\n", l.Job, l.Error)
			a.printHint(l.Hint)
		}
	}
	if status != exitOK {
		return &exitError{status: status}
	}
	return nil
}

func writeListing(w io.Writer, l jobs.Listing, zone *time.Location) {
	fmt.Fprintf(w, "%s: %s\n", l.Job, l.Source)
	for _, s := range l.Snapshots {
		var marks []string
		if len(s.CommonWith) > 0 {
			marks = append(marks, "common with "+strings.Join(s.CommonWith, ", "))
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", s.Name, formatTime(s.Created, zone), strings.Join(append(marks, flags(s.PinReason, s.Own)...), ", "))
	}
	for _, d := range l.Destinations {
		fmt.Fprintf(w, "  %s: %s", d.Name, d.URL)
		if d.State != jobs.StatePresent {
			fmt.Fprintf(w, " (%s)", d.Error)
		}
		fmt.Fprintln(w)
		for _, b := range d.Backups {
			mark := "complete"
			switch {
			case b.Altered:
				mark = "written into since it was received"
			case !b.Complete:
				mark = "not a backup"
			}
			fmt.Fprintf(w, "    %s\t%s\t%s\n", b.Name, formatTime(b.Created, zone), strings.Join(append([]string{mark}, flags(b.PinReason, b.Own)...), ", "))
		}
		for _, u := range d.Unfinished {
			fmt.Fprintf(w, "    %s\t\tinterrupted, goes on after %s\n", u.Snapshot, formatBytes(u.Bytes))
		}
	}
}

func flags(pinned string, own bool) []string {
	var f []string
	if pinned != "" {
		f = append(f, jobs.PinText(pinned))
	}
	if !own {
		f = append(f, "not made by btrkeep")
	}
	return f
}

func (a *app) historyCommand() *cobra.Command {
	limit, days := 0, false
	c := &cobra.Command{
		Use: "history [JOB]", Short: "past runs, newest first", Args: cobra.MaximumNArgs(1),
		Long: `Past runs, newest first, also those of jobs that have left the configuration. With
--days as a drawing: a line for each day, with a mark for each hour.

  ` + daysLegend,
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			return a.history(cfg, args, limit, days)
		},
	}
	c.Flags().IntVarP(&limit, "number", "n", 0, "show only the newest `N` runs")
	c.Flags().BoolVar(&days, "days", false, "draw a line for each day")
	a.jsonFlag(c)
	c.MarkFlagsMutuallyExclusive("json", "days")
	return c
}

// history shows past runs, also those of jobs that have left the configuration.
func (a *app) history(cfg *config.Config, names []string, limit int, days bool) error {
	name := strings.Join(names, "")
	records, err := jobs.History(cfg.StateDir, name)
	if err != nil {
		return &exitError{exitFailed, err}
	}
	if len(records) == 0 {
		if _, err := pick(cfg, names); err != nil {
			return err
		}
	}
	if limit > 0 && len(records) > limit {
		records = records[:limit]
	}
	if a.json {
		return a.printJSON(records)
	}
	if days {
		for _, of := range byJob(records) {
			a.printLines(dayLines(of, cfg.Timezone, a.screen()))
		}
		a.printLines([]string{"", daysLegend})
		return nil
	}
	return a.table(func(w io.Writer) {
		fmt.Fprintln(w, "STARTED\tJOB\tRESULT\tTOOK\tSNAPSHOT\tDESTINATION\tPARENT\tSENT\tPRUNED")
		for _, r := range records {
			writeRecord(w, r, cfg.Timezone)
		}
	})
}

func writeRecord(w io.Writer, r jobs.Record, zone *time.Location) {
	first := fmt.Sprintf("%s\t%s\t%s\t%s", formatTime(r.Started, zone), r.Job, r.Result, r.Ended.Sub(r.Started).Round(10*time.Millisecond))
	pruned := fmt.Sprint(len(r.Pruned))
	if len(r.Transfers) == 0 {
		fmt.Fprintf(w, "%s\t%s\t-\t-\t-\t%s\n", first, orDash(r.Snapshot), pruned)
	}
	for _, t := range byDestination(r.Transfers) {
		parent, sent := t.Parent, formatBytes(t.Bytes)
		switch {
		case t.Result != jobs.ResultOK:
			parent, sent = "-", t.Result
		case t.Bytes == 0:
			parent, sent = "-", "up to date"
		case parent == "":
			parent = "(full)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", first, orDash(t.Snapshot), t.Destination, parent, sent, pruned)
		first, pruned = "\t\t\t", ""
	}
	if r.Error != "" {
		fmt.Fprintf(w, aside+"%21serror: %s\n", "", oneLine(r.Error))
	}
	for _, t := range byDestination(r.Transfers) {
		if t.Result == jobs.ResultFailed {
			fmt.Fprintf(w, aside+"%21s%s: error: %s\n", "", t.Destination, oneLine(t.Error))
		}
	}
}

// oneLine is an error, which may be several joined, as a line of a table.
func oneLine(text string) string { return strings.ReplaceAll(text, "\n", "; ") }
