package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

func (a *app) planCommand() *cobra.Command {
	return a.view("plan [JOB…]", "what the next run would do, and why", `What the next run would do: the snapshot, the transfers with parent and estimated
size, and every decision of retention with its reasons. Nothing is changed.`, cobra.ArbitraryArgs, a.plan)
}

func (a *app) plan(ctx context.Context, cfg *config.Config, list []config.Job) error {
	return a.showPlans(ctx, cfg, list, (*jobs.Runner).Plan, func(w io.Writer, p jobs.Plan) {
		writePlan(w, p)
		writePrune(w, p, true)
	})
}

// planPrune shows step 5 alone.
func (a *app) planPrune(ctx context.Context, cfg *config.Config, list []config.Job) error {
	return a.showPlans(ctx, cfg, list, (*jobs.Runner).PlanPrune, func(w io.Writer, p jobs.Plan) {
		fmt.Fprintf(w, "%s:\n", p.Job)
		writePrune(w, p, false)
	})
}

func (a *app) showPlans(ctx context.Context, cfg *config.Config, list []config.Job, plan func(*jobs.Runner, context.Context, config.Job, jobs.Clock) jobs.Plan, write func(io.Writer, jobs.Plan)) error {
	plans, status := []jobs.Plan{}, exitOK
	for _, j := range list {
		p := plan(a.viewer(cfg), ctx, j, jobs.Now())
		if p.Error != "" || slices.ContainsFunc(p.Transfers, func(t jobs.PlannedTransfer) bool { return t.State == "failed" }) {
			status = exitFailed
		}
		plans = append(plans, p)
	}
	if a.json {
		if err := a.printJSON(plans); err != nil {
			return err
		}
	} else if err := a.table(func(w io.Writer) {
		for _, p := range plans {
			write(w, p)
		}
	}); err != nil {
		return err
	}
	for _, p := range plans {
		for _, w := range p.Warnings {
			fmt.Fprintf(a.stderr, "btrkeep: warning: %s: %s\n", p.Job, w)
		}
		if p.Error != "" {
			fmt.Fprintf(a.stderr, "btrkeep: error: %s: %s\n", p.Job, p.Error)
			a.printHint(p.Hint)
		}
	}
	if status != exitOK {
		return &exitError{status: status}
	}
	return nil
}

func writePlan(w io.Writer, p jobs.Plan) {
	fmt.Fprintf(w, "%s:\n", p.Job)
	if p.Snapshot.Name != "" {
		fmt.Fprintf(w, "  snapshot\t%s\n", p.Snapshot.Name)
	} else if p.Snapshot.Why != "" {
		fmt.Fprintf(w, "  no snapshot\t%s\n", p.Snapshot.Why)
	}
	for _, t := range p.Transfers {
		if t.Error != "" {
			fmt.Fprintf(w, "  %s\t%s\n", t.Destination, t.Error)
			continue
		}
		size := "about " + formatBytes(t.Estimate)
		if t.Resumed > 0 {
			size += fmt.Sprintf(", and %s are there already", formatBytes(t.Resumed))
		}
		fmt.Fprintf(w, "  send to %s\t%s\t%s\t%s\n", t.Destination, t.Snapshot, basisText(t.Parent), size)
	}
}

func writePrune(w io.Writer, p jobs.Plan, brief bool) {
	for _, d := range p.Prune {
		verb := "keep"
		if d.Remove {
			verb = "delete"
		} else if brief && len(p.Prune) > 40 {
			continue
		}
		fmt.Fprintf(w, "  %s at %s\t%s\t%s\n", verb, d.Where, d.Name, strings.Join(d.Reasons, "; "))
	}
}
