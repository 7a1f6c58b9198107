package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

func (a *app) watchCommand() *cobra.Command {
	return &cobra.Command{
		Use: "watch [JOB…]", Short: "status, live, with keys to start, pause and cancel jobs",
		Long: `The table of status, live, with the progress of running transfers. Keys:

  up, down, k, j  choose a job
  s               start a run of it, through the daemon
  p               pause it, or resume it
  c               cancel its run (asks first); the next run goes on where it was
  q, Ctrl-C       quit; nothing that runs is ended by that

Exit status: 0 done; 2 usage or configuration, or this is no terminal.`,
		RunE: func(c *cobra.Command, args []string) error {
			cfg, list, err := a.selected(args)
			if err != nil {
				return err
			}
			in, isFile := c.InOrStdin().(*os.File)
			out, _ := a.stdout.(*os.File)
			if !isFile || !term.IsTerminal(int(in.Fd())) || !isTerminal(a.stdout) {
				return &exitError{exitUsage, &jobs.HintError{Err: errors.New("watch needs a terminal"), Hint: "`btrkeep status` prints the table once"}}
			}
			if err := a.watch(c.Context(), cfg, list, in, out); err != nil {
				return &exitError{exitFailed, err}
			}
			return nil
		},
	}
}

const (
	askEvery  = time.Second // the daemon
	lookEvery = time.Minute // at the disks; also when a run has ended
)

// Sequences of console_codes(4) and xterm: the other screen, without a cursor.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
)

// watch draws until the user has enough, or a signal comes. Whatever ends it, the terminal is left as it was.
func (a *app) watch(ctx context.Context, cfg *config.Config, list []config.Job, in, out *os.File) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	defer func() {
		_, _ = io.WriteString(out, leaveScreen)
		_ = term.Restore(int(in.Fd()), before)
	}()
	if _, err := io.WriteString(out, enterScreen); err != nil {
		return err
	}
	w := &watcher{app: a, cfg: cfg, list: list, events: make(chan func())}
	w.background(ctx, func() { w.readKeys(ctx, in) })
	w.background(ctx, func() { w.askAlways(ctx) })
	w.background(ctx, func() { w.look(ctx) })
	size := make(chan os.Signal, 1)
	signal.Notify(size, syscall.SIGWINCH)
	defer signal.Stop(size)
	for !w.done {
		width, height, err := term.GetSize(int(out.Fd()))
		if err != nil || width <= 0 || height <= 0 {
			width, height = plainWidth, 24
		}
		s := a.screen()
		s.width = width
		if _, err := io.WriteString(out, frame(w.lines(s, height, time.Now()))); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-size:
		case f := <-w.events:
			f()
		}
	}
	return nil
}

// background does something beside the drawing. A panic there becomes one of the drawing, which restores the terminal first.
func (w *watcher) background(ctx context.Context, do func()) {
	go func() {
		defer func() {
			if v := recover(); v != nil {
				text := fmt.Sprintf("%v\n%s", v, debug.Stack())
				w.tell(ctx, func() { panic(text) })
			}
		}()
		do()
	}()
}

// tell has the drawing goroutine, which owns the watcher, do something.
func (w *watcher) tell(ctx context.Context, f func()) {
	select {
	case w.events <- f:
	case <-ctx.Done():
	}
}

// readKeys hands on what is typed: a key may be several bytes, which come at once.
func (w *watcher) readKeys(ctx context.Context, in io.Reader) {
	b := make([]byte, 64)
	for {
		n, err := in.Read(b)
		if err != nil {
			w.tell(ctx, func() { w.done = true })
			return
		}
		for _, k := range keysOf(b[:n]) {
			w.tell(ctx, func() { w.press(ctx, k) })
		}
	}
}

// askAlways asks the daemon again and again.
func (w *watcher) askAlways(ctx context.Context) {
	for {
		_, status, err := daemonOf(ctx, w.cfg)
		w.tell(ctx, func() { w.hear(ctx, status, err, time.Now()) })
		if jobs.Pause(ctx, askEvery) != nil {
			return
		}
	}
}

// look looks at the disks. One look at a time: with a machine that does not answer it may take long.
func (w *watcher) look(ctx context.Context) {
	r := w.app.looker(w.cfg)
	r.Log = slog.New(slog.DiscardHandler) // the screen is taken
	now := time.Now()
	all := jobs.Each(ctx, w.list, func(ctx context.Context, job config.Job) jobs.Status { return r.Status(ctx, job, now) })
	w.tell(ctx, func() { w.all, w.looked, w.looking = all, now, false })
}
