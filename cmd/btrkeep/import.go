package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/atomicfile"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/migrate"
)

// output is where a configuration that was made goes: a file, or standard output.
type output struct {
	path  string
	force bool
	hint  string // what to do where the file exists
}

func (a *app) importCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "import", Short: "take over from btrbk, snapper or the btrfs-backup script",
		Long: `Translates another tool's configuration into one for btrkeep, so that its
snapshots and backups are gone on with: the first run is incremental. What cannot
be translated is named on standard error, and in comments. Nothing on a disk is
changed, and what the other tool has made is never deleted by btrkeep.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.importBtrbk(), a.importSnapper(), a.importScript())
	return c
}

func (a *app) importBtrbk() *cobra.Command {
	var o output
	c := &cobra.Command{
		Use: "btrbk FILE", Short: "translate a btrbk.conf", Args: cobra.ExactArgs(1),
		Long: `Translates a btrbk.conf, as btrbk.conf(5) of btrbk 0.32 tells of it. A directory
that one subvolume has for itself is gone on with; of those that several share
each job gets one of its own below, and btrbk's backups in them are parents all
the same.`,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.imported(o, func(m migrate.Machine) (*migrate.Config, error) {
				text, err := os.ReadFile(args[0])
				if err != nil {
					return nil, err
				}
				made := migrate.Btrbk(args[0], string(text), m)
				if len(made.Jobs) == 0 {
					return nil, &jobs.HintError{Err: fmt.Errorf("%s has no section subvolume", args[0]), Hint: "is it a btrbk.conf? It is read as btrbk.conf(5) of btrbk 0.32 tells"}
				}
				return made, nil
			})
		},
	}
	a.outputFlags(c, &o, true)
	return c
}

func (a *app) importSnapper() *cobra.Command {
	var o output
	var destination string
	c := &cobra.Command{
		Use: "snapper [CONFIG…]", Short: "translate configurations of snapper",
		Long: `Translates configurations of snapper, given as files or by the names that they
have in ` + migrate.SnapperDir + `; without any, all that are there.`,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.imported(o, func(m migrate.Machine) (*migrate.Config, error) {
				files, err := snapperFiles(args)
				if err != nil {
					return nil, err
				}
				return migrate.Snapper(files, destination, m), nil
			})
		},
	}
	c.Flags().StringVar(&destination, "destination", "", "a `DIRECTORY`, or ssh://HOST/DIRECTORY, for the backups; each job has one of its own below")
	a.outputFlags(c, &o, true)
	return c
}

func snapperFiles(args []string) (files []migrate.File, err error) {
	if len(args) == 0 {
		if args, err = filepath.Glob(path.Join(migrate.SnapperDir, "*")); err != nil || len(args) == 0 {
			return nil, fmt.Errorf("there is no configuration of snapper in %s", migrate.SnapperDir)
		}
	}
	for _, name := range args {
		if filepath.Base(name) == name {
			name = path.Join(migrate.SnapperDir, name)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		files = append(files, migrate.File{Name: name, Text: string(text)})
	}
	return files, nil
}

func (a *app) importScript() *cobra.Command {
	var o output
	var latestOnly bool
	c := &cobra.Command{
		Use: "btrfs-backup SOURCE DESTINATION | CRONTAB-LINE", Short: "translate a call of the script btrfs-backup.py",
		Long: `Translates a call of the script btrfs-backup.py, given by its SOURCE and
DESTINATION, or as the line of the crontab that starts it, in quotes.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.imported(o, func(m migrate.Machine) (*migrate.Config, error) { return migrate.Script(args, latestOnly, m) })
		},
	}
	c.Flags().BoolVar(&latestOnly, "latest-only", false, "the script is called with --latest-only")
	a.outputFlags(c, &o, true)
	return c
}

func (a *app) outputFlags(c *cobra.Command, o *output, force bool) {
	c.Flags().StringVarP(&o.path, "output", "o", "", "write `FILE` instead of standard output; one that holds more than comments is left as it is")
	o.hint = "write to another file and compare"
	if force {
		o.hint += ", or overwrite it with --force"
		c.Flags().BoolVar(&o.force, "force", false, "overwrite the file whatever it holds")
	}
	a.jsonFlag(c)
}

// imported makes a configuration, writes it, and says what to know of it.
func (a *app) imported(o output, from func(migrate.Machine) (*migrate.Config, error)) error {
	if err := o.free(); err != nil {
		return &exitError{exitUsage, err}
	}
	m, err := migrate.Here()
	if err != nil {
		return &exitError{exitFailed, err}
	}
	made, err := from(m)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	return a.write(o, made)
}

// write writes a configuration. One with mistakes goes to standard output only, as the daemon could not start with it.
func (a *app) write(o output, made *migrate.Config) error {
	text := made.Text()
	_, mistakes := config.Parse("the configuration", text, os.Getenv)
	if mistakes != nil && o.path != "" {
		fmt.Fprintf(a.stderr, "btrkeep: warning: %s is not written, as the configuration has mistakes\n", o.path)
		o.path = ""
	}
	if err := o.write(text); err != nil {
		return &exitError{exitFailed, err}
	}
	notes := made.Notes
	if notes == nil {
		notes = []migrate.Note{}
	}
	if a.json {
		if err := a.printJSON(map[string]any{"config": text, "file": o.path, "notes": notes}); err != nil {
			return err
		}
	} else if o.path == "" {
		fmt.Fprint(a.stdout, text)
	}
	for _, n := range notes {
		fmt.Fprintf(a.stderr, "btrkeep: warning: %s\n", n)
	}
	if mistakes != nil {
		return &exitError{exitUsage, mistakes}
	}
	if o.path != "" {
		a.printHint("look through it, then: btrkeep check -c " + o.path)
	}
	return nil
}

// free makes sure that no file is overwritten by mistake, before anything is done. One without an active line says nothing, such as that of the package.
func (o output) free() error {
	if o.path == "" || o.force {
		return nil
	}
	info, err := os.Lstat(o.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return o.taken()
	}
	text, err := os.ReadFile(o.path)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return o.taken()
		}
	}
	return nil
}

func (o output) taken() error {
	return &jobs.HintError{Err: fmt.Errorf("%s exists: it is left as it is", o.path), Hint: o.hint}
}

// write makes the file at once or not at all, for its owner alone: it may come to hold secrets.
func (o output) write(text string) error {
	if o.path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(o.path), 0o755); err != nil {
		return err
	}
	if err := o.free(); err != nil { // it may have come meanwhile
		return err
	}
	return atomicfile.Write(o.path, []byte(text))
}
