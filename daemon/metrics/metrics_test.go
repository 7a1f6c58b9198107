package metrics

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/daemon"
	"github.com/btrkeep/btrkeep/jobs"
)

var _ daemon.Observer = (*Metrics)(nil)

// record is that of a run that took so long.
func record(job, result string, took time.Duration) jobs.Record {
	return jobs.Record{Job: job, Result: result, Started: noon(), Ended: noon().Add(took)}
}

// What is told of jobs in all states there are, by Prometheus's own rules of style.
func TestExposition(t *testing.T) {
	m, _ := newMetrics(t, noon)
	cfg := everything(t)
	m.Configured(cfg)
	home := cfg.Jobs[2]
	m.Ran(home, record("home", jobs.ResultOK, 90*time.Second))
	m.Ran(home, record("home", jobs.ResultSkipped, 0))
	m.Ran(home, record("home", jobs.ResultPartial, 5*time.Hour))
	got := string(m.text())
	var kept []string
	for line := range strings.Lines(got) {
		if !strings.HasPrefix(line, "btrkeep_build_info") { // has the version of Go
			kept = append(kept, line)
		}
	}
	golden(t, "testdata/exposition.golden", strings.Join(kept, ""))
	problems, err := promlint.New(strings.NewReader(got)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", problems, err)
	}
}

// A job is there from the start, before it has ever run, with all that may become of it; and no more once it has left the configuration.
func TestSeries(t *testing.T) {
	m, _ := newMetrics(t, noon)
	home, srv := newJob(t, "home", "@hourly", "usb"), newJob(t, "srv", "@daily", "usb", "nas")
	cfg := newConfig(t, home, srv)
	count := func(job string) int { return strings.Count(string(m.text()), fmt.Sprintf(`btrkeep_job="%s"`, job)) }
	if n := count("home"); n != 0 {
		t.Errorf("%d series before the configuration was read", n)
	}
	m.Configured(cfg)
	for _, series := range []string{
		`btrkeep_job_last_success_timestamp_seconds{btrkeep_job="srv"} 0`,
		`btrkeep_destination_last_success_timestamp_seconds{btrkeep_job="srv",destination="nas"} 0`,
		`btrkeep_destination_newest_backup_timestamp_seconds{btrkeep_job="srv",destination="usb"} 0`,
		`btrkeep_runs_total{btrkeep_job="srv",result="failed"} 0`,
		`btrkeep_run_duration_seconds_count{btrkeep_job="srv"} 0`,
		`btrkeep_problem{btrkeep_job="srv",destination="",kind="failing"} 0`,
		`btrkeep_problem{btrkeep_job="srv",destination="nas",kind="stale"} 0`,
	} {
		if !strings.Contains(string(m.text()), series+"\n") {
			t.Errorf("not there from the start: %s", series)
		}
	}
	alone := *cfg
	alone.Jobs = cfg.Jobs[:1]
	m.Began(srv, config.TaskRun, noon())
	m.Configured(&alone)
	m.Ran(srv, record("srv", jobs.ResultOK, time.Minute)) // it was under way
	if n := count("srv"); n != 0 || count("home") == 0 {
		t.Errorf("%d series of a job that has left the configuration:\n%s", n, string(m.text()))
	}
	m.Configured(cfg)
	if again := `btrkeep_runs_total{btrkeep_job="srv",result="ok"} 0`; !strings.Contains(string(m.text()), again+"\n") {
		t.Errorf("a job that is back does not begin with %s:\n%s", again, m.text())
	}
}

// A run under way is told, and the next run is that after it, not the one that it is.
func TestRunning(t *testing.T) {
	m, _ := newMetrics(t, noon)
	home := newJob(t, "home", "@hourly", "usb")
	cfg := newConfig(t, home)
	remember(t, cfg, home, func(s *jobs.State) { s.LastRun = ago(90 * time.Minute) })
	m.Configured(cfg)
	want := func(running bool, next time.Time) {
		t.Helper()
		got := string(m.text())
		for _, line := range []string{fmt.Sprintf(`btrkeep_job_running{btrkeep_job="home"} %g`, truth(running)), fmt.Sprintf(`btrkeep_job_next_run_timestamp_seconds{btrkeep_job="home"} %g`, timestamp(next))} {
			if !strings.Contains(got, line+"\n") {
				t.Errorf("want %s:\n%s", line, got)
			}
		}
	}
	want(false, ago(time.Hour)) // it was missed
	m.Began(home, config.TaskVerify, ago(time.Minute))
	want(false, ago(time.Hour))
	m.Began(home, config.TaskRun, ago(time.Minute))
	want(true, noon())
	m.Ran(home, record("home", jobs.ResultOK, time.Minute))
	want(false, ago(time.Hour))
	remember(t, cfg, home, func(s *jobs.State) { s.LastRun = ago(time.Minute) })
	want(false, noon())
}

func TestReloadIsTold(t *testing.T) {
	now := noon()
	m, _ := newMetrics(t, func() time.Time { return now })
	want := func(ok float64, at time.Time) {
		t.Helper()
		families := parse(t, m.text())
		if got := families[lastReloadOK.name].GetMetric()[0].GetGauge().GetValue(); got != ok {
			t.Errorf("successful: %g, want %g", got, ok)
		}
		if got := families[lastReloadTime.name].GetMetric()[0].GetGauge().GetValue(); got != timestamp(at) {
			t.Errorf("at %f, want %f", got, timestamp(at))
		}
	}
	cfg := newConfig(t)
	m.Configured(cfg)
	want(1, noon())
	now = now.Add(time.Hour)
	m.Refused(errors.New("a.toml:1:1: unknown key"))
	want(0, noon())
	m.Configured(cfg) // a member of a group came or went
	want(0, noon())
	m.Refused(nil)
	want(1, now)
}
