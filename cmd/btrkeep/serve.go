package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/remote/api"
	"github.com/btrkeep/btrkeep/jobs/remote/serve"
	"github.com/btrkeep/btrkeep/jobs/remote/wire"
)

// serveFlags are what a key is bound to.
type serveFlags struct {
	roots, sources    []string
	requireMount      string
	addOnly, readOnly bool
	trust             bool
	stall             time.Duration
}

func (a *app) serveCommand() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve --root DIRECTORY [--append-only|--read-only] | --source SUBVOLUME | --trust-client",
		Short: "the far end of a backup over ssh",
		Long: `Speaks with the btrkeep of another machine over stdin and stdout. It is meant to be what a key is bound to, in authorized_keys:

  restrict,command="btrkeep serve --root /srv/backup/alice --append-only" ssh-ed25519 AAAA... alice

It is confined to what the flags name, and takes nothing from the command that the client asked for. "btrkeep check --authorized-key" prints such a line.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.serve(c, f) },
	}
	flags := c.Flags()
	flags.StringArrayVar(&f.roots, "root", nil, "let it keep backups below this directory; may be given again")
	flags.StringArrayVar(&f.sources, "source", nil, "let it snapshot this subvolume and fetch it; may be given again")
	flags.StringVar(&f.requireMount, "require-mount", "", "the disk is absent unless something is mounted here")
	flags.BoolVar(&f.addOnly, "append-only", false, "backups may be added and listed, not deleted, replaced or read")
	flags.BoolVar(&f.readOnly, "read-only", false, "backups may be listed and read, to restore them")
	flags.BoolVar(&f.trust, "trust-client", false, "everything: for a login that has a shell as root anyway")
	flags.DurationVar(&f.stall, "stall-timeout", 10*time.Minute, "a line over which nothing comes for so long is given up")
	c.MarkFlagsMutuallyExclusive("append-only", "read-only")
	c.MarkFlagsMutuallyExclusive("trust-client", "root")
	c.MarkFlagsMutuallyExclusive("trust-client", "source")
	c.MarkFlagsOneRequired("trust-client", "root", "source")
	return c
}

func (a *app) serve(c *cobra.Command, f serveFlags) error {
	if f.requireMount != "" {
		if ok, err := btrfs.IsMountPoint(f.requireMount); err != nil || !ok { // said to the client: for it that is no error
			return wire.Serve(c.Context(), os.Stdin, os.Stdout, serve.Absent(f.requireMount), wire.ServerOptions{Stall: f.stall, Version: version()})
		}
	}
	o := serve.Options{RequireMount: f.requireMount, Version: version(), Trusted: f.trust, RuntimeDir: cmp.Or(os.Getenv("BTRKEEP_RUNTIME_DIR"), config.DefaultRuntimeDir)}
	for _, path := range f.roots {
		real, err := filepath.EvalSymlinks(path)
		if err != nil || !filepath.IsAbs(path) {
			return &exitError{exitUsage, &jobs.HintError{Err: fmt.Errorf("--root %s: not an absolute path of a directory", path), Hint: "make it first: mkdir -p -m 0700 " + path}}
		}
		if real != filepath.Clean(path) {
			return &exitError{exitUsage, &jobs.HintError{Err: fmt.Errorf("--root %s leads through a symbolic link", path), Hint: "name the directory itself, here and in the client's url: " + real}}
		}
		o.Roots = append(o.Roots, real)
	}
	for _, path := range f.sources {
		if !filepath.IsAbs(path) {
			return &exitError{exitUsage, fmt.Errorf("--source %s: not an absolute path", path)}
		}
		o.Sources = append(o.Sources, filepath.Clean(path))
	}
	o.Can = f.role()
	if !f.trust {
		if err := serve.Confine(o); err != nil {
			return err
		}
	}
	return wire.Serve(c.Context(), os.Stdin, os.Stdout, serve.New(o).Handler(), wire.ServerOptions{Stall: f.stall, Version: version()})
}

func (f serveFlags) role() api.Role {
	if f.trust {
		return api.Role{Add: true, Delete: true, Read: true, Source: true}
	}
	r := api.Role{Source: len(f.sources) > 0}
	if len(f.roots) > 0 {
		r.Add, r.Delete, r.Read = !f.readOnly, !f.addOnly && !f.readOnly, !f.addOnly
	}
	return r
}
