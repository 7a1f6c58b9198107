package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
)

const slowJob = `
receiver = "$RECEIVER"
[jobs.home]
source = "$SRC/home"
[jobs.home.destinations.disk]
url        = "$DST1/home"
rate_limit = "$RATE"
`

// slow configures a job that sends at a rate.
func (m *machine) slow(rate, receiver string) {
	m.t.Helper()
	m.configure(strings.NewReplacer("$RATE", rate, "$RECEIVER", receiver).Replace(slowJob))
}

// incoming waits until data is arriving at the destination.
func (m *machine) incoming() {
	m.t.Helper()
	eventually(m.t, "data is arriving", func() bool {
		found, _ := filepath.Glob(filepath.Join(m.dests[0], "home", ".btrkeep-incoming-*", "large"))
		if len(found) == 0 {
			return false
		}
		st, err := os.Stat(found[0])
		return err == nil && st.Size() > 0
	})
}

// untouched makes sure that nothing at the destination has the name of a backup, and nothing else is read-only.
func (m *machine) untouched() {
	m.t.Helper()
	entries, err := os.ReadDir(filepath.Join(m.dests[0], "home"))
	must(m.t, err)
	for _, e := range entries {
		path := filepath.Join(m.dests[0], "home", e.Name())
		if s, err := btrfs.Info(path); err == nil && (s.ReadOnly || !strings.HasPrefix(e.Name(), ".")) {
			m.t.Errorf("left behind: %s, read-only %v", path, s.ReadOnly)
		}
	}
}

// Who stops a transfer waits for seconds, not for its end, and the next run is as good as if nothing had been.
func TestStopInTransfer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		signal   syscall.Signal
		daemon   bool
		receiver string
	}{
		{"SIGTERM to run", unix.SIGTERM, false, "native"},
		{"SIGINT to run, btrfs-progs", unix.SIGINT, false, "btrfs-progs"},
		{"SIGTERM to the daemon", unix.SIGTERM, true, "native"},
		{"SIGTERM to the daemon, btrfs-progs", unix.SIGTERM, true, "btrfs-progs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, 1)
			m.slow("512K", tt.receiver)
			m.grow("large", 1, 16<<20)
			var daemon *process
			if tt.daemon {
				daemon = m.startDaemon()
			}
			run := m.start("run")
			m.incoming()
			stopped := run
			if tt.daemon {
				stopped = daemon
			}
			start := time.Now()
			stopped.signal(tt.signal)
			r := run.wait(patience)
			if tt.daemon {
				if d := daemon.wait(patience); d.status != 0 {
					t.Errorf("daemon: %s", d)
				}
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("it took %s to stop", took)
			}
			if r.status != 1 || !strings.Contains(r.stderr, "btrkeep: error: home: ") {
				t.Errorf("the run that was stopped: %s", r)
			}
			m.untouched()
			m.slow("1G", tt.receiver)
			next := m.mustRun()
			l := m.list()
			if got := l.backups(0); len(got) == 0 {
				t.Errorf("no backup after the next run: %s", next)
			}
			m.compare(l)
			if hidden := m.hidden(filepath.Join(m.dests[0], "home")); len(hidden) > 0 {
				t.Errorf("after a good run there is still %v", hidden)
			}
		})
	}
}

// TROUBLE 30: a transfer goes on through signals that are no request to stop: a reload, the end of another child, a terminal's Ctrl-Z and fg, and, with the
// same effect on the system calls of a process as the latter, a machine that is suspended.
func TestSignalsInTransfer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		signals []syscall.Signal
		times   int
		daemon  bool
	}{
		{"SIGHUP to the daemon", []syscall.Signal{unix.SIGHUP}, 20, true},
		{"SIGCHLD", []syscall.Signal{unix.SIGCHLD}, 20, false},
		{"SIGWINCH", []syscall.Signal{unix.SIGWINCH}, 20, false},
		{"SIGSTOP and SIGCONT", []syscall.Signal{unix.SIGSTOP, unix.SIGCONT}, 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, 1)
			m.slow("4M", "native")
			m.grow("large", 1, 8<<20)
			var daemon *process
			if tt.daemon {
				daemon = m.startDaemon()
			}
			run := m.start("run")
			to := run
			if tt.daemon {
				to = daemon
			}
			m.incoming()
			for range tt.times {
				for _, s := range tt.signals {
					to.signal(s)
					time.Sleep(20 * time.Millisecond)
				}
			}
			if r := run.wait(patience); r.status != 0 {
				t.Errorf("the run: %s", r)
			}
			m.compare(m.list())
			if daemon != nil {
				daemon.stop()
			}
		})
	}
}
