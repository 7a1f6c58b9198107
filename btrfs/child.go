package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	stderrBytes = 32 << 10
	killDelay   = 5 * time.Second // between SIGTERM and SIGKILL
)

// A child is one run of a program. The end of its context ends it with all that it has started: SIGTERM to its process
// group, SIGKILL after killDelay. It does not outlive this process either.
type child struct {
	argv       []string
	stdin      *os.File // nil: /dev/null
	stdout     *strings.Builder
	ioPriority int
	prepare    func() error // runs on the thread that will fork, which nothing else uses afterwards; nil: nothing to prepare
}

// A childError is how a program ended badly, with what it said.
type childError struct {
	program string
	err     error
	stderr  string
}

func (e *childError) Error() string {
	said := strings.TrimSpace(e.stderr)
	if said == "" {
		return fmt.Sprintf("%s: %v", e.program, e.err)
	}
	return fmt.Sprintf("%s: %v: %s", e.program, e.err, said)
}

func (e *childError) Unwrap() error { return e.err }

// start begins the run; started is called once the child has its files, wait gives its end.
func (c child) start(ctx context.Context, started func()) (wait func() error) {
	result := make(chan error, 1)
	// Pdeathsig is sent when the thread that forked ends, so that one has to stay as long as the child.
	onThread(func() (changed bool) {
		changed = setIOPriority(c.ioPriority)
		if c.prepare != nil {
			changed = true
			if err := c.prepare(); err != nil {
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

func (c child) run(ctx context.Context, started func()) error {
	program, err := findProgram(c.argv[0])
	if err != nil {
		started()
		return err
	}
	var said tail
	cmd := exec.CommandContext(ctx, program, c.argv[1:]...)
	cmd.Args[0] = c.argv[0]
	cmd.Env = childEnviron(os.Environ())
	if c.stdin != nil {
		cmd.Stdin = c.stdin
	}
	if c.stdout != nil {
		cmd.Stdout = c.stdout
	}
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var kill *time.Timer
	cmd.Cancel = func() error {
		group := -cmd.Process.Pid
		kill = time.AfterFunc(killDelay, func() { syscall.Kill(group, syscall.SIGKILL) })
		return syscall.Kill(group, syscall.SIGTERM)
	}
	cmd.WaitDelay = killDelay + time.Second
	err = cmd.Start()
	started()
	if err == nil {
		err = cmd.Wait()
		if kill != nil {
			kill.Stop()
		}
		if errors.Is(err, exec.ErrWaitDelay) { // what it had started lives on and holds stderr
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return &childError{program: strings.Join(c.argv[:min(2, len(c.argv))], " "), err: err, stderr: said.String()}
}

// findProgram looks also where distributions put programs for root, which cron, for one, leaves out of $PATH.
func findProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(dir + "/" + name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("the %s program is not installed: %w", name, exec.ErrNotFound)
}

// childEnviron takes away what systemd meant for this process alone, and translated messages.
func childEnviron(environ []string) []string {
	environ = slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return name == "NOTIFY_SOCKET" || strings.HasPrefix(name, "WATCHDOG_") || strings.HasPrefix(name, "LISTEN_") ||
			name == "LANGUAGE" || name == "LC_ALL"
	})
	return append(environ, "LC_ALL=C")
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
	return string(t.buf)
}
