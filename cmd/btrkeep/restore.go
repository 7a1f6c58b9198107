package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

func (a *app) restoreCommand() *cobra.Command {
	var o jobs.Restoration
	c := &cobra.Command{
		Use: "restore JOB [PATH…]", Short: "bring back a subvolume, or files of it",
		Long: `Bring back the whole subvolume of a job, or files and directories of it, as they were in a
snapshot or backup. Nothing is overwritten unless that is asked for.

  btrkeep restore home                               beside the source, as it was last
  btrkeep restore home --at "yesterday 18:00" --to /mnt/old-home
  btrkeep restore home ann/letter.txt --to /tmp      files and directories, by their paths in the source
  btrkeep restore home --in-place                    instead of the source, which is kept beside it
  btrkeep restore --from-dir /mnt/usb/home --to /mnt/new/home    on a machine that has only the disk

WHEN is the name of a snapshot, or a time: 2026-11-20, "2026-11-20 18:00", "2 hours ago", yesterday;
the newest that is not younger is taken. A transfer that was interrupted goes on when the same
command is given again. The next run of the job goes on incrementally.

Exit status: 0 done; 1 failed, the source is as it was unless something else is said; 2 usage; 75 not now.`,
		RunE: func(c *cobra.Command, args []string) error { return a.restore(c.Context(), o, args) },
	}
	f := c.Flags()
	f.StringVar(&o.At, "at", "", "what to restore: the name of a snapshot, or a time `WHEN` (default: the newest)")
	f.StringVar(&o.From, "from", "", "restore from this `DESTINATION`, or from \"source\" (default: the nearest that has it)")
	f.StringVar(&o.FromDir, "from-dir", "", "restore from a `DIR` of backups, without a configuration")
	f.StringVar(&o.To, "to", "", "where: a `PATH` that does not exist yet, or for files a directory")
	f.BoolVar(&o.InPlace, "in-place", false, "instead of the source, which is kept as SOURCE.before-restore-TIME")
	f.BoolVar(&o.Adopt, "adopt", false, "with --from-dir: a job of the restored subvolume is to prune the backups in DIR as its own")
	f.BoolVar(&o.Overwrite, "overwrite", false, "let files take the place of those that are there")
	f.BoolVarP(&o.DryRun, "dry-run", "n", false, "show what would be done and change nothing")
	a.jsonFlag(c)
	return c
}

// restore completes what was asked for, and does it.
func (a *app) restore(ctx context.Context, o jobs.Restoration, args []string) error {
	cfg, err := a.restoration(&o, args)
	if err != nil {
		var exit *exitError
		if errors.As(err, &exit) {
			return err
		}
		return &exitError{exitUsage, err}
	}
	line := a.progressLine()
	done := a.runner(cfg, a.quiet(), &jobs.Slots{}, line.show).Restore(ctx, o)
	line.clear()
	if a.json {
		if err := a.printJSON(done); err != nil {
			return err
		}
	} else {
		a.printRestored(done, cfg.Timezone)
	}
	if done.Error == "" {
		return nil
	}
	fmt.Fprintf(a.stderr, "btrkeep: error: %s\n", done.Error)
	a.printHint(done.Hint)
	if done.NotNow {
		return &exitError{status: exitNotNow}
	}
	return &exitError{status: exitFailed}
}

