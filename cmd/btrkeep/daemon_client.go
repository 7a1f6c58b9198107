package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/daemon"
)

// daemonOf is the daemon that runs with a configuration, and what it says of itself; daemon.ErrNotRunning if there is none, or one of another configuration.
func daemonOf(ctx context.Context, cfg *config.Config) (*daemon.Client, daemon.Status, error) {
	client, err := daemon.Dial(cfg.RuntimeDir)
	if err != nil {
		return nil, daemon.Status{}, err
	}
	status, err := client.Status(ctx)
	if err != nil {
		return nil, daemon.Status{}, err
	}
	if len(cfg.Files) > 0 {
		if path, err := filepath.Abs(cfg.Files[0]); err == nil && path == status.Config {
			return client, status, nil
		}
	}
	return nil, daemon.Status{}, fmt.Errorf("%w with this configuration: the one that runs has %s", daemon.ErrNotRunning, status.Config)
}
