package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

func (a *app) verifyCommand() *cobra.Command {
	var o jobs.VerifyOptions
	c := &cobra.Command{
		Use: "verify [JOB…]", Short: "hold backups against the snapshots that they were made of",
		Long: `Verify that backups are what they should be: how they stand (complete, read-only,
their UUIDs, whether somebody has written into them), and what is in them, compared
with the snapshot as long as that exists, else with a copy at another destination.
Without --deep or --sample all names and metadata are compared, and no data is read.

What was cut by --max-time goes on with the next verify of the same kind. Each takes
another sample, until all data had its turn. Nothing is changed, no run is kept
waiting, and what is being read is not pruned.

Exit status: 0 nothing is wrong, as far as it was looked at; 1 something is; 2 usage;
75 a destination is absent, or the job is being verified already.`,
		RunE: func(c *cobra.Command, args []string) error {
			if o.Deep && o.Sample > 0 {
				return &exitError{exitUsage, errors.New("--deep reads all data, --sample a part of it: choose one")}
			}
			cfg, list, err := a.selected(args)
			if err != nil {
				return err
			}
			if err := knownDestination(list, o.Destination); err != nil {
				return err
			}
			return a.verify(c.Context(), cfg, list, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Destination, "destination", "", "only this `DESTINATION`")
	f.BoolVar(&o.Deep, "deep", false, "compare the data of all files, too")
	f.Func("sample", "compare the data of so much of the files, such as `5%`: another part each time", func(text string) error {
		var p config.Percent
		err := p.UnmarshalText([]byte(text))
		o.Sample = float64(p) / 100
		return err
	})
	f.Func("max-time", "stop after this `TIME`, such as 30m, and go on there next time", func(text string) error {
		var d config.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil {
			return err
		}
		if d <= 0 {
			return errors.New("it must be longer than nothing")
		}
		o.MaxTime = time.Duration(d)
		return nil
	})
	a.jsonFlag(c)
	return c
}

// knownDestination refuses the name of a destination that one of the jobs does not have.
func knownDestination(list []config.Job, name string) error {
	for _, j := range list {
		var names []string
		for _, d := range j.Destinations {
			names = append(names, d.Name)
		}
		if name != "" && !slices.Contains(names, name) {
			return &exitError{exitUsage, &jobs.HintError{Err: fmt.Errorf("job %s has no destination %q", j.Name, name), Hint: "it has " + strings.Join(names, ", ")}}
		}
	}
	return nil
}

func (a *app) verify(ctx context.Context, cfg *config.Config, list []config.Job, o jobs.VerifyOptions) error {
	line := a.progressLine()
	runner := a.runner(cfg, a.quiet(), &jobs.Slots{}, func(p jobs.Progress) {
		if p.Step == "verify" {
			p.Step = "transfer" // it is shown as that of one
			line.show(p)
		}
	})
	reports, status, start := []jobs.VerifyReport{}, exitOK, time.Now()
	for i, j := range list {
		each := o
		each.Clock = jobs.Now()
		if o.MaxTime > 0 { // what is left of it is shared by the jobs that are to come
			each.MaxTime = max(1, (o.MaxTime-time.Since(start))/time.Duration(len(list)-i))
		}
		r := runner.Verify(ctx, j, each)
		line.clear()
		if err := runner.NoteVerify(j, r); err != nil {
			fmt.Fprintf(a.stderr, "btrkeep: warning: `btrkeep status` does not know of this: %v\n", err)
		}
		if s := r.ExitStatus(); status != exitFailed && s != exitOK {
			status = s
		}
		if !a.json {
			writeVerify(a.stdout, r, cfg.Timezone)
		}
		a.verifyProblems(r)
		reports = append(reports, r)
	}
	a.writeTextfile(ctx, cfg)
	if a.json {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(reports); err != nil {
			return err
		}
		if _, err := a.stdout.Write(tameJSON(b.Bytes())); err != nil {
			return err
		}
	}
	if status != exitOK {
		return &exitError{status: status}
	}
	return nil
}

// writeVerify prints a line for each finding, and one for each destination.
func writeVerify(w io.Writer, r jobs.VerifyReport, zone *time.Location) {
	for _, d := range r.Destinations {
		for _, f := range d.Findings {
			at := f.Backup
			if f.Path != "" {
				at += ": " + sendstream.Quote(f.Path)
			}
			fmt.Fprintf(w, "%s: %s: %s: %s\n", r.Job, d.Name, at, f.What)
		}
		fmt.Fprintf(w, "%s: %s: %s\n", r.Job, d.Name, verifySummary(d, zone))
	}
}

// verifySummary says how a destination stands and how much of it was looked at.
func verifySummary(d jobs.VerifiedDestination, zone *time.Location) string {
	if d.Error != "" {
		if d.Result == jobs.ResultAbsent {
			return d.Error
		}
		return "not verified"
	}
	parts := []string{"intact"}
	if n := len(d.Findings); n > 0 {
		parts[0] = fmt.Sprintf("%d %s", n, plural(n, "problem"))
	}
	parts = append(parts, fmt.Sprintf("%d %s", d.Backups, plural(d.Backups, "backup")))
	contents := fmt.Sprintf("contents of %d compared (%d %s", len(d.Compared), d.Entries, plural(int(d.Entries), "name"))
	if d.Parts > 0 {
		contents += fmt.Sprintf(", %s of %d %s", formatBytes(d.Bytes), d.Files, plural(int(d.Files), "file"))
	}
	if d.Parts > 1 {
		contents += fmt.Sprintf(", sample %d of %d", d.Part, d.Parts)
	}
	parts = append(parts, contents+")")
	if n := len(d.StructureOnly); n > 0 {
		parts = append(parts, fmt.Sprintf("nothing to compare %d with", n))
	}
	if d.Remaining > 0 {
		rest := fmt.Sprintf("%d to go since %s", d.Remaining, formatTime(d.Begun, zone))
		if d.Cut != nil {
			rest += fmt.Sprintf(", next at %s: %s", d.Cut.Backup, sendstream.Quote(cmp.Or(d.Cut.Path, ".")))
		}
		parts = append(parts, rest)
	}
	return strings.Join(parts, "; ")
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// verifyProblems tells what kept backups from being verified, and what to do about damage.
func (a *app) verifyProblems(r jobs.VerifyReport) {
	damaged := false
	for _, text := range r.Warnings {
		fmt.Fprintf(a.stderr, "btrkeep: warning: %s: %s\n", r.Job, text)
	}
	for _, d := range r.Destinations {
		damaged = damaged || len(d.Findings) > 0
		if d.Error != "" && d.Result != jobs.ResultAbsent {
			fmt.Fprintf(a.stderr, "btrkeep: error: %s: %s: %s\n", r.Job, d.Name, d.Error)
		}
		a.printHint(d.Hint)
	}
	if r.Error != "" {
		fmt.Fprintf(a.stderr, "btrkeep: error: %s: %s\n", r.Job, r.Error)
		a.printHint(r.Hint)
	}
	if damaged {
		a.printHint("a damaged backup is nothing to restore from: when its disk is well, delete it with `btrfs subvolume delete`, and the next run brings it again as long as its snapshot exists")
	}
}
