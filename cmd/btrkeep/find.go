package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/btrfs/sendstream/diff"
	"github.com/btrkeep/btrkeep/jobs"
)

func (a *app) findCommand() *cobra.Command {
	var o jobs.FindOptions
	c := &cobra.Command{
		Use: "find JOB PATH…", Short: "every version of a file or directory in snapshots and backups",
		Long: `Every version of a file or directory over all snapshots, and all backups at the
destinations that are present, newest first. PATH is relative to the source of
JOB, or an absolute one below it. In a pattern, to be quoted from the shell, *, ?
and […] match within one name, those that begin with a dot too, and ** any number
of directories. What begins with a dash comes after --.

CHANGE compares with the next older snapshot: "new", "changed" (type, size or time
of modification), "metadata" (only mode, owner or xattrs), "deleted"; "first" is in
the oldest. Snapshots in which nothing changed share a line. Contents are not read.
Of a directory only what it says of itself is compared: files deep in it may differ
all the same. "btrkeep diff" compares two snapshots in full.

Exit status: 0 something was found; 1 nothing was; 2 usage or configuration. What
could not be looked at, as a destination that is absent, is named and is no failure.`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error { return a.find(c.Context(), args[0], args[1:], o) },
	}
	c.Flags().BoolVarP(&o.All, "all", "a", false, "a line for every snapshot, also where nothing changed")
	c.Flags().BoolVar(&o.Foreign, "foreign", false, "also backups that btrkeep did not make and that may be of another source")
	a.jsonFlag(c)
	return c
}

func (a *app) find(ctx context.Context, job string, paths []string, o jobs.FindOptions) error {
	cfg, list, err := a.selected([]string{job})
	if err != nil {
		return err
	}
	found, err := a.viewer(cfg).Find(ctx, list[0], paths, o)
	if err != nil {
		return pathError(err)
	}
	if a.json {
		err = a.printTame(found)
	} else if len(found.Paths) > 0 {
		err = a.table(func(w io.Writer) { writeFound(w, found, cfg.Timezone) })
	}
	if err != nil {
		return err
	}
	a.unsearched(found.Unsearched)
	level := "warning"
	if len(found.Paths) == 0 {
		level = "error"
	}
	for _, text := range found.NotFound {
		fmt.Fprintf(a.stderr, "btrkeep: %s: %s: in none of %s\n", level, shownPath(text), counted(found.Snapshots, "snapshot"))
	}
	if len(found.Paths) == 0 {
		return &exitError{status: exitFailed}
	}
	return nil
}

// pathError tells usage from the rest.
func pathError(err error) error {
	if errors.Is(err, jobs.ErrPath) {
		return &exitError{exitUsage, err}
	}
	return &exitError{exitFailed, err}
}

// unsearched names what could not be looked at.
func (a *app) unsearched(list []jobs.Unsearched) {
	for _, u := range list {
		where := u.Where
		if u.Snapshot != "" {
			where += ": " + shownPath(u.Snapshot)
		}
		fmt.Fprintf(a.stderr, "btrkeep: warning: %s: not looked into: %s\n", where, oneLine(u.Error))
		a.printHint(u.Hint)
	}
}

func writeFound(w io.Writer, found jobs.Found, zone *time.Location) {
	fmt.Fprintln(w, "TIME\tCHANGE\tTYPE\tSIZE\tMODIFIED\tSNAPSHOTS")
	for _, p := range found.Paths {
		fmt.Fprintln(w, aside+shownPath(p.Path))
		for _, v := range p.Versions {
			size := "-"
			if v.Type == string(diff.File) {
				size = formatBytes(v.Size)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", formatTime(v.Time, zone), v.Change, orDash(v.Type), size, modified(v.MTime, zone), snapshotRange(v))
			for _, at := range v.Places {
				var marks []string
				if at.Altered {
					marks = append(marks, "written into since")
				}
				if at.Snapshots < v.Snapshots {
					marks = append(marks, fmt.Sprintf("%d of %d", at.Snapshots, v.Snapshots))
				}
				mark := ""
				if len(marks) > 0 {
					mark = " (" + strings.Join(marks, ", ") + ")"
				}
				fmt.Fprintf(w, aside+"    %s%s: %s\n", at.Where, mark, shownPath(at.Path))
			}
		}
	}
}

func snapshotRange(v jobs.FoundVersion) string {
	if v.Snapshots == 1 {
		return shownPath(v.Snapshot)
	}
	return fmt.Sprintf("%s … %s, %s", shownPath(v.Oldest), shownPath(v.Snapshot), counted(v.Snapshots, "snapshot"))
}

// modified writes a time of modification, which may be beyond the years that can be written as a date.
func modified(text string, zone *time.Location) string {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return orDash(text)
	}
	return formatTime(t, zone)
}

// shownPath is a path as it can stand on a line, whatever it is made of.
func shownPath(path string) string {
	if strings.Contains(path, "  ") {
		return strconv.Quote(path)
	}
	return sendstream.Quote(path)
}

// counted writes how many there are of something.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// printTame is printJSON for what holds names that anybody may have chosen.
func (a *app) printTame(v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := a.stdout.Write(tameJSON(b.Bytes()))
	return err
}
