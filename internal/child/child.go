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
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/btrkeep/btrkeep/internal/osthread"
)

const (
	stderrBytes = 32 << 10        // kept for the error
	killDelay   = 5 * time.Second // between SIGTERM and SIGKILL
)

// Command is one program to run. The end of its context ends it with all that it has started: SIGTERM to its process group, SIGKILL five seconds
// later. It does not outlive this process either.
type Command struct {
	Argv       []string     // a name without a slash is looked for in $PATH and where distributions put programs for root
	Env        []string     // added to ours
	Stdin      *os.File     // nil: /dev/null
	Stdout     io.Writer    // nil: kept with standard error
	IOPriority int          // ioprio_set(2) value; 0 = ours
	Prepare    func() error // runs on the thread that will fork, which nothing else uses afterwards; nil: nothing to prepare
}

// Error is how a program ended badly, with what it said.
type Error struct {
	Program string
	Err     error
	Stderr  string // its last words, at most 32 KiB
}

func (e *Error) Error() string {
	if e.Stderr == "" {
		return fmt.Sprintf("%s: %v", e.Program, e.Err)
	}
	return fmt.Sprintf("%s: %v: %s", e.Program, e.Err, e.Stderr)
}

func (e *Error) Unwrap() error { return e.Err }

// Run starts the program and waits for it. Errors are *Error for a program that ended badly (or that ctx ended), or wrap exec.ErrNotFound for one
// that is not installed.
func (c Command) Run(ctx context.Context) error { return c.Start(ctx, func() {})() }

// Start begins the run; started is called once the child has its files or could not be started, wait gives its end.
func (c Command) Start(ctx context.Context, started func()) (wait func() error) {
	result := make(chan error, 1)
	// The death signal is sent when the thread that forked ends, so that one has to stay as long as the child.
	osthread.Run(func() (changed bool) {
		changed = osthread.SetIOPriority(c.IOPriority)
		if c.Prepare != nil {
			changed = true
			if err := c.Prepare(); err != nil {
				started()
				result <- err
				return changed
			}
		}
		result <- c.run(ctx, started)
		return changed
	})
	return func() error { return <-result }
}

func (c Command) run(ctx context.Context, started func()) error {
	program, err := find(c.Argv[0])
	if err != nil {
		started()
		return err
	}
	var said tail
	cmd := exec.CommandContext(ctx, program, c.Argv[1:]...)
	cmd.Args[0] = c.Argv[0]
	cmd.Env = append(environ(os.Environ()), c.Env...)
	if c.Stdin != nil {
		cmd.Stdin = c.Stdin
	}
	cmd.Stderr, cmd.Stdout = &said, &said
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var kill *time.Timer
	cmd.Cancel = func() error {
		group := -cmd.Process.Pid
		kill = time.AfterFunc(killDelay, func() { _ = syscall.Kill(group, syscall.SIGKILL) })
		if err := syscall.Kill(group, syscall.SIGTERM); !errors.Is(err, syscall.ESRCH) {
			return err
		}
		return os.ErrProcessDone
	}
	cmd.WaitDelay = killDelay + time.Second
	err = cmd.Start()
	started()
	if err == nil {
		err = cmd.Wait()
		if kill != nil {
			kill.Stop()
		}
		if errors.Is(err, exec.ErrWaitDelay) { // what it had started lives on and holds its standard error
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return &Error{Program: strings.Join(append([]string{filepath.Base(c.Argv[0])}, c.Argv[1:min(2, len(c.Argv))]...), " "), Err: err, Stderr: said.String()}
}

// find looks also where distributions put programs for root, which cron, for one, leaves out of $PATH.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	if strings.Contains(name, "/") {
		return "", err
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(dir + "/" + name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("the %s program is not installed: %w", name, exec.ErrNotFound)
}

// environ takes away what systemd meant for this process alone, and translated messages.
func environ(all []string) []string {
	all = slices.DeleteFunc(slices.Clone(all), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return name == "NOTIFY_SOCKET" || strings.HasPrefix(name, "WATCHDOG_") || strings.HasPrefix(name, "LISTEN_") ||
			name == "LANGUAGE" || name == "LC_ALL"
	})
	return append(all, "LC_ALL=C")
}

// A tail keeps the last stderrBytes of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - stderrBytes; over > 0 {
		t.buf = slices.Delete(t.buf, 0, over)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf))
}
