package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

func (a *app) pinCommand() *cobra.Command {
	c := a.markCommand("pin", "never prune a snapshot and its backups", `Pin what is called NAME: the snapshot and its backups at all destinations that
are present. What is pinned is never pruned, until it is unpinned. NAME may also
be the path of one snapshot or backup, which then is pinned alone.

The pin is noted beside the snapshot or backup, and so moves with its disk.`, false)
	c.Flags().String("reason", "", "`TEXT` to show with it")
	return c
}

func (a *app) unpinCommand() *cobra.Command {
	return a.markCommand("unpin", "let a snapshot and its backups be pruned again", `Unpin what is called NAME: the snapshot and its backups at all destinations that
are present. The policies apply to them again. NAME may also be the path of one
snapshot or backup, which then is unpinned alone.`, true)
}

// markCommand is what pin and unpin share.
func (a *app) markCommand(verb, short, long string, remove bool) *cobra.Command {
	var job string
	p := jobs.Pin{Remove: remove}
	c := &cobra.Command{
		Use: verb + " NAME", Short: short, Args: cobra.ExactArgs(1),
		Long: long + `

Exit status: 0 done; 1 something failed; 2 usage; 75 not now: a destination is
absent or in use. The rest was done.`,
		RunE: func(c *cobra.Command, args []string) error {
			p.What, p.Clock = args[0], jobs.Now()
			if f := c.Flags().Lookup("reason"); f != nil {
				p.Reason = strings.TrimSpace(f.Value.String())
			}
			if !utf8.ValidString(p.Reason) || strings.ContainsFunc(p.Reason, unicode.IsControl) {
				return &exitError{exitUsage, errors.New("the reason has to be one line of text")}
			}
			var names []string
			if job != "" {
				names = []string{job}
			}
			cfg, list, err := a.selected(names)
			if err != nil {
				return err
			}
			one, err := a.jobOf(c.Context(), cfg, list, p)
			if err != nil {
				return err
			}
			marks, err := a.viewer(cfg).Pin(c.Context(), one, p)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			return a.reportMarks(one, p, marks)
		},
	}
	c.Flags().StringVar(&job, "job", "", "of this `JOB`: needed if several have the name")
	c.Flags().StringVar(&p.Where, "destination", "", "only at this `DESTINATION`; \"source\": only the snapshot")
	a.jsonFlag(c)
	return c
}

// jobOf finds the one job that is meant. Runs that start together give their snapshots the same name.
func (a *app) jobOf(ctx context.Context, cfg *config.Config, list []config.Job, p jobs.Pin) (config.Job, error) {
	refuse := func(status int, hint, format string, args ...any) (config.Job, error) {
		return config.Job{}, &exitError{status, &jobs.HintError{Err: fmt.Errorf(format, args...), Hint: hint}}
	}
	places := []string{jobs.AtSource}
	list = slices.DeleteFunc(slices.Clone(list), func(j config.Job) bool {
		known := p.Where == "" || p.Where == jobs.AtSource
		for _, d := range j.Destinations {
			places = append(places, d.Name)
			known = known || d.Name == p.Where
		}
		return !known
	})
	slices.Sort(places[1:])
	if len(list) == 0 {
		return refuse(exitUsage, "known are: "+strings.Join(slices.Compact(places), ", "), "there is no destination %q", p.Where)
	}
	if len(list) == 1 {
		return list[0], nil
	}
	var have []config.Job
	var names []string
	status := exitUsage
	for _, j := range list {
		has, sure, err := a.viewer(cfg).Has(ctx, j, p)
		if err != nil {
			return config.Job{}, &exitError{exitUsage, err}
		}
		if !sure {
			status = exitNotNow
		}
		if has {
			have, names = append(have, j), append(names, j.Name)
		}
	}
	switch len(have) {
	case 0:
		return refuse(status, "`btrkeep list` shows what there is, and what is absent", "no job has a snapshot or backup %s where one can look now", p.What)
	case 1:
		return have[0], nil
	}
	return refuse(exitUsage, "say which with --job", "several jobs have a snapshot or backup %s: %s", p.What, strings.Join(names, ", "))
}

// reportMarks prints what became of a pin: what is so now on stdout, what else there is to say on stderr.
func (a *app) reportMarks(job config.Job, p jobs.Pin, marks []jobs.Mark) error {
	found := slices.ContainsFunc(marks, func(m jobs.Mark) bool { return m.Name != "" })
	if !found && len(marks) == 0 {
		return &exitError{exitUsage, &jobs.HintError{Err: fmt.Errorf("job %s has no snapshot or backup %s", job.Name, p.What), Hint: "`btrkeep list " + job.Name + "` shows what there is"}}
	}
	if a.json {
		if err := a.printJSON(marks); err != nil {
			return err
		}
	}
	status := exitOK
	for _, m := range marks {
		switch m.Result {
		case jobs.ResultFailed:
			status = exitFailed
		case jobs.ResultAbsent, jobs.ResultBusy:
			if status == exitOK {
				status = exitNotNow
			}
		}
		a.printMark(m)
	}
	if !found {
		fmt.Fprintf(a.stderr, "btrkeep: error: job %s has no snapshot or backup %s where one could look\n", job.Name, p.What)
	}
	if status != exitOK {
		return &exitError{status: status}
	}
	return nil
}

func (a *app) printMark(m jobs.Mark) {
	switch m.Result {
	case jobs.ResultFailed:
		fmt.Fprintf(a.stderr, "btrkeep: error: %s: %s: %s\n", m.Job, m.Where, m.Error)
		a.printHint(m.Hint)
	case jobs.ResultAbsent, jobs.ResultBusy:
		fmt.Fprintf(a.stderr, "btrkeep: warning: %s: %s: %s\n", m.Job, m.Where, m.Error)
		a.printHint(m.Hint)
	case jobs.ResultForeign:
		fmt.Fprintf(a.stderr, "btrkeep: note: %s: %s: %s was not made by btrkeep and is never deleted: nothing was noted\n", m.Job, m.Where, m.Name)
	default:
		if a.json {
			return
		}
		text := jobs.PinText(m.Reason)
		if !m.Pinned {
			text = "not pinned"
		}
		fmt.Fprintf(a.stdout, "%s: %s: %s %s\n", m.Job, m.Where, m.Name, text)
	}
}
