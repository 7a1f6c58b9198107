package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// desk is a notifier whose messages are written down instead of sent.
type desk struct {
	t    *testing.T
	cfg  *config.Config
	now  time.Time
	boot time.Duration
	n    *Notifier
	logs *strings.Builder

	mu      sync.Mutex
	down    map[string]error // by way
	refused string           // the job of which nothing is taken
	told    []string
}

func newDesk(t *testing.T, notify config.Notify, names ...string) *desk {
	d := &desk{t: t, cfg: &config.Config{StateDir: t.TempDir(), Notify: notify}, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), boot: time.Hour, down: map[string]error{}, logs: &strings.Builder{}}
	for _, name := range names {
		d.cfg.Jobs = append(d.cfg.Jobs, config.Job{
			Name: name, Source: "/" + name, SnapshotDir: "/" + name + "/.btrkeep", Notify: notify,
			Destinations: []config.Destination{{Name: "usb", URL: "/mnt/" + name, MaxAge: config.Duration(14 * 24 * time.Hour)}},
		})
	}
	d.start()
	return d
}

// start begins a daemon's life.
func (d *desk) start() {
	d.n = New(slog.New(slog.NewTextHandler(d.logs, nil)), func(job string) string { return "log of " + job })
	d.n.host = "host"
	d.n.send = d.send
	d.n.Configured(d.cfg)
	d.tick()
}

func (d *desk) restart() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	d.n.Close(ctx)
	d.start()
}

func (d *desk) send(_ context.Context, e entry) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.down[e.Way]; err != nil {
		return err
	}
	if d.refused != "" && e.Message.Job == d.refused {
		return &statusError{"https://host/…", 404}
	}
	line := e.Way + ": " + e.Message.Title()
	if e.Way == byPing {
		line = fmt.Sprintf("ping: %s/%s", e.To, e.Ping)
	}
	d.told = append(d.told, line)
	return nil
}

// clock is that of a machine that was never off, unless the test moves now by itself.
func (d *desk) clock() jobs.Clock { return jobs.Clock{Wall: d.now, Boot: d.boot, ID: "boot"} }

// tick is two: what is behind something that is being sent when the first one looks has its turn with the second.
func (d *desk) tick() {
	for range 2 {
		d.n.Tick(d.clock())
		synctest.Wait()
	}
}

// pass lets time go by.
func (d *desk) pass(by time.Duration) {
	for end := d.now.Add(by); d.now.Before(end); {
		step := min(30*time.Minute, end.Sub(d.now))
		d.now, d.boot = d.now.Add(step), d.boot+step
		d.tick()
	}
}

// ran has a run of a job end, with what it leaves in the state.
func (d *desk) ran(i int, result, failure string, more func(*jobs.DestinationState)) {
	d.t.Helper()
	job := d.cfg.Jobs[i]
	d.n.Began(job, config.TaskRun, d.now)
	s, err := jobs.LoadState(d.cfg.StateDir, job)
	if err != nil {
		d.t.Fatal(err)
	}
	s.LastRun, s.LastResult, s.LastError, s.Clock = d.now, result, failure, d.clock()
	if s.FirstSeen.IsZero() {
		s.FirstSeen = d.now
	}
	to := s.Destinations[job.Destinations[0].URL]
	to.LastAttempt, to.LastResult, to.LastError = d.now, result, failure
	if result == jobs.ResultOK {
		s.LastSuccess, to.LastSuccess, to.NewestTaken, to.Newest, to.Failing = d.now, d.now, d.now, "newest", ""
	}
	if result == jobs.ResultFailed {
		to.Failing = failure
	}
	if more != nil {
		more(&to)
	}
	s.Destinations[job.Destinations[0].URL] = to
	if err := s.Save(d.cfg.StateDir); err != nil {
		d.t.Fatal(err)
	}
	r := jobs.Record{Job: job.Name, Result: result, Error: failure}
	if to.LastResult == jobs.ResultAbsent {
		r.Error, r.NotNow = "", true
	}
	d.n.Ran(job, r)
	d.tick()
}

// want compares what was told since it was asked last.
func (d *desk) want(told ...string) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.Sort(told) // the order between ways is anybody's
	slices.Sort(d.told)
	if diff := cmp.Diff(told, d.told); diff != "" {
		d.t.Errorf("told (-want +got):\n%s", diff)
	}
	d.told = nil
}

func onDesk(t *testing.T, notify config.Notify, names []string, f func(*desk)) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, notify, names...)
		f(d)
		d.n.Close(t.Context())
	})
}

var byMailDaily = config.Notify{Mail: "root", Remind: config.Duration(24 * time.Hour)}

