package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/daemon/journal"
	"github.com/btrkeep/btrkeep/internal/logind"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/local"
	"github.com/btrkeep/btrkeep/jobs/remote"
)

// Exit statuses; jobs.ExitStatus gives those of runs.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitNotNow = 75 // EX_TEMPFAIL of sysexits.h
)

// app is what the commands share.
type app struct {
	slots          jobs.Slots // of the runs that this process makes
	stdout, stderr io.Writer
	configPath     string
	json           bool
	verbose        bool
}

// exitError ends the program with a status; its text, if any, has not been printed yet.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}
func (e *exitError) Unwrap() error { return e.err }

// run executes one command line and gives its exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdout: stdout, stderr: stderr}
	root := a.rootCommand(args)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	c, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var exit *exitError
	if !errors.As(err, &exit) { // cobra's own: unknown commands and flags
		exit = &exitError{exitUsage, &jobs.HintError{Err: err, Hint: fmt.Sprintf("`%s --help` tells how it is used", c.CommandPath())}}
	}
	if exit.err != nil {
		a.printError(exit.err)
	}
	return exit.status
}

// rootCommand has the command that args ask for, or all where they ask for help, for a completion, or for nothing that there is: to make them all with their flags takes as long
// as some need to be done.
func (a *app) rootCommand(args []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "btrkeep",
		Short: "scheduled, incremental btrfs backups that are complete",
		Long: `btrkeep keeps btrfs backups: it makes read-only snapshots of subvolumes, brings
them incrementally to other disks, and prunes both by policy. Start the service
with "systemctl enable --now btrkeep" and describe your jobs in
` + config.DefaultPath + `, or make one backup at once with "btrkeep backup".

Exit status: 0 done; 1 a run failed; 2 usage or configuration; 75 not now (a
destination is absent, or the job is running already; nothing was harmed).`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentFlags().StringVarP(&a.configPath, "config", "c", config.DefaultPath, "configuration `FILE`")
	root.PersistentFlags().BoolVarP(&a.verbose, "verbose", "v", false, "say more on standard error")
	all := map[string]func() *cobra.Command{
		"daemon": a.daemonCommand, "run": a.runCommand, "backup": a.backupCommand, "plan": a.planCommand, "status": a.statusCommand, "watch": a.watchCommand, "list": a.listCommand,
		"history": a.historyCommand, "check": a.checkCommand, "prune": a.pruneCommand, "dump": a.dumpCommand, "diff": a.diffCommand,
		"pin": a.pinCommand, "unpin": a.unpinCommand, "pause": a.pauseCommand, "resume": a.resumeCommand, "cancel": a.cancelCommand,
		"find": a.findCommand, "log": a.logCommand, "restore": a.restoreCommand, "verify": a.verifyCommand,
		"init": a.initCommand, "import": a.importCommand, "serve": a.serveCommand, "completion": completionCommand, "version": a.versionCommand,
	}
	add := func(name string) {
		if command, ok := all[name]; ok {
			root.AddCommand(command())
			delete(all, name)
		}
	}
	for _, arg := range args { // one that is the value of a flag does no harm
		add(arg)
	}
	root.InitDefaultHelpFlag() // or its neighbour counts as its value
	if c, _, err := root.Find(args); c == root || err != nil {
		for name := range all {
			add(name)
		}
	}
	return root
}

// printError prints errors and hints as people and scripts expect them. A configuration's mistakes are one each.
func (a *app) printError(err error) {
	var mistakes config.Errors
	if errors.As(err, &mistakes) {
		for _, m := range mistakes {
			plain := *m
			plain.Hint = ""
			fmt.Fprintf(a.stderr, "btrkeep: error: %v\n", &plain)
			a.printHint(m.Hint)
		}
		return
	}
	fmt.Fprintf(a.stderr, "btrkeep: error: %s\n", strings.ReplaceAll(err.Error(), "\n", "\nbtrkeep: error: "))
	a.printHint(jobs.Hint(err))
}

// load reads the configuration, with the jobs that its groups stand for now.
func (a *app) load() (*config.Config, error) {
	cfg, err := a.loadFiles()
	if err != nil {
		return nil, err
	}
	return jobs.Members(cfg), nil
}

// loadFiles reads the configuration as it is written.
func (a *app) loadFiles() (*config.Config, error) {
	cfg, err := config.Load(a.configPath, os.Getenv)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = &jobs.HintError{Err: err, Hint: "write one (a sample is in contrib/systemd/btrkeep.toml), name another with -c, or use `btrkeep backup SOURCE DESTINATION`, which needs none"}
		}
		return nil, &exitError{exitUsage, err}
	}
	return cfg, nil
}

