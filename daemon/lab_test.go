package daemon

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata" // so that the tests do not depend on the machine's zones

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// lab is a loop in a synctest bubble: its time is the bubble's, its wall clock can be set, its runs take as long as the test says.
type lab struct {
	*testing.T
	d      *Daemon
	loop   *loop
	cfg    *config.Config
	fake   *fakeRunner
	log    logged
	cancel func()
	hup    chan os.Signal

	members func(*config.Config) *config.Config // nil: as it is

	mu     sync.Mutex
	offset time.Duration // of the wall clock from the bubble's time
	wakes  int           // readings of the clock: the loop makes one each time round
	hang   chan struct{} // if not nil, the next reading waits for it
}

// newLab makes a lab whose wall clock shows start.
func newLab(t *testing.T, start string, list ...config.Job) *lab {
	t.Helper()
	b := &lab{T: t, hup: make(chan os.Signal, 1), cfg: &config.Config{
		Timezone: time.UTC, Parallel: 2, StateDir: t.TempDir(), RuntimeDir: t.TempDir(), Jobs: list, Files: []string{"/etc/btrkeep/btrkeep.toml"},
	}}
	b.set(start)
	b.fake = &fakeRunner{b: b, takes: map[string]time.Duration{}, saves: true}
	b.d = &Daemon{
		ConfigPath: "/etc/btrkeep/btrkeep.toml",
		Load:       func() (*config.Config, error) { return b.cfg, nil },
		Runner:     func(cfg *config.Config) Runner { return &fakeOf{b.fake, cfg} },
		Log:        slog.New(slog.NewTextHandler(&b.log, nil)),
		Clock:      b.clock,
	}
	return b
}

// start begins the loop, with the state that an earlier one left.
func (b *lab) start() {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	b.loop = b.d.newLoop(b.hup)
	b.loop.groups.members = b.members
	go b.loop.run(ctx, b.cfg)
	b.cancel = cancel
	synctest.Wait()
}

// stop ends the loop and waits for it.
func (b *lab) stop() {
	b.cancel()
	<-b.loop.gone
	synctest.Wait()
}

// pass lets time go by.
func (b *lab) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// passTo lets time go by until the wall clock shows a time.
func (b *lab) passTo(text string) { b.pass(instant(b.T, text).Sub(b.clockNow())) }

// set sets the wall clock; no time goes by.
func (b *lab) set(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.offset = instant(b.T, text).Sub(time.Now().Round(0))
}

// clockNow is the wall clock, not counted as a wake.
func (b *lab) clockNow() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Round(0).Add(b.offset)
}

func (b *lab) clock() jobs.Clock {
	b.mu.Lock()
	b.wakes++
	hang := b.hang
	b.mu.Unlock()
	if hang != nil {
		<-hang
	}
	return jobs.Clock{Wall: b.clockNow()}
}

func (b *lab) woken() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.wakes
	b.wakes = 0
	return n
}

// want fails the test unless just these runs were begun since it was asked last: "15:04:05 job trigger", the time in the configured zone.
func (b *lab) want(runs ...string) {
	b.Helper()
	if got := b.fake.taken(); !slices.Equal(got, runs) {
		b.Errorf("runs:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(runs, "\n  "))
	}
}

// fakeRunner does what jobs.Runner does to the daemon: it takes time, ends with the context, and leaves the time of the run in the state.
type fakeRunner struct {
	b *lab

	mu       sync.Mutex
	begun    []string
	groups   []string // members that were run together
	under    int      // running now
	most     int      // at once, ever
	takes    map[string]time.Duration
	saves    bool // the state
	stubborn bool // does not end with the context
	panics   string
	causes   []error
}

// fakeOf is the runner for one configuration.
type fakeOf struct {
	*fakeRunner
	cfg *config.Config
}

func (f *fakeOf) Run(ctx context.Context, job config.Job, o jobs.Options) jobs.Record {
	f.mu.Lock()
	f.begun = append(f.begun, o.Clock.Wall.In(f.cfg.Timezone).Format("15:04:05")+" "+job.Name+" "+o.Trigger)
	f.under++
	f.most = max(f.most, f.under)
	takes, saves, stubborn, panics := f.takes[job.Name], f.saves, f.stubborn, f.panics
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.under--
	}()
	if panics != "" {
		panic(panics)
	}
	rec := jobs.Record{Job: job.Name, Trigger: o.Trigger, Started: o.Clock.Wall, Result: jobs.ResultOK}
	switch {
	case stubborn:
		time.Sleep(takes)
	default:
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			f.mu.Lock()
			f.causes = append(f.causes, context.Cause(ctx))
			f.mu.Unlock()
			rec.Result, rec.Error = jobs.ResultFailed, context.Cause(ctx).Error()
		}
	}
	if saves {
		s, err := jobs.LoadState(f.cfg.StateDir, job)
		if err != nil {
			f.b.Error(err)
		}
		s.LastRun, s.LastResult = o.Clock.Wall, rec.Result
		if err := s.Save(f.cfg.StateDir); err != nil {
			f.b.Error(err)
		}
	}
	return rec
}

func (f *fakeOf) RunGroup(ctx context.Context, members []config.Job, o jobs.Options, each func(config.Job, func() jobs.Record)) {
	f.mu.Lock()
	var names []string
	for _, m := range members {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	f.groups = append(f.groups, strings.Join(names, " "))
	f.mu.Unlock()
	var wg sync.WaitGroup
	for _, job := range members {
		own := o
		own.Trigger = cmp.Or(o.Triggers[job.Name], o.Trigger)
		wg.Go(func() { each(job, func() jobs.Record { return f.Run(ctx, job, own) }) })
	}
	wg.Wait()
}

func (f *fakeRunner) taken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	begun := f.begun
	f.begun = nil
	for from := 0; from < len(begun); { // runs that begin together do so in any order
		to := from
		for to < len(begun) && begun[to][:8] == begun[from][:8] {
			to++
		}
		slices.Sort(begun[from:to])
		from = to
	}
	return begun
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

func job(t testing.TB, name, schedule string) config.Job {
	t.Helper()
	j := config.Job{Name: name, Source: "/" + name, SnapshotDir: "/" + name + "/.btrkeep", CatchUp: true}
	if schedule != "" {
		s, err := config.ParseSchedule(schedule)
		if err != nil {
			t.Fatal(err)
		}
		j.Schedule = s
	}
	return j
}

func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}
