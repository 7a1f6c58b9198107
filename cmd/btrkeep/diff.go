package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/btrfs/sendstream/diff"
	"github.com/btrkeep/btrkeep/jobs"
)

func (a *app) diffCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "diff OLD NEW", Short: "what changed between two snapshots",
		Long: `What changed between two read-only snapshots, or backups, on one file system: what
was added, modified, deleted, renamed, and what has other metadata only. No file is
read; it takes the time of a send without the data.

WRITTEN is how many bytes of a file were written since OLD. A file that was put in
the place of another one, as editors do when they save, is modified and "replaced".

Exit status: 0 done, whether something changed or not; 1 they cannot be compared; 2 usage.`,
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 1 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(c *cobra.Command, args []string) error { return a.diff(c.Context(), args[0], args[1], all) },
	}
	c.Flags().BoolVarP(&all, "all", "a", false, "also directories of which nothing but the time changed, as something in them did")
	a.jsonFlag(c)
	return c
}

func (a *app) diff(ctx context.Context, older, newer string, all bool) error {
	result, err := diff.Between(ctx, older, newer)
	if err != nil {
		return &exitError{exitFailed, &jobs.HintError{Err: err, Hint: diffHint(err)}}
	}
	report := diffReport{Old: older, New: newer, Changes: []diffChange{}}
	for _, c := range result.Changes {
		if all || !c.Implied {
			report.add(c)
		}
	}
	if a.json {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(report); err != nil {
			return err
		}
		_, err := a.stdout.Write(tameJSON(b.Bytes()))
		return err
	}
	out := bufio.NewWriter(a.stdout)
	report.write(out)
	return out.Flush()
}

func diffHint(err error) string {
	switch {
	case errors.Is(err, diff.ErrWritable):
		return "only what stands still can be compared; make a read-only snapshot: btrfs subvolume snapshot -r SUBVOLUME SNAPSHOT"
	case errors.Is(err, diff.ErrFileSystems):
		return "compare two snapshots, or two backups on one disk"
	case errors.Is(err, btrfs.ErrNotSubvolume), errors.Is(err, btrfs.ErrNotBtrfs), errors.Is(err, os.ErrNotExist):
		return "name two snapshots; `btrkeep list` shows what there is"
	case errors.Is(err, syscall.EPERM) && os.Geteuid() != 0:
		return "this needs root"
	}
	return ""
}

// diffReport is what `diff --json` prints.
type diffReport struct {
	Old     string       `json:"old"`
	New     string       `json:"new"`
	Changes []diffChange `json:"changes"`
	Summary diffSummary  `json:"summary"`
}

type diffSummary struct {
	Added    int    `json:"added"`
	Modified int    `json:"modified"`
	Deleted  int    `json:"deleted"`
	Renamed  int    `json:"renamed"`
	Metadata int    `json:"metadata"`
	Written  uint64 `json:"written"` // bytes
}

// diffChange is a [diff.Change]; names that JSON cannot carry are there in base64 as well.
type diffChange struct {
	Change     diff.Kind `json:"change"`
	Path       string    `json:"path"` // "." is the root
	PathBase64 string    `json:"path_base64,omitempty"`
	From       string    `json:"from,omitempty"`
	FromBase64 string    `json:"from_base64,omitempty"`
	Type       diff.Type `json:"type"`
	Content    bool      `json:"content"`
	Written    uint64    `json:"written"`
	Cloned     uint64    `json:"cloned"`
	Size       uint64    `json:"size"`
	OldSize    uint64    `json:"old_size"`
	Metadata   []string  `json:"metadata"`
	Replaced   bool      `json:"replaced"`
	Link       string    `json:"link,omitempty"`
	LinkBase64 string    `json:"link_base64,omitempty"`
}

func (r *diffReport) add(c diff.Change) {
	d := diffChange{
		Change: c.Kind, Path: c.Path, PathBase64: rawName(c.Path), Type: c.Type, Content: c.Content, Written: c.Written, Cloned: c.Cloned, Size: c.Size,
		OldSize: c.OldSize, Metadata: append([]string{}, c.Metadata...), Replaced: c.Replaced, Link: c.Link, LinkBase64: rawName(c.Link),
	}
	if d.Path == "" {
		d.Path = "."
	}
	if c.From != c.Path {
		d.From, d.FromBase64 = c.From, rawName(c.From)
	}
	r.Changes = append(r.Changes, d)
	s := &r.Summary
	*map[diff.Kind]*int{
		diff.Added: &s.Added, diff.Modified: &s.Modified, diff.Deleted: &s.Deleted, diff.Renamed: &s.Renamed, diff.Metadata: &s.Metadata,
	}[c.Kind]++
	s.Written += c.Written
}

func (r *diffReport) write(w io.Writer) {
	if len(r.Changes) == 0 {
		fmt.Fprintln(w, "no changes")
		return
	}
	fmt.Fprintf(w, "%-8s  %10s  %s\n", "CHANGE", "WRITTEN", "PATH")
	for _, c := range r.Changes {
		written := "-"
		if c.Content || c.Written > 0 {
			written = formatBytes(c.Written)
		}
		path := c.shown(c.Path)
		if c.Change == diff.Renamed {
			path = c.shown(c.From) + " → " + path
		}
		fmt.Fprintf(w, "%-8s  %10s  %s", c.Change, written, path)
		if d := c.details(); len(d) > 0 {
			fmt.Fprintf(w, "  (%s)", strings.Join(d, ", "))
		}
		fmt.Fprintln(w)
	}
	s := r.Summary
	fmt.Fprintf(w, "%d added, %d modified, %d deleted, %d renamed, %d metadata only; %s written\n",
		s.Added, s.Modified, s.Deleted, s.Renamed, s.Metadata, formatBytes(s.Written))
}

// shown is a path as it can stand on a line of the table.
func (c diffChange) shown(path string) string {
	if c.Type == diff.Directory && path != "." {
		path += "/"
	}
	if strings.Contains(path, "  ") { // what follows the path on its line comes after two spaces
		return strconv.Quote(path)
	}
	return sendstream.Quote(path)
}

// details are what is worth to be told beside the kind of change. That the time changed with the contents goes without saying.
func (c diffChange) details() []string {
	var d []string
	if c.Content && c.Change != diff.Added && c.Size != c.OldSize {
		d = append(d, fmt.Sprintf("%s, was %s", formatBytes(c.Size), formatBytes(c.OldSize)))
	}
	if c.Cloned > 0 {
		d = append(d, formatBytes(c.Cloned)+" shared")
	}
	if c.Replaced {
		d = append(d, "replaced")
	}
	if c.Link != "" {
		d = append(d, "same file as "+c.shown(c.Link))
	}
	for _, m := range c.Metadata {
		if m != "time" || !c.Content {
			d = append(d, m)
		}
	}
	return d
}