// selected reads the configuration and picks the named jobs of it.
func (a *app) selected(names []string) (*config.Config, []config.Job, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, nil, err
	}
	list, err := pick(cfg, names)
	return cfg, list, err
}

// pick gives the named jobs, those of a group by its name, or all.
func pick(cfg *config.Config, names []string) ([]config.Job, error) {
	if len(names) == 0 {
		return cfg.Jobs, nil
	}
	var picked []config.Job
	for _, name := range names {
		found := namedJobs(cfg, name)
		if len(found) == 0 {
			known := make([]string, len(cfg.Jobs))
			for i, j := range cfg.Jobs {
				known[i] = j.Name
			}
			return nil, &exitError{exitUsage, &jobs.HintError{Err: fmt.Errorf("there is no job %q", name), Hint: "jobs: " + strings.Join(known, ", ")}}
		}
		for _, j := range found {
			if !slices.ContainsFunc(picked, func(p config.Job) bool { return p.Name == j.Name }) {
				picked = append(picked, j)
			}
		}
	}
	return picked, nil
}

func indexJob(cfg *config.Config, name string) int {
	return slices.IndexFunc(cfg.Jobs, func(j config.Job) bool { return j.Name == name })
}

// namedJobs is the job of a name, or the members of a group, or a member whose subvolume is gone: its backups can still be listed and restored.
func namedJobs(cfg *config.Config, name string) []config.Job {
	found := slices.DeleteFunc(slices.Clone(cfg.Jobs), func(j config.Job) bool { return j.Name != name && j.Group != name })
	if len(found) == 0 {
		if gone, ok := jobs.GoneMember(cfg, name); ok {
			found = append(found, gone)
		}
	}
	return found
}

// runner makes what executes jobs of cfg.
func (a *app) runner(cfg *config.Config, log *slog.Logger, slots *jobs.Slots, progress func(jobs.Progress)) *jobs.Runner {
	places := a.places(cfg)
	return &jobs.Runner{Config: cfg, Log: log, Slots: slots, Progress: progress, Open: places.open, At: places.at, Origin: places.remote.Origin, KeepAwake: logind.KeepAwake}
}

// places opens the destinations of cfg.
func (a *app) places(cfg *config.Config) places {
	var receiver local.Receiver = local.Progs{}
	if cfg.Receiver == config.ReceiverNative {
		receiver = local.Native{Checkpoint: cfg.Checkpoint}
	}
	return places{
		local:  local.Opener{Zone: cfg.Timezone, Receiver: receiver},
		remote: a.remote(cfg),
	}
}

// remote opens what is on other machines. BTRKEEP_SSH is the ssh program and its first arguments.
func (a *app) remote(cfg *config.Config) remote.Opener {
	return remote.Opener{SSH: strings.Fields(os.Getenv("BTRKEEP_SSH")), Version: version(), Zone: cfg.Timezone, Checkpoint: cfg.Checkpoint}
}

// logger logs for a person or the journal; times says whether lines of text carry the time.
func (a *app) logger(level slog.Level, times bool) *slog.Logger {
	if a.verbose {
		level = slog.LevelDebug
	}
	if f, ok := a.stderr.(*os.File); ok {
		return slog.New(journal.New(f, level, times))
	}
	return slog.New(journal.NewText(a.stderr, level, times))
}

// quiet logs only what needs somebody: for commands whose result is on stdout.
func (a *app) quiet() *slog.Logger { return a.logger(slog.LevelWarn, false) }

func (a *app) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "version", Short: "print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := version()
			if a.json {
				return a.printJSON(map[string]string{"version": v})
			}
			fmt.Fprintln(a.stdout, "btrkeep", v)
			return nil
		},
	}
	a.jsonFlag(c)
	return c
}

// release is the version that tools/build.sh gives to the linker.
var release string

// version is that of the release or package, else that of the module, or of the commit it was built from.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}

func completionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "print a completion script for a shell",
		Args: cobra.ExactArgs(1), ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(c *cobra.Command, args []string) error {
			out := c.OutOrStdout()
			switch args[0] {
			case "bash":
				return c.Root().GenBashCompletionV2(out, true)
			case "zsh":
				return c.Root().GenZshCompletion(out)
			case "fish":
				return c.Root().GenFishCompletion(out, true)
			}
			return &exitError{exitUsage, fmt.Errorf("no completion for %q: bash, zsh or fish", args[0])}
		},
	}
}