// Told once when it breaks, reminded daily, told once when it is well again; and a restart, whenever it comes, changes nothing of that.
func TestOnce(t *testing.T) {
	for _, restart := range []bool{false, true} {
		onDesk(t, byMailDaily, []string{"home"}, func(d *desk) {
			again := func() {
				if restart {
					d.restart()
				}
			}
			d.ran(0, jobs.ResultOK, "", nil)
			d.pass(2 * time.Hour)
			d.want()
			d.ran(0, jobs.ResultFailed, "no space left", nil)
			d.want("mail: home on host: failing at usb")
			again()
			for range 23 {
				d.pass(time.Hour)
				d.ran(0, jobs.ResultFailed, "no space left on device", nil) // the same, in other words
				again()
			}
			d.want()
			d.pass(90 * time.Minute)
			d.want("mail: home on host: still failing at usb")
			again()
			d.pass(23 * time.Hour)
			d.want()
			d.pass(2 * time.Hour)
			d.want("mail: home on host: still failing at usb")
			d.ran(0, jobs.ResultOK, "", nil)
			d.want("mail: home on host: well again")
			again()
			d.pass(48 * time.Hour)
			d.want()
		})
	}
}

// An absent disk is told only when it goes stale, with how long it has been away, and the check of a run without it hears a success until then.
func TestAbsent(t *testing.T) {
	notify := byMailDaily
	notify.PingURL = "https://host/{job}"
	onDesk(t, notify, []string{"home"}, func(d *desk) {
		away := func(to *jobs.DestinationState) {
			if to.AbsentSince.IsZero() {
				to.AbsentSince = d.now
			}
		}
		d.ran(0, jobs.ResultOK, "", nil)
		d.want("ping: https://host/home/start", "ping: https://host/home/")
		for range 13 {
			d.pass(24 * time.Hour)
			d.ran(0, jobs.ResultAbsent, "", away)
			d.want("ping: https://host/home/start", "ping: https://host/home/")
		}
		d.pass(25 * time.Hour)
		d.want("mail: home on host: stale at usb")
		d.ran(0, jobs.ResultAbsent, "", away)
		d.want("ping: https://host/home/start", "ping: https://host/home/fail")
		if text := d.n.ledger.Told["home"].Problems[0].Text; !strings.Contains(text, "absent for 13 days") {
			t.Error(text)
		}
		d.ran(0, jobs.ResultOK, "", func(to *jobs.DestinationState) { to.AbsentSince = time.Time{} })
		d.want("ping: https://host/home/start", "ping: https://host/home/", "mail: home on host: well again")
	})
}

// What is wrong at once with two things is one message; what comes on top is another; and what goes while the rest stays is told as well.
func TestSeveral(t *testing.T) {
	onDesk(t, byMailDaily, []string{"home", "srv"}, func(d *desk) {
		broken := func(kind config.Task, result string) func(*jobs.DestinationState) {
			return func(to *jobs.DestinationState) {
				to.Proofs = map[config.Task]jobs.Proof{kind: {Last: d.now, Result: result, Problems: 2}}
			}
		}
		d.ran(0, jobs.ResultFailed, "x", broken(config.TaskVerify, jobs.ResultFailed))
		d.want("mail: home on host: failing at usb, damaged at usb")
		d.ran(0, jobs.ResultOK, "", nil)
		d.want("mail: home on host: still damaged at usb")
		d.ran(0, jobs.ResultFailed, "x", nil)
		d.want("mail: home on host: failing at usb, damaged at usb")
		d.ran(1, jobs.ResultFailed, "x", nil)
		d.want("mail: srv on host: failing at usb")
		d.ran(0, jobs.ResultOK, "", broken(config.TaskDrill, jobs.ResultOK))
		d.want("mail: home on host: well again")
	})
}

// What cannot be told is tried again, at longer and longer intervals, in its order, also by the next daemon; the other ways hear of it meanwhile, and it is logged once.
func TestRetry(t *testing.T) {
	notify := byMailDaily
	notify.Webhook = "https://host/secret"
	onDesk(t, notify, []string{"home"}, func(d *desk) {
		d.down[byWebhook] = errors.New("connection refused")
		d.ran(0, jobs.ResultFailed, "x", nil)
		d.want("mail: home on host: failing at usb")
		d.pass(3 * time.Hour)
		d.ran(0, jobs.ResultOK, "", nil)
		d.pass(20 * time.Minute)
		d.want("mail: home on host: well again")
		d.restart()
		d.want()
		d.down[byWebhook] = nil
		d.pass(2 * time.Hour)
		d.want("webhook: home on host: failing at usb", "webhook: home on host: well again")
		if n := strings.Count(d.logs.String(), "could not tell"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, d.logs)
		}
		if strings.Contains(d.logs.String(), "secret") {
			t.Errorf("a url in the log:\n%s", d.logs)
		}
		// It is there for a week; then nobody waits for it.
		d.down[byWebhook] = errors.New("connection refused")
		d.ran(0, jobs.ResultFailed, "x", nil)
		d.pass(9 * 24 * time.Hour)
		d.down[byWebhook] = nil
		d.mu.Lock()
		d.told = nil
		d.mu.Unlock()
		d.pass(2 * time.Hour)
		d.want("webhook: home on host: still failing at usb")
	})
}

