package main

import (
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/migrate"
)

func (a *app) initCommand() *cobra.Command {
	var o output
	c := &cobra.Command{
		Use: "init", Short: "write a configuration for what this machine has",
		Long: `Looks at the btrfs file systems that are mounted, their subvolumes, and the
configurations of btrbk, snapper and timeshift, and writes a commented
configuration: a job for each subvolume, to the disk that looks like one for
backups. Nothing is changed, and a file that holds more than comments is left as
it is.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			err := a.imported(o, func(m migrate.Machine) (*migrate.Config, error) {
				made, err := migrate.Init(m)
				switch {
				case errors.Is(err, migrate.ErrNoBtrfs):
					err = &jobs.HintError{Err: err, Hint: "mount the disks that are to be backed up; btrkeep backs up btrfs subvolumes only"}
				case errors.Is(err, fs.ErrPermission):
					err = &jobs.HintError{Err: err, Hint: "run it as root, as only that may list subvolumes"}
				}
				return made, err
			})
			if err == nil && o.path == "" && !a.json {
				a.printHint("to use it: btrkeep init -o " + config.DefaultPath)
			}
			return err
		},
	}
	a.outputFlags(c, &o, false)
	return c
}
