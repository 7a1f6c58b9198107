package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The daemon was off while a job was due three times: it is run once, soon after the start. A job that does not want that waits for its next time.
func TestCatchUp(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	job := func(catchUp string) string {
		return `
[jobs.home]
source      = "$SRC/home"
destination = "$DST1/home"
schedule    = "@every 1h"
catch_up    = ` + catchUp + "\n"
	}
	m.configure(job("true"))
	m.mustRun()
	m.lastRan(200 * time.Minute)
	daemon := m.startDaemon()
	started := time.Now()
	eventually(t, "the missed run is made", func() bool { return len(m.history()) > 1 })
	if took := time.Since(started); took > 10*time.Second {
		t.Errorf("the missed run came after %s", took)
	}
	time.Sleep(3 * time.Second) // for more than there should be
	h := m.history()
	if len(h) != 2 || h[0].Trigger != "catch-up" || h[0].Result != "ok" {
		t.Errorf("history: %+v, want one run to catch up", h)
	}
	type status struct {
		NextRun time.Time `json:"next_run"`
	}
	next := decode[[]status](t, m.must("status", "--json"))[0].NextRun
	if in := time.Until(next); in < 55*time.Minute || in > time.Hour {
		t.Errorf("the next run is in %s, want an hour after the one that caught up", in)
	}
	daemon.stop()

	m.configure(job("false"))
	m.lastRan(200 * time.Minute)
	daemon = m.startDaemon()
	eventually(t, "the missed run is given up", func() bool { return strings.Contains(daemon.stderr.String(), "home: missed ") })
	time.Sleep(time.Second)
	if n := len(m.history()); n != 2 {
		t.Errorf("%d runs, want none more", n)
	}
	daemon.stop()
}

// lastRan makes the state of the only job say that it ran last a while ago.
func (m *machine) lastRan(ago time.Duration) {
	m.t.Helper()
	files, _ := filepath.Glob(filepath.Join(m.state, "jobs", "*.json"))
	if len(files) != 1 {
		m.t.Fatalf("files of state: %v", files)
	}
	b, err := os.ReadFile(files[0])
	must(m.t, err)
	var state map[string]any
	must(m.t, json.Unmarshal(b, &state))
	if state["last_run"] == nil {
		m.t.Fatalf("state has no last_run: %s", b)
	}
	state["last_run"] = time.Now().Add(-ago).Format(time.RFC3339Nano)
	b, err = json.Marshal(state)
	must(m.t, err)
	must(m.t, os.WriteFile(files[0], b, 0o600))
}
