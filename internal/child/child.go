// Package child runs other programs, all in one way: an argument vector and never a shell, messages in English, a process group of its own
// that is ended as a whole, the end of what it said in the error.
package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	grace    = 5 * time.Second // between SIGTERM and SIGKILL
	tailSize = 32 << 10        // of stderr kept for the error
)

// Command is one program to run.
type Command struct {
	Argv       []string
	Env        []string  // added to ours
	Stdin      *os.File  // nil: /dev/null
	Stdout     io.Writer // nil: kept with stderr
	IOPriority int       // ioprio_set(2) value; 0 = ours
}

// Error is a program that did not end well.
type Error struct {
	Name   string
	Err    error  // what wait said, or the cause of the context's end
	Stderr string // its last words, at most 32 KiB
}

func (e *Error) Error() string {
	if e.Stderr == "" {
		return fmt.Sprintf("%s: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("%s: %v: %s", e.Name, e.Err, e.Stderr)
}

func (e *Error) Unwrap() error { return e.Err }

// Run starts the program and waits for it. If ctx ends first, the group gets SIGTERM and, five seconds later, SIGKILL. The program is killed
// too if this process dies. Errors are *Error, or those of exec for a program that could not be started.
func (c Command) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		// The death signal is sent when the thread that forked ends, not the process: the thread must live as long as the child. And a thread whose priority
		// was changed is not given back: it ends with the goroutine.
		runtime.LockOSThread()
		if c.IOPriority == 0 {
			defer runtime.UnlockOSThread()
		} else if _, _, e := unix.Syscall(unix.SYS_IOPRIO_SET, 1 /* IOPRIO_WHO_PROCESS */, 0, uintptr(c.IOPriority)); e != 0 {
			done <- fmt.Errorf("set the I/O priority of %s: %w", c.Argv[0], e)
			return
		}
		done <- c.run(ctx)
	}()
	return <-done
}

func (c Command) run(ctx context.Context) error {
	last := &tail{}
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(environment(os.Environ()), append([]string{"LC_ALL=C"}, c.Env...)...)
	if c.Stdin != nil {
		cmd.Stdin = c.Stdin
	}
	cmd.Stderr, cmd.Stdout = last, last
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }
	cmd.WaitDelay = grace
	err := cmd.Run()
	if cmd.Process != nil {
		// What the program itself left running in its group.
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &Error{Name: filepath.Base(c.Argv[0]), Err: context.Cause(ctx), Stderr: last.String()}
	case errors.As(err, &exit), errors.Is(err, exec.ErrWaitDelay):
		return &Error{Name: filepath.Base(c.Argv[0]), Err: err, Stderr: last.String()}
	}
	return err
}

// environment drops what systemd tells this process alone.
func environment(env []string) []string {
	var kept []string
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		if name == "NOTIFY_SOCKET" || name == "LC_ALL" || strings.HasPrefix(name, "WATCHDOG_") || strings.HasPrefix(name, "LISTEN_") {
			continue
		}
		kept = append(kept, v)
	}
	return kept
}

// tail keeps the last bytes written to it.
type tail struct{ buf []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.buf)) }
