package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// runInTurn is runThem, each job when it is not running any more: the daemon's runs and those of other processes are seen by their locks.
func (a *app) runInTurn(ctx context.Context, cfg *config.Config, list []config.Job) ([]jobs.Record, error) {
	var free, busy []config.Job
	for _, job := range list {
		if _, held := jobs.Running(cfg, job); held {
			busy = append(busy, job)
		} else {
			free = append(free, job)
		}
	}
	type outcome struct {
		records []jobs.Record
		err     error
	}
	parts := make(chan outcome)
	go func() {
		records, err := a.runThem(ctx, cfg, free)
		for i := 0; i < len(records) && err == nil; i++ {
			if !records[i].Locked { // else another one was quicker
				continue
			}
			var again []jobs.Record
			again, err = a.runWhenFree(ctx, cfg, cfg.Jobs[indexJob(cfg, records[i].Job)])
			records = slices.Replace(records, i, i+1, again...)
		}
		parts <- outcome{records, err}
	}()
	for _, job := range busy {
		go func() {
			records, err := a.runWhenFree(ctx, cfg, job)
			parts <- outcome{records, err}
		}()
	}
	var all outcome
	for range 1 + len(busy) {
		part := <-parts
		all = outcome{append(all.records, part.records...), errors.Join(all.err, part.err)}
	}
	slices.SortStableFunc(all.records, func(a, b jobs.Record) int { return strings.Compare(a.Job, b.Job) })
	return all.records, all.err
}

const (
	lookAgain  = 200 * time.Millisecond // how often a lock is looked at
	triedAgain = 5 * time.Second        // after a run that found another lock in its way, such as one on another machine
)

// runWhenFree waits until a job is not running, and runs it. When another one was quicker, it waits for that, too.
func (a *app) runWhenFree(ctx context.Context, cfg *config.Config, job config.Job) ([]jobs.Record, error) {
	fmt.Fprintf(a.stderr, "btrkeep: note: %s is running; waiting for its end\n", job.Name)
	for {
		for _, held := jobs.Running(cfg, job); held; _, held = jobs.Running(cfg, job) {
			if err := jobs.Pause(ctx, lookAgain); err != nil {
				return nil, err
			}
		}
		records, err := a.runThem(ctx, cfg, []config.Job{job})
		if err != nil || !slices.ContainsFunc(records, func(r jobs.Record) bool { return r.Locked }) {
			return records, err
		}
		if err := jobs.Pause(ctx, triedAgain); err != nil {
			return records, err
		}
	}
}
