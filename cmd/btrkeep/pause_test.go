package main_test

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)

// A pause holds across restarts, for the schedule and for runs of everything; not for a job that is named. It can end by itself.
func TestPause(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 2)
	m.configure(`
[jobs.home]
source   = "$SRC/home"
schedule = "@every 1h"
[jobs.home.destinations.desk]
url = "$DST1/home"
[jobs.home.destinations.shelf]
url     = "$DST2/home"
max_age = "1d"
`)
	m.mustRun()
	if r := m.must("pause", "home"); !strings.HasPrefix(r.stdout, "home: paused by ") {
		t.Errorf("pause: %s", r)
	}
	runs := len(m.history())
	m.lastRan(2 * time.Hour)
	daemon := m.startDaemon()
	time.Sleep(1500 * time.Millisecond)
	if n := len(m.history()); n != runs {
		t.Errorf("%d runs while it was paused", n-runs)
	}
	r := m.must("status")
	if !strings.Contains(r.stdout, "  paused  ") || strings.Contains(r.stdout, "late") {
		t.Errorf("status: %s", r)
	}
	if r := m.btrkeep("run"); r.status != 75 || !strings.Contains(r.stderr, "btrkeep: error: home: paused by ") || !strings.Contains(r.stderr, "btrkeep: hint: `btrkeep resume home`") {
		t.Errorf("run: %s", r)
	}
	m.mustRun("home")
	runs++
	daemon.stop()
	m.lastRan(2 * time.Hour)
	daemon = m.startDaemon()
	time.Sleep(1500 * time.Millisecond)
	if n := len(m.history()); n != runs {
		t.Errorf("%d runs while it was paused, after a restart", n-runs)
	}
	began := time.Now()
	m.must("resume", "home")
	eventually(t, "it is resumed at once", func() bool { return len(m.history()) > runs })
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it was resumed after %v", took)
	}
	daemon.stop()

	m.must("pause", "home/shelf", "--for", "1h")
	if r := m.mustRun("home"); !regexp.MustCompile(`(?m)^home: shelf: paused until \w+ \d\d \d\d:\d\d by `).MatchString(r.stdout) || strings.Contains(r.stdout, "desk: paused") {
		t.Errorf("run: %s", r)
	}
	if h := m.history()[0]; h.Result != "ok" || len(h.Transfers) != 2 {
		t.Errorf("history: %+v", h)
	}
	if r := m.must("plan"); !strings.Contains(r.stdout, "shelf  ") || !strings.Contains(r.stdout, "paused until") {
		t.Errorf("plan: %s", r)
	}
	m.must("resume", "home/shelf")
	if r := m.mustRun("home"); strings.Contains(r.stdout, "paused") || !strings.Contains(r.stdout, "home: shelf: ") {
		t.Errorf("run: %s", r)
	}
	m.must("pause", "home", "--for", "1s")
	time.Sleep(1100 * time.Millisecond)
	m.mustRun()
	for _, wrong := range [][]string{{"pause", "hoem"}, {"pause", "home/attic"}, {"pause", "home", "--for", "3"}, {"pause"}, {"resume", "home/"}} {
		if r := m.btrkeep(wrong...); r.status != 2 || !strings.Contains(r.stderr, "btrkeep: hint: ") {
			t.Errorf("%v: %s", wrong, r)
		}
	}
}

// run --wait waits for the run under way, by the daemon or without it, and runs the job after it.
func TestRunWait(t *testing.T) {
	t.Parallel()
	for _, withDaemon := range []bool{false, true} {
		m := newMachine(t, 1)
		m.slow("2M", "native")
		m.grow("large", 1, 2<<20)
		if withDaemon {
			m.startDaemon()
		}
		first := m.start("run")
		m.incoming()
		if r := m.btrkeep("run"); r.status != 75 {
			t.Errorf("without --wait: %s", r)
		}
		second := m.start("run", "--wait")
		if r := second.wait(patience); r.status != 0 || !strings.Contains(r.stderr, "home is running; waiting for its end") || !strings.Contains(r.stdout, "home: snapshot ") {
			t.Errorf("with --wait: %s", r)
		}
		if !first.hasEnded() {
			t.Error("the second did not wait for the first")
		}
		if h := m.history(); len(h) < 2 || h[0].Result != "ok" || h[1].Result == "failed" || h[0].Started.Before(h[len(h)-1].Ended) {
			t.Errorf("history: %+v", h)
		}
	}
}
