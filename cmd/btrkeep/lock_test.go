package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Two runs of one job at once: exactly one proceeds, the other exits 75 and names the holder.
func TestRaces(t *testing.T) {
	t.Parallel()
	const atOnce = 8
	m := newMachine(t, 1)
	gates := m.gates(atOnce)
	for _, g := range gates { // the first run of each makes a backup
		g.pass()
		m.mustRun(g.job)
	}
	// The same configuration under another path: the daemon's clients go by the path, so this one runs the job itself.
	link := filepath.Join(m.dir, "link.toml")
	must(t, os.Symlink(m.config, link))

	kinds := []struct {
		name   string
		races  int
		daemon bool
		with   [2]string // configurations of the two
	}{
		{"two command lines", 80, false, [2]string{m.config, m.config}},
		{"daemon and command line", 80, true, [2]string{m.config, link}},
		{"two command lines through the daemon", 40, true, [2]string{m.config, m.config}},
	}
	for _, kind := range kinds {
		t.Run(kind.name, func(*testing.T) {
			daemon := 0
			if kind.daemon {
				p := m.startDaemon()
				defer p.stop()
				daemon = p.cmd.Process.Pid
			}
			var wg sync.WaitGroup
			for i, g := range gates {
				wg.Go(func() {
					for range (kind.races + atOnce - 1 - i) / atOnce {
						if !m.t.Failed() {
							m.race(g, kind.with, daemon)
						}
					}
				})
			}
			wg.Wait()
		})
	}
	total := 0
	for _, g := range gates {
		runs := g.runs()
		total += len(runs)/2 - 1
		for pair := range slices.Chunk(runs, 2) {
			if !slices.Equal(pair, []string{"begin", "end"}) {
				t.Fatalf("%s: runs overlap: %v", g.job, runs)
			}
		}
	}
	if total != 200 {
		t.Errorf("%d races had a winner, want 200", total)
	}
}

// race starts two runs at once, daemon is the process id of a daemon that may make one of them for a client.
func (m *machine) race(g *gate, with [2]string, daemon int) {
	t := m.t
	before := len(g.runs())
	var both [2]*process
	for i := range both {
		both[i] = m.startWith(with[i], "run", g.job)
	}
	// Who is refused is so while the other waits at the gate.
	loser, winner := both[0], both[1]
	select {
	case <-both[0].done:
	case <-both[1].done:
		loser, winner = both[1], both[0]
	case <-time.After(patience):
		t.Errorf("%s: nobody was refused: %v", g.job, g.runs())
		return
	}
	holders := []int{winner.cmd.Process.Pid}
	if daemon != 0 {
		holders = append(holders, daemon)
	}
	refused := loser.result()
	named := slices.ContainsFunc(holders, func(pid int) bool {
		return strings.Contains(refused.stderr, fmt.Sprintf("is locked by process %d (job %s, since 20", pid, g.job))
	})
	if refused.status != 75 || !named || refused.stdout != "" {
		t.Errorf("the refused one, with %v as holder: %s", holders, refused)
	}
	if !soon(func() bool { return len(g.runs()) > before || winner.hasEnded() }) || winner.hasEnded() {
		t.Errorf("nobody proceeded; the refused one: %s", refused)
		return
	}
	g.pass()
	if r := winner.wait(patience); r.status != 0 {
		t.Errorf("the winner: %s", r)
	}
	if got := g.runs()[before:]; !slices.Equal(got, []string{"begin", "end"}) {
		t.Errorf("%s: runs of one race: %v", g.job, got)
	}
}

// startDaemon starts the daemon and waits until it answers.
func (m *machine) startDaemon() *process {
	m.t.Helper()
	p := m.start("daemon")
	eventually(m.t, "the daemon has started", func() bool {
		return p.hasEnded() || strings.Contains(p.stderr.String(), "started with")
	})
	if p.hasEnded() {
		m.t.Fatalf("daemon: %s", p.result())
	}
	return p
}

// stop ends a daemon as systemd does.
func (p *process) stop() {
	p.t.Helper()
	p.signal(unix.SIGTERM)
	if r := p.wait(10 * time.Second); r.status != 0 {
		p.t.Errorf("daemon: %s", r)
	}
}

// The death of the holder frees the lock.
func TestHolderKilled(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	g := m.gates(1)[0]
	g.pass()
	m.mustRun()
	for range 10 {
		before := len(g.runs())
		holder := m.start("run")
		eventually(t, "a run holds the lock", func() bool { return len(g.runs()) > before })
		if r := m.btrkeep("run"); r.status != 75 {
			t.Fatalf("while the lock is held: %s", r)
		}
		hook := holder.children()
		holder.signal(unix.SIGKILL)
		holder.wait(patience)
		// What it has started dies with it. Until then, the hook might be who is let through.
		eventually(t, "the hook of the killed run is gone", func() bool {
			return !slices.ContainsFunc(hook, func(pid int) bool { return unix.Kill(pid, 0) == nil })
		})
		g.pass()
		m.mustRun()
	}
}

// A daemon that was killed leaves a lock, a socket and perhaps a run behind. None is in the way.
func TestDaemonKilled(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	g := m.gates(1)[0]
	for range 3 {
		before := len(g.runs())
		daemon := m.startDaemon()
		if second := m.btrkeep("daemon"); second.status == 0 || !strings.Contains(second.stderr, fmt.Sprintf("process %d", daemon.cmd.Process.Pid)) {
			t.Errorf("a second daemon: %s", second)
		}
		client := m.start("run")
		eventually(t, "the daemon runs the job", func() bool { return len(g.runs()) > before })
		hook := daemon.children()
		daemon.signal(unix.SIGKILL)
		if r := client.wait(patience); r.status != 1 || !strings.Contains(r.stderr, "btrkeep: error: ") {
			t.Errorf("the client of a daemon that was killed: %s", r)
		}
		eventually(t, "the hook of the killed daemon is gone", func() bool { // else it might be who is let through
			return !slices.ContainsFunc(hook, func(pid int) bool { return unix.Kill(pid, 0) == nil })
		})
		g.pass()
		m.mustRun()
	}
}

// `btrkeep backup` of a source that a job is backing up is refused like a second run of that job.
func TestBackupBesideRun(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	g := m.gates(1)[0]
	run := m.start("run")
	eventually(t, "the run has begun", func() bool { return len(g.runs()) > 0 })
	r := m.btrkeep("backup", filepath.Join(m.srcPath, g.job), filepath.Join(m.dests[0], "other"))
	if r.status != 75 || !strings.Contains(r.stderr, fmt.Sprintf("process %d (job %s,", run.cmd.Process.Pid, g.job)) {
		t.Errorf("backup beside a run: %s", r)
	}
	g.pass()
	run.wait(patience)
}
