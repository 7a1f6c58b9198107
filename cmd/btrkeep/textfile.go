package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/daemon"
	"github.com/btrkeep/btrkeep/daemon/metrics"
	"github.com/btrkeep/btrkeep/jobs"
)

// writeTextfile has the node exporter know of what was done here. A daemon of this configuration does so by itself.
func (a *app) writeTextfile(ctx context.Context, cfg *config.Config) {
	if cfg.Textfile == "" || !withoutDaemon(ctx, cfg) {
		return
	}
	if err := metrics.WriteTextfile(cfg, version(), time.Now); err != nil { // no run is the worse for it
		fmt.Fprintf(a.stderr, "btrkeep: warning: %v\n", err)
		a.printHint(jobs.Hint(err))
	}
}

// withoutDaemon reports whether no daemon runs with this configuration. If it cannot be asked, one may.
func withoutDaemon(ctx context.Context, cfg *config.Config) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second) // also after a run that was stopped
	defer cancel()
	_, _, err := daemonOf(ctx, cfg)
	return errors.Is(err, daemon.ErrNotRunning)
}

// textfileFindings say what keeps the textfile from being written.
func textfileFindings(cfg *config.Config) []jobs.Finding {
	if cfg.Textfile == "" {
		return nil
	}
	dir := filepath.Dir(cfg.Textfile)
	st, err := os.Stat(dir)
	switch {
	case err != nil:
		return []jobs.Finding{{Level: jobs.LevelError, Text: fmt.Sprintf("textfile: %v", err), Hint: "make the directory that the node exporter reads (its --collector.textfile.directory), or name another"}}
	case !st.IsDir():
		return []jobs.Finding{{Level: jobs.LevelError, Text: fmt.Sprintf("textfile: %s is not a directory", dir), Hint: "name a file in the directory that the node exporter reads"}}
	}
	return nil
}
