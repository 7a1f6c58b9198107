package main

import (
	"context"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/local"
	"github.com/btrkeep/btrkeep/jobs/remote"
)

// places opens destinations of every kind.
type places struct {
	local  local.Opener
	remote remote.Opener
}

func (p places) open(ctx context.Context, job config.Job, d config.Destination, owner jobs.Owner, last jobs.Identity) (jobs.Destination, error) {
	if d.Local() {
		return p.local.Open(ctx, job, d, owner, last)
	}
	return p.remote.Open(ctx, job, d, owner, last)
}

func (p places) at(ctx context.Context, job config.Job, d config.Destination) (jobs.Destination, error) {
	if d.Local() {
		return p.local.At(ctx, job, d)
	}
	return p.remote.At(ctx, job, d)
}
