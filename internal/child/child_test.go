package child

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestErrorHasTheLastWords(t *testing.T) {
	err := Command{Argv: []string{"/bin/sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x >&2; echo last words >&2; exit 3"}}.Run(t.Context())
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is no *Error", err)
	}
	if len(e.Stderr) > stderrBytes || !strings.HasSuffix(e.Stderr, "last words") {
		t.Errorf("kept %d bytes of stderr, ending in %q", len(e.Stderr), e.Stderr[max(0, len(e.Stderr)-20):])
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("exit status lost: %v", err)
	}
}

func TestEndOfContextEndsTheGroup(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	why := errors.New("the test is over")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for range 500 {
			if b, err := os.ReadFile(pidFile); err == nil && len(b) > 1 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		cancel(why)
	}()
	err := Command{Argv: []string{"/bin/sh", "-c", "sleep 1000 & echo $! >" + pidFile + "; wait"}}.Run(ctx)
	if !errors.Is(err, why) {
		t.Errorf("error %v does not say why", err)
	}
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if unix.Kill(pid, 0) == unix.ESRCH || zombie(pid) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("grandchild %d still runs", pid)
}

func zombie(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(b), ") Z ")
}

func TestEnvironment(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/x")
	t.Setenv("WATCHDOG_PID", "1")
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	var out strings.Builder
	if err := (Command{Argv: []string{"/usr/bin/env"}, Env: []string{"BTRKEEP_JOB=home"}, Stdout: &out}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"NOTIFY_SOCKET", "WATCHDOG_PID", "de_DE"} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("%s was handed on", bad)
		}
	}
	for _, want := range []string{"LC_ALL=C\n", "BTRKEEP_JOB=home\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestMissingProgram(t *testing.T) {
	if err := (Command{Argv: []string{"/nonexistent/program"}}).Run(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestIOPriority(t *testing.T) {
	if _, err := exec.LookPath("ionice"); err != nil {
		t.Skip("ionice (util-linux) is not installed")
	}
	var out strings.Builder
	if err := (Command{Argv: []string{"ionice"}, Stdout: &out, IOPriority: 3 << 13}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(out.String()); got != "idle" {
		t.Errorf("class is %q", got)
	}
}
