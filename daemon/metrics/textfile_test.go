package metrics

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// has fails the test unless the file has these lines.
func has(t *testing.T, path string, lines ...string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	for _, line := range lines {
		if !strings.Contains("\n"+string(b), "\n"+line+"\n") {
			t.Errorf("%s lacks %s:\n%s", path, line, b)
		}
	}
}

// The textfile is written at the start, after each run, every few minutes, and at the end, and others may read it.
func TestTextfile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, log := newMetrics(t, time.Now)
		home := newJob(t, "home", "@hourly", "usb")
		home.Destinations[0].MaxAge = config.Duration(3 * time.Minute)
		dir := t.TempDir()
		path := filepath.Join(dir, "btrkeep.prom")
		cfg := with(newConfig(t, home), "", path)
		pass := func(d time.Duration) {
			t.Helper()
			for range d / (30 * time.Second) {
				time.Sleep(30 * time.Second)
				m.Tick(jobs.Now())
			}
			time.Sleep(2 * settle)
			synctest.Wait()
		}
		m.Configured(cfg)
		pass(0)
		has(t, path, "btrkeep_daemon_up 1", `btrkeep_job_last_success_timestamp_seconds{btrkeep_job="home"} 0`, `btrkeep_runs_total{btrkeep_job="home",result="ok"} 0`)
		if st, err := os.Stat(path); err != nil || st.Mode() != 0o644 {
			t.Errorf("%v, %v", st.Mode(), err)
		}

		remember(t, cfg, home, func(s *jobs.State) {
			s.LastSuccess = noon()
			s.Destinations[home.Destinations[0].URL] = jobs.DestinationState{Name: "usb", NewestTaken: time.Now()}
		})
		m.Ran(home, record("home", jobs.ResultOK, time.Minute))
		pass(0)
		has(t, path, `btrkeep_job_last_success_timestamp_seconds{btrkeep_job="home"} 1.7954352e+09`, `btrkeep_runs_total{btrkeep_job="home",result="ok"} 1`)

		// The state is written after the observers are told.
		m.Proved(home, config.TaskVerify, "usb", time.Now(), jobs.TaskResult{})
		m.Tick(jobs.Now())
		remember(t, cfg, home, func(s *jobs.State) {
			s.Prove(config.TaskVerify, home.Destinations[0], noon(), jobs.TaskResult{Result: jobs.ResultOK})
		})
		pass(0)
		has(t, path, `btrkeep_verify_last_success_timestamp_seconds{btrkeep_job="home",destination="usb"} 1.7954352e+09`)

		const stale = `btrkeep_problem{btrkeep_job="home",destination="usb",kind="stale"} `
		has(t, path, stale+"0")
		pass(2 * writeEvery)
		has(t, path, stale+"1")
		written := func() time.Time {
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			return st.ModTime()
		}
		m.Ran(home, record("home", jobs.ResultOK, time.Minute))
		pass(0)
		before := written()
		pass(writeEvery / 2)
		if !written().Equal(before) {
			t.Error("written although nothing has happened")
		}

		moved := filepath.Join(dir, "moved.prom")
		m.Configured(with(cfg, "", moved))
		pass(0)
		has(t, moved, "btrkeep_daemon_up 1")
		m.Configured(with(cfg, "", ""))
		pass(0)
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("what is no longer asked for is still there: %v, %v", left, err)
		}
		m.Configured(cfg)
		m.Close(t.Context())
		has(t, path, "btrkeep_daemon_up 0", `btrkeep_job_last_success_timestamp_seconds{btrkeep_job="home"} 1.7954352e+09`)
		if log := log.String(); log != "" {
			t.Errorf("log:\n%s", log)
		}
	})
}

// A textfile that cannot be written is said once, with what to do.
func TestTextfileCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, log := newMetrics(t, time.Now)
		dir := filepath.Join(t.TempDir(), "node-exporter")
		cfg := with(newConfig(t, newJob(t, "home", "@hourly", "usb")), "", filepath.Join(dir, "btrkeep.prom"))
		m.Configured(cfg)
		for range 40 {
			time.Sleep(30 * time.Second)
			m.Tick(jobs.Now())
		}
		synctest.Wait()
		if got := log.String(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, "no such file or directory") || !strings.Contains(got, `hint="make the directory that the node exporter reads`) {
			t.Errorf("log:\n%s", got)
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for range 11 {
			time.Sleep(30 * time.Second)
			m.Tick(jobs.Now())
		}
		synctest.Wait()
		has(t, cfg.Textfile, "btrkeep_daemon_up 1")
		m.Close(t.Context())
	})
}

// A run without the daemon tells of itself, and not of what only a daemon knows.
func TestWithoutDaemon(t *testing.T) {
	cfg := everything(t)
	if err := WriteTextfile(cfg, "1.2.3", noon); err != nil {
		t.Errorf("none is asked for: %v", err)
	}
	cfg.Textfile = filepath.Join(t.TempDir(), "btrkeep.prom")
	if err := WriteTextfile(cfg, "1.2.3", noon); err != nil {
		t.Fatal(err)
	}
	has(t, cfg.Textfile, "btrkeep_daemon_up 0", `btrkeep_destination_backups{btrkeep_job="home",destination="nas"} 60`)
	b, err := os.ReadFile(cfg.Textfile)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"btrkeep_runs_total", "btrkeep_run_duration_seconds", "btrkeep_config_", "btrkeep_daemon_start"} {
		if strings.Contains(string(b), name) {
			t.Errorf("it tells %s", name)
		}
	}
	unlock, err := jobs.Lock(filepath.Join(cfg.RuntimeDir, lockName), jobs.Holder{PID: os.Getpid(), Since: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if err := WriteTextfile(cfg, "1.2.3", noon); err == nil || !strings.Contains(err.Error(), "is locked by") {
		t.Errorf("two write at the same time: %v", err)
	}
}