// What a service refuses for good does not keep what comes behind it for long, and is given up after a day.
func TestRefused(t *testing.T) {
	onDesk(t, config.Notify{Webhook: "https://host/secret"}, []string{"home", "srv"}, func(d *desk) {
		d.refused = "home"
		d.ran(0, jobs.ResultFailed, "x", nil)
		d.ran(1, jobs.ResultFailed, "x", nil)
		d.want()
		d.pass(4 * time.Hour)
		d.want("webhook: srv on host: failing at usb")
		d.pass(22 * time.Hour)
		d.refused = ""
		d.pass(24 * time.Hour)
		d.want()
		if !strings.Contains(d.logs.String(), "gave up telling webhook https://host/…") {
			t.Error(d.logs)
		}
	})
}

// A disk that failed and is unplugged then is not well; a job that could not begin has not succeeded.
func TestNotWell(t *testing.T) {
	notify := byMailDaily
	notify.PingURL = "https://host/{job}"
	onDesk(t, notify, []string{"home"}, func(d *desk) {
		d.ran(0, jobs.ResultFailed, "full", nil)
		d.want("mail: home on host: failing at usb", "ping: https://host/home/1", "ping: https://host/home/start")
		d.ran(0, jobs.ResultAbsent, "", nil)
		d.want("ping: https://host/home/fail", "ping: https://host/home/start")
		d.ran(0, jobs.ResultOK, "", nil)
		d.want("mail: home on host: well again", "ping: https://host/home/", "ping: https://host/home/start")
		d.n.Began(d.cfg.Jobs[0], config.TaskRun, d.now)
		d.n.Ran(d.cfg.Jobs[0], jobs.Record{Job: "home", Result: jobs.ResultSkipped, Error: "locked", NotNow: true})
		d.tick()
		d.want("ping: https://host/home/log", "ping: https://host/home/start")
	})
}

// The end of a run is told although the daemon ends right after it, if need be by the next one.
func TestLastRun(t *testing.T) {
	for _, down := range []bool{false, true} {
		onDesk(t, config.Notify{PingURL: "https://host/{job}", Mail: "root"}, []string{"home"}, func(d *desk) {
			d.n.Began(d.cfg.Jobs[0], config.TaskRun, d.now)
			d.tick()
			if down {
				d.down[byPing] = errors.New("no route")
			}
			d.n.Ran(d.cfg.Jobs[0], jobs.Record{Job: "home", Result: jobs.ResultOK})
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			d.n.Close(ctx)
			d.down[byPing] = nil
			d.start()
			d.pass(time.Hour)
			d.want("ping: https://host/home/start", "ping: https://host/home/")
		})
	}
}

// Members of a group come and go: what was told of one is remembered while its disk is away, and a pattern that finds something again is well.
func TestMembers(t *testing.T) {
	onDesk(t, byMailDaily, []string{"m:web", "m:db"}, func(d *desk) {
		for i := range d.cfg.Jobs {
			d.cfg.Jobs[i].Group = "m"
		}
		all := d.cfg.Jobs
		d.ran(0, jobs.ResultFailed, "x", nil)
		d.want("mail: m:web on host: failing at usb")
		only := func(list ...config.Job) {
			less := *d.cfg
			less.Jobs = list
			d.cfg = &less
			d.n.Configured(d.cfg)
			d.tick()
		}
		pattern := config.Job{Name: "m:x", Group: "m", Source: "/m/*", SnapshotDir: "/m/*/.btrkeep", Notify: byMailDaily}
		only(pattern)
		s, err := jobs.LoadState(d.cfg.StateDir, pattern)
		if err != nil {
			t.Fatal(err)
		}
		s.LastRun, s.LastResult, s.Failing = d.now, jobs.ResultFailed, "nothing there"
		if err := s.Save(d.cfg.StateDir); err != nil {
			t.Fatal(err)
		}
		d.pass(time.Hour)
		d.want("mail: m:x on host: failing")
		only(all...)
		d.pass(time.Hour)
		d.want("mail: m:x on host: well again")
		d.pass(24 * time.Hour)
		d.want("mail: m:web on host: still failing at usb")
	})
}