// restoration takes the arguments apart, and gives the configuration that counts.
func (a *app) restoration(o *jobs.Restoration, args []string) (cfg *config.Config, err error) {
	usage := func(hint, text string) error { return &jobs.HintError{Err: errors.New(text), Hint: hint} }
	o.Clock = jobs.Now()
	switch {
	case o.InPlace && (o.To != "" || o.FromDir != ""):
		return nil, usage("", "--in-place goes with neither --to nor --from-dir")
	case o.FromDir != "" && o.To == "":
		return nil, usage("", "--from-dir needs --to")
	case o.FromDir != "" && o.From != "":
		return nil, usage("", "--from-dir goes without --from")
	case o.Adopt && o.FromDir == "":
		return nil, usage("a job's own backups are known already", "--adopt goes with --from-dir")
	}
	if o.FromDir != "" {
		if o.FromDir, err = filepath.Abs(o.FromDir); err != nil {
			return nil, err
		}
		to, err := filepath.Abs(o.To)
		if err != nil {
			return nil, err
		}
		o.Paths = args
		if cfg, err = config.Adhoc(o.FromDir+".restored", o.FromDir, false, a.getenv); err != nil { // of this, only what no job decides counts
			return nil, err
		}
		o.Job = config.Job{Source: to, SnapshotDir: filepath.Join(to, config.DefaultSnapshotDir)}
		return cfg, a.overwriteNeedsPaths(*o)
	}
	if len(args) == 0 {
		return nil, usage("`btrkeep list` shows the jobs; without a configuration: --from-dir DIR --to PATH", "which job?")
	}
	cfg, list, err := a.selected(args[:1])
	if err != nil {
		return nil, err
	}
	o.Job, o.Paths = list[0], args[1:]
	switch {
	case o.InPlace && len(o.Paths) > 0:
		return nil, usage("to put single files back: --to DIRECTORY --overwrite", "--in-place is for the whole subvolume")
	case len(o.Paths) > 0 && o.To == "":
		return nil, usage("", "--to says into which directory the files go")
	case o.To == "" && !o.InPlace:
		o.To = o.Job.Source + ".restored-" + time.Now().UTC().Format("20060102T150405Z")
	}
	if o.From != "" && o.From != jobs.AtSource && !hasDestination(o.Job, o.From) {
		return nil, usage("its destinations are in the configuration; \"source\" stands for the snapshots", fmt.Sprintf("job %s has no destination %q", o.Job.Name, o.From))
	}
	return cfg, a.overwriteNeedsPaths(*o)
}

func (a *app) overwriteNeedsPaths(o jobs.Restoration) error {
	if o.Overwrite && len(o.Paths) == 0 {
		return &jobs.HintError{Err: errors.New("--overwrite is for files and directories"), Hint: "--in-place replaces the source and keeps what it was"}
	}
	return nil
}

func hasDestination(job config.Job, name string) bool {
	for _, d := range job.Destinations {
		if d.Name == name {
			return true
		}
	}
	return false
}

func (a *app) printRestored(r jobs.Restored, zone *time.Location) {
	if r.Snapshot != "" {
		fmt.Fprintf(a.stdout, "%s of %s, from %s (%s)\n", r.Snapshot, r.Taken.In(zone).Format("2006-01-02 15:04:05"), r.From, sendstream.Quote(r.Path))
	}
	if t := r.Transfer; t != nil {
		how := fmt.Sprintf("brought over: %s %s in %.1f s", formatBytes(t.Bytes), basisText(t.Parent), t.Seconds)
		if r.DryRun {
			how = fmt.Sprintf("would be brought over: about %s %s", formatBytes(t.Bytes), basisText(t.Parent))
		}
		fmt.Fprintln(a.stdout, how)
	}
	if r.Error == "" && r.Snapshot != "" {
		verb := "restored to"
		if r.DryRun {
			verb = "would be restored to"
		}
		fmt.Fprintf(a.stdout, "%s %s", verb, sendstream.Quote(r.To))
		if r.Files > 0 {
			fmt.Fprintf(a.stdout, ": %d files, %s", r.Files, formatBytes(r.Bytes))
		}
		fmt.Fprintf(a.stdout, " (%.1f s)\n", r.Seconds)
		if r.Before != "" {
			fmt.Fprintf(a.stdout, "what was there: %s\n", sendstream.Quote(r.Before))
		}
		if r.Common != "" {
			fmt.Fprintf(a.stdout, "the next backup goes on from %s\n", sendstream.Quote(r.Common))
		}
	}
	for _, n := range r.Notes {
		fmt.Fprintf(a.stderr, "btrkeep: note: %s\n", n)
	}
}
