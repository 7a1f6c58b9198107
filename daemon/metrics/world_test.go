package metrics

import (
	"bytes"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", path, diff)
	}
}

// noon is when these tests look.
func noon() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func ago(d time.Duration) time.Time { return noon().Add(-d) }

const day = 24 * time.Hour

func schedule(t testing.TB, text string) config.Schedule {
	t.Helper()
	s, err := config.ParseSchedule(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newJob is a job with destinations of these names.
func newJob(t testing.TB, name, when string, destinations ...string) config.Job {
	t.Helper()
	j := config.Job{Name: name, Source: "/" + name, SnapshotDir: "/" + name + "/.btrkeep", CatchUp: true}
	if when != "" {
		j.Schedule = schedule(t, when)
	}
	for _, d := range destinations {
		j.Destinations = append(j.Destinations, config.Destination{Name: d, URL: "/mnt/" + d + "/" + name})
	}
	return j
}

func newConfig(t testing.TB, list ...config.Job) *config.Config {
	t.Helper()
	return &config.Config{Timezone: time.UTC, Parallel: 2, StateDir: t.TempDir(), RuntimeDir: t.TempDir(), Jobs: list}
}

// remember writes the state of a job.
func remember(t testing.TB, cfg *config.Config, j config.Job, change func(*jobs.State)) {
	t.Helper()
	s, err := jobs.LoadState(cfg.StateDir, j)
	if err != nil {
		t.Fatal(err)
	}
	change(&s)
	if err := s.Save(cfg.StateDir); err != nil {
		t.Fatal(err)
	}
}

// everything is a configuration whose jobs are in all states there are.
func everything(t testing.TB) *config.Config {
	t.Helper()
	fresh := newJob(t, "fresh", "@hourly", "usb")
	fresh.Destinations[0].MaxAge = config.Duration(day)
	home := newJob(t, "home", "0 * * * *", "nas", "usb")
	home.Destinations[1].MaxAge = config.Duration(14 * day)
	home.Verify.Schedule, home.Drill = schedule(t, "@weekly"), config.Drill{Schedule: schedule(t, "@monthly"), Destination: "usb"}
	lost := newJob(t, "lost", "", "nas")
	late := newJob(t, "late", "0 3 * * *", "nas")
	late.CatchUp = false
	alice := config.Job{
		Name: "alice", Received: "/srv/alice", SnapshotDir: "/srv/alice", Schedule: schedule(t, "@daily"), CatchUp: true,
		Destinations: []config.Destination{{Name: config.ReceivedName, URL: "/srv/alice"}},
	}
	cfg := newConfig(t, alice, fresh, home, late, lost)
	remember(t, cfg, home, func(s *jobs.State) {
		s.FirstSeen, s.LastRun, s.LastSuccess, s.LastResult, s.Snapshots = ago(90*day), ago(time.Hour), ago(30*day), jobs.ResultPartial, 24
		samples := []jobs.SpaceSample{{Time: ago(10 * day), Free: 300 << 30}, {Time: ago(5 * day), Free: 200 << 30}, {Time: noon(), Free: 100 << 30}}
		s.Destinations["/mnt/nas/home"] = jobs.DestinationState{
			Name: "nas", LastAttempt: ago(time.Hour), LastSuccess: ago(time.Hour), LastResult: jobs.ResultOK, Newest: "20261123T110000Z", NewestTaken: ago(time.Hour),
			Backups: 60, LastBytes: 1 << 30, LastSeconds: 12.5, Free: 100 << 30, Total: 1 << 40, Space: samples, FileSystem: btrfs.UUID{1},
		}
		s.Destinations["/mnt/usb/home"] = jobs.DestinationState{
			Name: "usb", LastAttempt: ago(time.Hour), LastSuccess: ago(30 * day), LastResult: jobs.ResultAbsent, Newest: "20261024T120000Z", NewestTaken: ago(30 * day),
			AbsentSince: ago(29 * day), Backups: 9, Backlog: 23, LastBytes: 5000, LastSeconds: .5, Free: 1 << 40, Total: 2 << 40,
		}
		usb := config.Destination{Name: "usb", URL: "/mnt/usb/home"}
		s.Prove(config.TaskVerify, usb, ago(40*day), jobs.TaskResult{Result: jobs.ResultOK, Seconds: 100})
		s.Prove(config.TaskVerify, usb, ago(33*day), jobs.TaskResult{Result: jobs.ResultFailed, Problems: 2, Damaged: []string{"20261001T120000Z"}, Seconds: 120})
		s.Prove(config.TaskDrill, usb, ago(31*day), jobs.TaskResult{Result: jobs.ResultOK, Seconds: 600})
	})
	remember(t, cfg, late, func(s *jobs.State) {
		s.FirstSeen, s.LastRun, s.LastResult, s.LastError = ago(9*day), ago(3*day), jobs.ResultFailed, "not a subvolume"
		s.Destinations["/mnt/nas/late"] = jobs.DestinationState{Name: "nas", LastAttempt: ago(3 * day), LastResult: jobs.ResultFailed, LastError: "disk full", Failing: "disk full"}
		s.Destinations["/mnt/gone/late"] = jobs.DestinationState{Name: "gone", LastAttempt: ago(3 * day)} // has left the configuration
	})
	remember(t, cfg, lost, func(s *jobs.State) { s.LastRun = ago(day) })
	files, err := filepath.Glob(filepath.Join(cfg.StateDir, "jobs", "*.json"))
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	for _, path := range files { // that of lost has suffered
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(`"/lost"`)) {
			if err := os.WriteFile(path, b[:len(b)/2], 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return cfg
}

// logged is a log that can be read while it is written.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newMetrics are the metrics of a daemon; the test's end is its end.
func newMetrics(t testing.TB, now func() time.Time) (*Metrics, *logged) {
	t.Helper()
	log := &logged{}
	m := New(slog.New(slog.NewTextHandler(log, nil)), "1.2.3", now)
	t.Cleanup(sync.OnceFunc(func() {
		select {
		case <-m.closed:
		default:
			m.Close(t.Context())
		}
	}))
	return m, log
}