// Pings of earlier runs, which could not be sent, are not sent once a new run has begun; those of a run that the end of the daemon has cut short say nothing.
func TestPings(t *testing.T) {
	onDesk(t, config.Notify{PingURL: "https://host/{job}"}, []string{"home"}, func(d *desk) {
		d.down[byPing] = errors.New("no route")
		d.ran(0, jobs.ResultOK, "", nil)
		d.ran(0, jobs.ResultFailed, "x", nil)
		d.down[byPing] = nil
		d.pass(time.Hour)
		d.want("ping: https://host/home/start", "ping: https://host/home/1")
		d.n.Began(d.cfg.Jobs[0], config.TaskRun, d.now)
		d.n.Ran(d.cfg.Jobs[0], jobs.Record{Job: "home", Result: jobs.ResultFailed, Error: "stopped", Stopped: true})
		d.pass(time.Hour)
		d.want("ping: https://host/home/start")
	})
}

// A configuration that was refused is told to whom [defaults] name, once, and so is that it was taken again.
func TestConfigRefused(t *testing.T) {
	onDesk(t, byMailDaily, []string{"home"}, func(d *desk) {
		d.n.Refused(errors.New("line 3: what is that"))
		d.pass(2 * time.Hour)
		d.want("mail: btrkeep on host: configuration refused")
		d.n.Configured(d.cfg)
		d.n.Refused(nil)
		d.pass(2 * time.Hour)
		d.want("mail: btrkeep on host: well again")
	})
}

// A job that leaves the configuration is forgotten, and one whose state cannot be read is told nothing of.
func TestForgotten(t *testing.T) {
	onDesk(t, byMailDaily, []string{"home", "srv"}, func(d *desk) {
		d.ran(0, jobs.ResultFailed, "x", nil)
		d.ran(1, jobs.ResultFailed, "x", nil)
		d.want("mail: home on host: failing at usb", "mail: srv on host: failing at usb")
		states, _ := filepath.Glob(d.cfg.StateDir + "/jobs/*.json")
		for _, path := range states {
			if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		less := *d.cfg
		less.Jobs = d.cfg.Jobs[:1]
		d.n.Configured(&less)
		d.pass(time.Hour)
		d.want()
		if _, ok := d.n.ledger.Told["srv"]; ok || len(d.n.ledger.Told) != 1 {
			t.Errorf("%v", d.n.ledger.Told)
		}
	})
}

// A clock that was set ahead and back keeps nobody from being reminded, and tells nothing twice.
func TestClock(t *testing.T) {
	// Nor is anything stale by a clock that jumped; when it is back all is as it was.
	onDesk(t, byMailDaily, []string{"home"}, func(d *desk) {
		d.ran(0, jobs.ResultOK, "", nil)
		d.now = d.now.AddDate(14, 0, 0)
		d.pass(time.Hour)
		d.want()
		d.now = d.now.AddDate(-14, 0, 0)
		d.pass(14*24*time.Hour + 2*time.Hour)
		d.want("mail: home on host: stale at usb")
		d.now = d.now.AddDate(0, 0, -10)
		d.pass(time.Hour)
		d.want()
	})
	onDesk(t, byMailDaily, []string{"home"}, func(d *desk) {
		d.now = d.now.AddDate(14, 0, 0)
		d.ran(0, jobs.ResultFailed, "x", nil)
		d.want("mail: home on host: failing at usb")
		d.now = d.now.AddDate(-14, 0, 0)
		d.pass(12 * time.Hour)
		d.want()
		d.pass(13 * time.Hour)
		d.want("mail: home on host: still failing at usb")
	})
}

// A file that is no longer what was written costs at most that something is told twice.
func TestDamagedFile(t *testing.T) {
	onDesk(t, byMailDaily, []string{"home"}, func(d *desk) {
		d.ran(0, jobs.ResultFailed, "x", nil)
		d.want("mail: home on host: failing at usb")
		path := filepath.Join(d.cfg.StateDir, file)
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", st, err)
		}
		for _, text := range []string{"", "null", `{"told": null, "entries": [null, {"way": "command"}, {"way": "pigeon", "message": {"job": "home"}}]}`, "[]"} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			d.restart()
			d.want("mail: home on host: failing at usb")
		}
	})
}

func TestMessageJSON(t *testing.T) {
	m := Message{
		Event: EventProblem, Job: "home", Host: "host", Time: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		Problems: []Problem{{jobs.Problem{Kind: jobs.ProblemStale, Destination: "usb", Text: "old"}, true}}, Resolved: []jobs.Problem{},
	}
	b, err := json.Marshal(m)
	const want = `{"event":"problem","job":"home","host":"host","time":"2026-11-23T12:00:00Z","problems":[{"kind":"stale","destination":"usb","text":"old","new":true}],"resolved":[]}`
	if err != nil || string(b) != want {
		t.Errorf("%v %s", err, b)
	}
}
