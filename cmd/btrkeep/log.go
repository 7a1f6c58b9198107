package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/btrkeep/btrkeep/btrfs/sendstream/diff"
	"github.com/btrkeep/btrkeep/jobs"
)

func (a *app) logCommand() *cobra.Command {
	var noRename bool
	o := jobs.FollowOptions{MaxTime: 30 * time.Second}
	c := &cobra.Command{
		Use: "log JOB PATH", Short: "the history of one file or directory",
		Long: `What happened to a file or directory, newest first: for each snapshot in which it
differs from the one before, what became of it. PATH is relative to the source of
JOB, or an absolute one below it. What begins with a dash comes after --.

Snapshots between which it changed are compared as "btrkeep diff" does it, which
tells how many bytes were written, and from where or to where it was renamed; the
newest come first, for as long as --max-time. What happened in a directory is not
told, only what the directory says of itself.

Exit status: 0 it was found; 1 it was not; 2 usage or configuration. What could not
be looked at, as a destination that is absent, is named and is no failure.`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if noRename {
				o.MaxTime = 0
			}
			return a.log(c.Context(), args[0], args[1], o)
		},
	}
	c.Flags().BoolVar(&noRename, "no-rename", false, "compare no snapshots: renames are shown as new and deleted")
	c.Flags().DurationVar(&o.MaxTime, "max-time", o.MaxTime, "for comparing snapshots: `DURATION`")
	c.Flags().BoolVar(&o.Foreign, "foreign", false, "also backups that btrkeep did not make and that may be of another source")
	a.jsonFlag(c)
	return c
}

func (a *app) log(ctx context.Context, job, path string, o jobs.FollowOptions) error {
	cfg, list, err := a.selected([]string{job})
	if err != nil {
		return err
	}
	log, err := a.viewer(cfg).Follow(ctx, list[0], path, o)
	if err != nil {
		return pathError(err)
	}
	if a.json {
		err = a.printTame(log)
	} else if len(log.Events) > 0 {
		err = a.table(func(w io.Writer) { writeLog(w, log, cfg.Timezone) })
	}
	if err != nil {
		return err
	}
	a.unsearched(log.Unsearched)
	if log.Uncompared > 0 {
		fmt.Fprintf(a.stderr, "btrkeep: warning: the time was up before %s could be looked at closely: renames among them are shown as new and deleted\n", counted(log.Uncompared, "change"))
		a.printHint("--max-time gives more")
	}
	if len(log.Events) == 0 {
		return &exitError{exitFailed, fmt.Errorf("%s: in none of %s", shownPath(path), counted(log.Snapshots, "snapshot"))}
	}
	return nil
}

func writeLog(w io.Writer, log jobs.PathLog, zone *time.Location) {
	fmt.Fprintln(w, "TIME\tSNAPSHOT\tCHANGE\tTYPE\tSIZE\tDETAILS")
	for _, e := range log.Events {
		size := "-"
		gone := e.Change == jobs.ChangeDeleted || e.Change == jobs.ChangeRenamed && e.To != ""
		if e.Type == string(diff.File) && !gone {
			size = formatBytes(e.Size)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", formatTime(e.Time, zone), shownPath(e.Snapshot), e.Change, e.Type, size, strings.Join(eventDetails(e), ", "))
	}
}

// eventDetails are what is worth to be told beside the kind of change.
func eventDetails(e jobs.PathEvent) []string {
	var d []string
	switch {
	case e.OldType != "" && e.OldType != e.Type:
		d = append(d, "was "+e.OldType)
	case e.OldType == string(diff.File) && e.OldSize != e.Size:
		d = append(d, "was "+formatBytes(e.OldSize))
	}
	if e.Written > 0 {
		d = append(d, formatBytes(e.Written)+" written")
	}
	if e.Replaced {
		d = append(d, "replaced")
	}
	if e.From != "" {
		d = append(d, "from "+shownPath(e.From))
	}
	if e.To != "" {
		d = append(d, "to "+shownPath(e.To))
	}
	return append(d, e.Metadata...)
}
