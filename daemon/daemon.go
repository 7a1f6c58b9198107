// Package daemon is the long-running btrkeep: it starts the runs, verifies and drills that are due, tells systemd how it fares, and serves the control socket.
//
// Whether one is due follows from when the last was, which is in the state of the job, and from the wall clock: a run is missed if the schedule had a time
// between the two. So it does not matter whether the machine was off, asleep, or had its clock set in between.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// Runner executes one run. The context ends when the daemon stops: Run must then return within seconds, with nothing left that needs a hand.
// It keeps two runs of one job apart, also those of other processes, and writes state and history. [jobs.Runner] is one.
type Runner interface {
	Run(ctx context.Context, job config.Job, o jobs.Options) jobs.Record

	// RunGroup executes runs of members of one group, whose snapshots are made together: see [jobs.Runner.RunGroup].
	RunGroup(ctx context.Context, members []config.Job, o jobs.Options, each func(job config.Job, run func() jobs.Record))
}

var _ Runner = (*jobs.Runner)(nil)

// Daemon is the long-running process. Set its fields, then Run it once. It must not be copied.
type Daemon struct {
	ConfigPath string                          // for status
	Version    string                          // for status
	Load       func() (*config.Config, error)  // reads the configuration, at the start and for every reload
	Runner     func(cfg *config.Config) Runner // the runner for a configuration; runs under way keep theirs
	Tasks      map[config.Task]Task            // what does the verifies and drills; schedules of a kind that is not there are not followed
	Log        *slog.Logger
	Clock      func() jobs.Clock // nil: jobs.Now
	Observers  []Observer
	OnBattery  func() bool // whether the machine runs on battery; nil: never

	progress hub
}

// lockName is the file in the runtime directory that keeps a second daemon away. No job's lock has such a name.
const lockName = ".daemon.lock"

// shutdownPatience is how long clients of the control socket have to read the last lines.
const shutdownPatience = time.Second

// errStopping is why runs are cancelled when the daemon ends.
var errStopping = errors.New("the daemon is stopping")

// Progress takes what a run is doing: give it to the runners.
func (d *Daemon) Progress(p jobs.Progress) { d.progress.post(p) }

// Run works until ctx ends, then cancels the runs under way and waits a few seconds for them. SIGHUP reloads the configuration.
//
// It returns an error only if it cannot start: the configuration's (config.Errors), a *jobs.HeldError in the chain if another daemon is running, or that
// of the control socket.
func (d *Daemon) Run(ctx context.Context) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)

	cfg, err := d.Load()
	if err != nil {
		return err
	}
	unlock, err := lock(cfg.RuntimeDir)
	if err != nil {
		return err
	}
	defer unlock()
	listener, err := listen(ctx, cfg.RuntimeDir)
	if err != nil {
		return err
	}
	l := d.newLoop(hup)
	server := &http.Server{Handler: l.routes(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(d.Log.Handler(), slog.LevelDebug)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	d.Log.Info(fmt.Sprintf("started with %d jobs", len(cfg.Jobs)), "version", d.Version, jobs.KeyEvent, EventStarted)
	l.run(ctx, cfg)

	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownPatience)
	defer cancel()
	l.observe(func(o Observer) { o.Close(last) })
	if server.Shutdown(last) != nil {
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		d.Log.Error("the control socket failed", jobs.KeyError, err)
	}
	d.Log.Info("stopped", jobs.KeyEvent, EventStopped)
	return nil
}

// runningError says that another daemon has the runtime directory.
type runningError struct{ held *jobs.HeldError }

func (e *runningError) Error() string {
	if e.held.Holder.PID == 0 {
		return "another daemon is running; it holds " + e.held.Path
	}
	return fmt.Sprintf("another daemon is running: process %d, since %s; it holds %s",
		e.held.Holder.PID, e.held.Holder.Since.Local().Format(time.DateTime), e.held.Path)
}

func (e *runningError) Unwrap() error { return e.held }

// lock makes this the only daemon of a runtime directory.
func lock(runtimeDir string) (unlock func(), err error) {
	if err := os.MkdirAll(runtimeDir, 0o700); err != nil {
		return nil, fmt.Errorf("runtime directory: %w", err)
	}
	unlock, err = jobs.Lock(filepath.Join(runtimeDir, lockName), jobs.Holder{PID: os.Getpid(), Since: time.Now()})
	if held, ok := errors.AsType[*jobs.HeldError](err); ok {
		return nil, &runningError{held}
	}
	return unlock, err
}

func (d *Daemon) now() jobs.Clock {
	if d.Clock == nil {
		return jobs.Now()
	}
	return d.Clock()
}
