package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what is bound to happen, on a machine that is busy.
const patience = 60 * time.Second

// result is how a command ended.
type result struct {
	stdout, stderr string
	status         int            // -1 if it was killed
	killed         syscall.Signal // by which signal, or 0
	took           time.Duration
	pid            int
}

func (r result) String() string {
	return fmt.Sprintf("exit status %d (signal %d) after %s\nstdout:\n%s\nstderr:\n%s", r.status, r.killed, r.took, r.stdout, r.stderr)
}

// process is a running btrkeep.
type process struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr output
	started        time.Time
	done           chan struct{}
	ended          time.Time // once done is closed
}

// output can be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// btrkeep runs a command with the machine's configuration to its end.
func (m *machine) btrkeep(args ...string) result {
	m.t.Helper()
	return m.start(args...).wait(patience)
}

// start starts a command with the machine's configuration.
func (m *machine) start(args ...string) *process {
	m.t.Helper()
	return m.startWith(m.config, args...)
}

// startWith starts a command with a configuration; what needs none gets the machine's directories from the environment.
func (m *machine) startWith(config string, args ...string) *process {
	m.t.Helper()
	return m.startAs(nil, config, args...)
}

// startAs is startWith for a process that differs from others in what as says.
func (m *machine) startAs(as *syscall.SysProcAttr, config string, args ...string) *process {
	m.t.Helper()
	p := &process{t: m.t, cmd: exec.Command(program(m.t), append([]string{"--config", config}, args...)...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.Env = append(os.Environ(), "TZ=UTC", "BTRKEEP_STATE_DIR="+m.state, "BTRKEEP_RUNTIME_DIR="+m.runtime())
	p.cmd.Env = append(p.cmd.Env, m.env...)
	p.cmd.SysProcAttr = as
	p.started = time.Now()
	must(m.t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait() // its result is in ProcessState
		p.ended = time.Now()
		close(p.done)
	}()
	m.t.Cleanup(func() {
		p.killAll()
		<-p.done
	})
	return p
}

// wait waits for the end. If it does not come in time, the test has failed, and what all threads were doing is in the result.
func (p *process) wait(within time.Duration) result {
	p.t.Helper()
	select {
	case <-p.done:
		return p.result()
	case <-time.After(within):
	}
	p.signal(unix.SIGQUIT)
	select {
	case <-p.done:
	case <-time.After(time.Second):
		p.killAll()
		<-p.done
	}
	r := p.result()
	p.t.Errorf("%v did not end in %s: %s", p.cmd.Args, within, r)
	return r
}

// result is valid once the process has ended.
func (p *process) result() result {
	r := result{
		stdout: p.stdout.String(), stderr: p.stderr.String(), status: p.cmd.ProcessState.ExitCode(),
		took: p.ended.Sub(p.started), pid: p.cmd.Process.Pid,
	}
	if s := p.cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signaled() {
		r.killed = s.Signal()
	}
	return r
}

func (p *process) hasEnded() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// signal sends a signal to the process alone; one that has ended and been waited for gets none.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Error(err)
	}
}

// killAll sends SIGKILL to the process and all that it has started, as systemd does to what is left of a unit.
func (p *process) killAll() {
	children := p.children()
	_ = p.cmd.Process.Kill() // one that has ended is fine
	for _, pid := range children {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// children are the processes that this one has started, and theirs.
func (p *process) children() []int {
	if p.hasEnded() {
		return nil
	}
	return children(p.cmd.Process.Pid)
}

func children(pid int) []int {
	var found []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, _ := os.ReadFile(path) // one that has ended meanwhile has none
		// pid (name) state ppid …: the name may hold anything, so from its end on
		_, rest, _ := strings.Cut(string(b[bytes.LastIndexByte(b, ')')+1:]), " ")
		fields := strings.Fields(rest)
		if len(fields) < 2 || fields[0] == "Z" || fields[1] != strconv.Itoa(pid) {
			continue
		}
		if child, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			found = append(append(found, child), children(child)...)
		}
	}
	return found
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	if !soon(holds) {
		t.Fatalf("after %s still not: %s", patience, what)
	}
}

// soon waits until something holds, and reports whether it came to that.
func soon(holds func() bool) bool {
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}
