package main_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The daemon verifies on the schedule of the job, and status tells what came of it: first that all is well, then of a byte that somebody has changed.
func TestScheduledVerify(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	m.configure(`
[jobs.home]
source      = "$SRC/home"
destination = "$DST1/home"
verify      = { schedule = "@every 1h", deep = true, max_time = "10m" }
`)
	m.grow("file", 1, 100_000)
	m.mustRun()
	type verified struct {
		Time     time.Time
		Result   string
		Problems int
		Damaged  []string
	}
	type status struct {
		Destinations []struct {
			State    string
			Verified *verified
		}
	}
	last := func() verified {
		t.Helper()
		v := decode[[]status](t, m.btrkeep("status", "--json"))[0].Destinations[0].Verified
		if v == nil {
			return verified{}
		}
		return *v
	}
	if v := last(); !v.Time.IsZero() {
		t.Fatalf("verified before the first: %+v", v)
	}

	m.metTask("verify", 2*time.Hour)
	daemon := m.startDaemon()
	eventually(t, "the verify that was missed is made", func() bool { return last().Result == "ok" })
	if r := m.must("status"); !regexp.MustCompile(`(?m)^home .* (verify )?\d+s$`).MatchString(r.stdout) {
		t.Errorf("status: %s", r)
	}
	daemon.stop()

	backup := m.list().Destinations[0].Backups[0]
	writable := func(yes string) {
		t.Helper()
		if out, err := exec.Command("btrfs", "property", "set", "-f", "-ts", backup.Path, "ro", yes).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	writable("false")
	f, err := os.OpenFile(filepath.Join(backup.Path, "file"), os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("x"), 5000)
	must(t, err)
	must(t, f.Close())
	writable("true")

	m.metTask("verify", 2*time.Hour)
	daemon = m.startDaemon()
	eventually(t, "the next verify is made", func() bool { return last().Result == "failed" })
	if v := last(); v.Problems == 0 || len(v.Damaged) != 1 || v.Damaged[0] != backup.Name {
		t.Errorf("verified: %+v", v)
	}
	r := m.btrkeep("status")
	if r.status != 1 || !regexp.MustCompile(`(?m)^ +verify found \d+ problems? just now, in `+backup.Name+`$`).MatchString(r.stdout) || !strings.Contains(r.stdout, "failing") {
		t.Errorf("status: %s", r)
	}
	daemon.stop()
	if log := daemon.stderr.String(); !strings.Contains(log, "verify of default: ") || !strings.Contains(log, backup.Name+": ") {
		t.Errorf("log:\n%s", log)
	}
}

// The daemon restores the newest backup on the schedule, and status tells how long that took; nothing is left of it.
func TestScheduledDrill(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	m.configure(`
[jobs.home]
source      = "$SRC/home"
destination = "$DST1/home"
drill       = { schedule = "@monthly" }
`)
	m.grow("file", 1, 3_000_000)
	m.mustRun()
	m.metTask("drill", 40*24*time.Hour)
	daemon := m.startDaemon()
	proved := regexp.MustCompile(`(?m)^home .* (drill )?\d+s$`)
	eventually(t, "the drill that was missed is made", func() bool { return proved.MatchString(m.btrkeep("status").stdout) })
	daemon.stop()
	if log := daemon.stderr.String(); !strings.Contains(log, "drill of default: ok in ") {
		t.Errorf("log:\n%s", log)
	}
	if left, _ := filepath.Glob(filepath.Join(m.home(), ".btrkeep", ".btrkeep-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	m.grow("file2", 2, 1000)
	m.mustRun()
}

// metTask makes the state of the only job say that its verify, or its drill, was last a while ago.
func (m *machine) metTask(task string, ago time.Duration) {
	m.t.Helper()
	files, _ := filepath.Glob(filepath.Join(m.state, "jobs", "*.json"))
	var states []string
	for _, path := range files {
		if !strings.Contains(path, "verify") {
			states = append(states, path)
		}
	}
	if len(states) != 1 {
		m.t.Fatalf("files of state: %v", files)
	}
	b, err := os.ReadFile(states[0])
	must(m.t, err)
	var state map[string]any
	must(m.t, json.Unmarshal(b, &state))
	at := time.Now().Add(-ago).Format(time.RFC3339Nano)
	state["tasks"] = map[string]any{task: map[string]any{"first_seen": at, "last": at}}
	b, err = json.Marshal(state)
	must(m.t, err)
	must(m.t, os.WriteFile(states[0], b, 0o600))
}
