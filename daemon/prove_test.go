package daemon

import (
	"context"
	"errors"
	"fmt"
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

// prover stands in for the verifies and drills of package jobs.
type prover struct {
	b *lab

	mu      sync.Mutex
	begun   []string // "Mon 02 15:04 kind of job at destination"
	under   map[string]int
	overlap bool // of two of one job
	takes   map[config.Task]time.Duration
	away    map[string]bool            // destinations
	results map[string]jobs.TaskResult // by destination
	panics  bool
	causes  []error
}

// proving has the lab's daemon verify and drill.
func (b *lab) proving() *prover {
	p := &prover{b: b, under: map[string]int{}, takes: map[config.Task]time.Duration{}, away: map[string]bool{}, results: map[string]jobs.TaskResult{}}
	b.d.Tasks = map[config.Task]Task{}
	for _, kind := range []config.Task{config.TaskVerify, config.TaskDrill} {
		b.d.Tasks[kind] = func(ctx context.Context, cfg *config.Config, job config.Job, destination string, clock jobs.Clock) jobs.TaskResult {
			return p.do(ctx, kind, cfg, job, destination, clock)
		}
	}
	return p
}

func (p *prover) do(ctx context.Context, kind config.Task, cfg *config.Config, job config.Job, destination string, clock jobs.Clock) jobs.TaskResult {
	p.mu.Lock()
	if p.away[destination] {
		p.mu.Unlock()
		return jobs.TaskResult{Result: jobs.ResultAbsent, Error: destination + " is not mounted"}
	}
	p.begun = append(p.begun, clock.Wall.In(cfg.Timezone).Format("Mon 02 15:04")+" "+key{job.Name, kind}.String()+" at "+destination)
	p.under[job.Name]++
	p.overlap = p.overlap || p.under[job.Name] > 1
	takes, panics := p.takes[kind], p.panics
	r, ok := p.results[destination]
	if !ok {
		r = jobs.TaskResult{Result: jobs.ResultOK}
	}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.under[job.Name]--
	}()
	if panics {
		panic("index out of range")
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		p.mu.Lock()
		p.causes = append(p.causes, context.Cause(ctx))
		p.mu.Unlock()
		if r.Result == jobs.ResultOK {
			r.Result, r.Error = jobs.ResultFailed, context.Cause(ctx).Error()
		}
	}
	r.Seconds = takes.Seconds()
	return r
}

// want fails the test unless just these were begun since it was asked last.
func (p *prover) want(begun ...string) {
	p.b.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(p.begun, begun) {
		p.b.Errorf("begun:\n  %s\nwant:\n  %s", strings.Join(p.begun, "\n  "), strings.Join(begun, "\n  "))
	}
	p.begun = nil
	if p.overlap {
		p.b.Error("two of one job at once")
	}
}

// set changes what the prover does next.
func (p *prover) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// proved is a job with destinations, a verify and a drill; "" for none.
func proved(t testing.TB, name, run, verify, drill string, destinations ...string) config.Job {
	t.Helper()
	j := job(t, name, run)
	j.Verify.Schedule, j.Drill.Schedule = job(t, "", verify).Schedule, job(t, "", drill).Schedule
	for _, d := range destinations {
		j.Destinations = append(j.Destinations, config.Destination{Name: d, URL: "/mnt/" + d + "/" + name})
	}
	return j
}

func (b *lab) state(j config.Job) jobs.State {
	b.Helper()
	s, err := jobs.LoadState(b.cfg.StateDir, j)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// A month: verified every Sunday, at both destinations; drilled every ten days, at one after the other. Off over the second Sunday and the second
// drill: each is made up for once, soon after.
func TestProveMonth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := proved(t, "home", "30 */6 * * *", "0 4 * * 0", "0 5 1,11,21 * *", "nas", "usb")
		home.CatchUp = false // this is about runs
		b := newLab(t, "2026-10-31T12:00:00Z", home)
		p := b.proving()
		p.takes[config.TaskVerify], p.takes[config.TaskDrill] = 10*time.Minute, 5*time.Minute
		b.start()
		b.passTo("2026-11-07T12:00:00Z")
		b.stop()
		p.want("Sun 01 04:00 verify of home at nas", "Sun 01 04:10 verify of home at usb", "Sun 01 05:00 drill of home at nas")
		b.set("2026-11-12T18:00:00Z")
		b.start()
		b.passTo("2026-11-21T12:00:00Z")
		p.want("Thu 12 18:00 verify of home at nas", "Thu 12 18:10 verify of home at usb", "Thu 12 18:20 drill of home at usb",
			"Sun 15 04:00 verify of home at nas", "Sun 15 04:10 verify of home at usb", "Sat 21 05:00 drill of home at nas")
		b.stop()
		b.start() // a restart repeats nothing
		b.passTo("2026-11-30T12:00:00Z")
		b.stop()
		p.want("Sun 22 04:00 verify of home at nas", "Sun 22 04:10 verify of home at usb", "Sun 29 04:00 verify of home at nas", "Sun 29 04:10 verify of home at usb")

		s := b.state(home)
		want := map[config.Task]jobs.Proof{
			config.TaskVerify: {Last: instant(t, "2026-11-29T04:10:00Z"), LastSuccess: instant(t, "2026-11-29T04:10:00Z"), Result: jobs.ResultOK, Seconds: 600},
			config.TaskDrill:  {Last: instant(t, "2026-11-12T18:20:00Z"), LastSuccess: instant(t, "2026-11-12T18:20:00Z"), Result: jobs.ResultOK, Seconds: 300},
		}
		if diff := cmp.Diff(want, map[config.Task]jobs.Proof(s.Destinations["/mnt/usb/home"].Proofs)); diff != "" {
			t.Errorf("remembered of usb (-want +got):\n%s", diff)
		}
		if last := s.Tasks[config.TaskVerify].Last; !last.Equal(instant(t, "2026-11-29T04:00:00Z")) {
			t.Errorf("last verify %v", last)
		}
	})
}

// A machine that is on two hours a day, never when its backups are to be verified: it is done on the second day, as it is for runs.
func TestProveFirstSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T18:00:00Z", proved(t, "home", "", "30 2 * * *", "", "usb"))
		p := b.proving()
		for _, day := range []string{"23", "24", "25"} {
			b.set("2026-11-" + day + "T18:00:00Z")
			b.start()
			b.pass(2 * time.Hour)
			b.stop()
		}
		p.want("Tue 24 18:00 verify of home at usb", "Wed 25 18:00 verify of home at usb")
	})
}

// The run that is due at the same time goes first; those that fall due while the verify goes on begin on time, also where one run at once is the limit.
func TestProveDelaysNoRun(t *testing.T) {
	for _, parallel := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			home, srv := proved(t, "home", "@hourly", "0 4 * * *", "", "usb"), proved(t, "srv", "30 * * * *", "", "", "usb")
			b := newLab(t, "2026-11-23T03:59:00Z", home, srv)
			b.cfg.Parallel = parallel
			b.fake.takes["home"] = 10 * time.Minute
			p := b.proving()
			p.takes[config.TaskVerify] = 3 * time.Hour
			b.start()
			b.passTo("2026-11-23T07:20:00Z")
			b.want("04:00:00 home schedule", "04:30:00 srv schedule", "05:00:00 home schedule", "05:30:00 srv schedule", "06:00:00 home schedule",
				"06:30:00 srv schedule", "07:00:00 home schedule")
			p.want("Mon 23 04:10 verify of home at usb")
			b.stop()
		})
	}
}

// Verifies and drills leave room for runs: all that is due at once begins as far as `parallel` goes, runs first.
func TestProveParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T03:59:00Z",
			proved(t, "a", "", "0 4 * * *", "", "usb"), proved(t, "b", "0 4 * * *", "0 4 * * *", "0 4 * * *", "usb"), proved(t, "c", "", "0 4 * * *", "", "usb"))
		b.fake.takes["b"] = 20 * time.Minute
		p := b.proving()
		p.takes[config.TaskVerify], p.takes[config.TaskDrill] = 30*time.Minute, 30*time.Minute
		b.start()
		b.passTo("2026-11-23T04:10:00Z")
		s := b.loop.status()
		var steps []string
		for _, r := range s.Running {
			steps = append(steps, r.Job+" "+r.Step+" "+r.Destination)
		}
		if diff := cmp.Diff([]string{"a verify usb", "b check "}, steps); diff != "" || len(s.Waiting) != 0 {
			t.Errorf("running (-want +got):\n%s\nwaiting: %q", diff, s.Waiting)
		}
		if line := b.loop.summary(b.clockNow()); !strings.HasPrefix(line, "2 running, 3 waiting, next b at 2026-11-24 04:00") {
			t.Errorf("summary %q", line)
		}
		b.passTo("2026-11-23T12:00:00Z")
		b.stop()
		b.want("04:00:00 b schedule")
		p.want("Mon 23 04:00 verify of a at usb", "Mon 23 04:20 verify of b at usb", "Mon 23 04:30 verify of c at usb", "Mon 23 04:50 drill of b at usb")
	})
}

// What is longer than its interval follows itself, and never runs twice at once.
func TestProveLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T03:30:00Z", proved(t, "home", "", "@hourly", "", "usb"))
		p := b.proving()
		p.takes[config.TaskVerify] = 150 * time.Minute
		b.start()
		b.woken()
		b.passTo("2026-11-23T08:00:00Z")
		if n := b.woken(); n > 2*60*5 {
			t.Errorf("%d wakes in less than five hours", n)
		}
		b.stop()
		p.want("Mon 23 04:00 verify of home at usb", "Mon 23 06:30 verify of home at usb")
	})
}

// A destination that is not there is verified when it is back, the others are not verified again with it; also when the daemon was restarted meanwhile.
func TestProveAbsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := proved(t, "home", "15 12 * * *", "0 4 * * 0", "", "nas", "usb")
		b := newLab(t, "2026-11-01T03:59:00Z", home)
		p := b.proving()
		p.away["usb"] = true
		b.start()
		b.passTo("2026-11-01T10:30:00Z")
		p.want("Sun 01 04:00 verify of home at nas")
		if n := strings.Count(b.log.String(), "verify of usb: not now, but as soon as it can be: usb is not mounted"); n != 1 {
			t.Errorf("logged %d times in six hours:\n%s", n, &b.log)
		}
		b.stop()
		if owed := b.state(home).Tasks[config.TaskVerify].Owed; !slices.Equal(owed, []string{"usb"}) {
			t.Errorf("owed: %q", owed)
		}
		b.start()
		b.passTo("2026-11-01T12:00:00Z")
		p.set(func() { p.away["usb"] = false })
		b.passTo("2026-11-01T12:20:00Z") // the run at 12:15 has found it
		p.want("Sun 01 12:15 verify of home at usb")
		b.pass(24 * time.Hour)
		b.stop()
		p.want()
		if s := b.state(home).Tasks[config.TaskVerify]; len(s.Owed) > 0 || !s.Last.Equal(instant(t, "2026-11-01T04:00:00Z")) {
			t.Errorf("%+v", s)
		}
	})
}

// While the next to be drilled is away, the one after it is. While all are, the drill stays due.
func TestDrillAbsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := proved(t, "home", "", "", "@daily", "nas", "usb")
		b := newLab(t, "2026-11-01T23:59:00Z", home)
		p := b.proving()
		p.away["nas"] = true
		b.start()
		b.passTo("2026-11-03T12:00:00Z")
		p.want("Mon 02 00:00 drill of home at usb", "Tue 03 00:00 drill of home at usb")
		p.set(func() { p.away["usb"] = true })
		b.passTo("2026-11-05T12:10:00Z")
		p.want()
		b.stop()
		b.start()
		b.pass(time.Second)
		p.set(func() { p.away["nas"], p.away["usb"] = false, false })
		b.pass(2 * time.Hour)
		p.want("Thu 05 13:10 drill of home at nas")
		b.stop()
	})
}

// SIGTERM in the middle: it ends at once, what it had done counts, the rest is made up for after the next start.
func TestProveStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := proved(t, "home", "", "0 4 * * 0", "0 4 * * 0", "cloud", "nas", "usb")
		b := newLab(t, "2026-11-01T03:59:00Z", home)
		p := b.proving()
		p.takes[config.TaskVerify] = time.Hour
		p.results["nas"] = jobs.TaskResult{Result: jobs.ResultFailed, Problems: 1, Findings: []string{"20261101T000000Z: file: other content"}, Damaged: []string{"20261101T000000Z"}}
		b.start()
		b.passTo("2026-11-01T05:30:00Z")
		before := time.Now()
		b.stop()
		if took := time.Since(before); took > 0 {
			t.Errorf("the stop took %v", took)
		}
		if n := len(p.causes); n != 1 || !errors.Is(p.causes[0], errStopping) {
			t.Errorf("ended because of %v", p.causes)
		}
		p.want("Sun 01 04:00 verify of home at cloud", "Sun 01 05:00 verify of home at nas")
		s := b.state(home)
		if s.Tasks[config.TaskVerify].Last.IsZero() || !slices.Equal(s.Tasks[config.TaskVerify].Owed, []string{"nas", "usb"}) || !s.Tasks[config.TaskDrill].Last.IsZero() {
			t.Errorf("remembered: %+v", s.Tasks)
		}
		// What was found by then is known, what was not looked at is not.
		if n := s.Destinations["/mnt/nas/home"].Proofs[config.TaskVerify]; n.Result != jobs.ResultFailed || n.Problems != 1 {
			t.Errorf("remembered of nas: %+v", n)
		}
		if u, ok := s.Destinations["/mnt/usb/home"]; ok {
			t.Errorf("remembered of usb: %+v", u)
		}
		b.set("2026-11-02T10:00:00Z")
		b.start()
		b.pass(3 * time.Hour)
		b.stop()
		p.want("Mon 02 10:00 drill of home at cloud", "Mon 02 10:00 verify of home at nas", "Mon 02 11:00 verify of home at usb")
	})
}

// A first verify that is cut short is due again after the next start.
func TestProveStopFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := proved(t, "home", "", "0 4 * * 0", "", "usb")
		b := newLab(t, "2026-11-01T03:59:00Z", home)
		p := b.proving()
		p.takes[config.TaskVerify] = 5 * time.Hour
		for _, start := range []string{"2026-11-01T03:59:00Z", "2026-11-02T18:00:00Z", "2026-11-03T18:00:00Z"} {
			b.set(start)
			b.start()
			b.pass(2 * time.Hour)
			b.stop()
		}
		p.want("Sun 01 04:00 verify of home at usb", "Mon 02 18:00 verify of home at usb", "Tue 03 18:00 verify of home at usb")
		if len(b.state(home).Destinations) != 0 || strings.Contains(b.log.String(), "level=ERROR") {
			t.Errorf("%+v\n%s", b.state(home), &b.log)
		}
	})
}

func TestProveReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-01T03:30:00Z", proved(t, "home", "", "@hourly", "", "usb"), proved(t, "srv", "", "@hourly", "", "usb"), job(t, "www", ""))
		p := b.proving()
		p.takes[config.TaskVerify] = 20 * time.Minute
		b.cfg.Parallel = 1
		b.start()
		b.passTo("2026-11-01T04:10:00Z")
		p.want("Sun 01 04:00 verify of home at usb")
		// home's goes on and is its last; srv's waits and goes; www gets both, and is not due for the years before.
		less := *b.cfg
		less.Jobs = []config.Job{proved(t, "home", "", "", "", "usb"), job(t, "srv", ""), proved(t, "www", "", "@hourly", "30 * * * *", "usb")}
		before := b.cfg
		b.cfg = &less
		b.hup <- nil
		b.passTo("2026-11-01T06:15:00Z")
		p.want("Sun 01 04:30 drill of www at usb", "Sun 01 05:00 verify of www at usb", "Sun 01 05:30 drill of www at usb", "Sun 01 06:00 verify of www at usb")
		if len(p.causes) != 0 || b.state(before.Jobs[0]).Destinations["/mnt/usb/home"].Proofs[config.TaskVerify].Result != jobs.ResultOK {
			t.Errorf("cut short: %v, %+v", p.causes, b.state(before.Jobs[0]))
		}
		// A reload in the middle of a verify begins no second one.
		for range 3 {
			b.hup <- nil
			b.pass(time.Minute)
		}
		p.want()
		b.cfg = before
		b.hup <- nil
		b.passTo("2026-11-01T06:50:00Z")
		p.want("Sun 01 06:20 verify of srv at usb", "Sun 01 06:40 verify of home at usb")
		b.stop()
	})
}

// What was found is noted when the job's lock is free: a run of the daemon, or of someone else, is waited for.
func TestProveNote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := proved(t, "home", "5 4 * * *", "0 4 * * *", "", "usb")
		b := newLab(t, "2026-11-01T03:59:00Z", home)
		b.fake.takes["home"] = time.Hour
		p := b.proving()
		p.takes[config.TaskVerify] = 10 * time.Minute
		noted := func() bool { return len(b.state(home).Destinations["/mnt/usb/home"].Proofs) > 0 }
		b.start()
		b.passTo("2026-11-01T04:30:00Z")
		if noted() {
			t.Error("noted under a run")
		}
		b.passTo("2026-11-01T05:06:00Z")
		if !noted() {
			t.Error("not noted after the run")
		}
		unlock, err := jobs.Lock(filepath.Join(b.cfg.RuntimeDir, "home.lock"), jobs.Holder{PID: os.Getpid(), Job: "home"})
		if err != nil {
			t.Fatal(err)
		}
		last := func() time.Time { return b.state(home).Tasks[config.TaskVerify].Last }
		b.fake.takes["home"] = time.Minute
		b.woken()
		b.passTo("2026-11-02T05:00:00Z")
		if n := b.woken(); n > 2*60*25 {
			t.Errorf("%d wakes in a day", n)
		}
		if got := last(); got.Day() != 1 {
			t.Errorf("noted %v under the lock of another", got)
		}
		unlock()
		b.pass(time.Minute)
		if got := last(); got.Day() != 2 {
			t.Errorf("noted %v when the lock was free", got)
		}
		b.stop()
	})
}

func TestProveLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-01T03:59:00Z", proved(t, "home", "", "0 4 * * *", "0 5 * * *", "nas", "usb"))
		p := b.proving()
		p.takes[config.TaskVerify], p.takes[config.TaskDrill] = 250*time.Second, 90*time.Second
		bad := jobs.TaskResult{Result: jobs.ResultFailed, Problems: 40, Hint: "look at the disk"}
		for i := range 40 {
			bad.Findings = append(bad.Findings, fmt.Sprintf("20261101T000000Z: dir/%02d: other content", i))
		}
		p.results["usb"] = bad
		b.start()
		b.passTo("2026-11-01T04:30:00Z")
		p.set(func() { p.panics = true })
		b.passTo("2026-11-01T06:00:00Z")
		b.stop()
		log := b.log.String()
		for _, want := range []string{
			`level=INFO msg="verify of nas: ok in 4m10s" job=home destination=nas message_id=` + jobs.EventVerify + ` result=ok seconds=250`,
			`level=ERROR msg="verify of usb: 40 problems" job=home destination=usb message_id=` + jobs.EventVerify + ` result=failed seconds=250 hint="look at the disk"`,
			`level=ERROR msg="20261101T000000Z: dir/04: other content" job=home destination=usb`,
			`level=ERROR msg="drill of nas: failed" job=home destination=nas message_id=` + jobs.EventDrill + ` result=failed seconds=0 error="panic: index out of range"`,
			"prover",
		} {
			if !strings.Contains(log, want) {
				t.Errorf("the log has no\n%s", want)
			}
		}
		if strings.Contains(log, "dir/05") || t.Failed() {
			t.Errorf("log:\n%s", log)
		}
		// One mistake of ours does not come every hour.
		p.want("Sun 01 04:00 verify of home at nas", "Sun 01 04:04 verify of home at usb", "Sun 01 05:00 drill of home at nas")
	})
}

// Progress of a verify is that of the daemon's status, not that of a run of the same job.
func TestProveProgress(t *testing.T) {
	h := &hub{}
	w := h.watch()
	w.expect("home")
	h.post(jobs.Progress{Job: "home", Step: "transfer", Destination: "usb", Bytes: 1})
	h.post(jobs.Progress{Job: "home", Step: "verify", Destination: "usb", Bytes: 2})
	h.post(jobs.Progress{Job: "home", Step: "drill", Bytes: 3})
	run, verify, drill := key{"home", config.TaskRun}, key{"home", config.TaskVerify}, key{"home", config.TaskDrill}
	for k, want := range map[key]int64{run: 1, verify: 2, drill: 3} {
		if got := h.of(k); len(got) != 1 || got[0].Bytes != want {
			t.Errorf("%s: %+v", k, got)
		}
	}
	if progress, _, _ := w.take(); len(progress) != 1 || progress[0].Bytes != 1 {
		t.Errorf("who waits for the run sees %+v", progress)
	}
	h.post(jobs.Progress{Job: "home", Step: "prune"})
	h.forget(run)
	if len(h.of(run)) != 0 || len(h.of(verify)) != 1 {
		t.Error("the end of the run is the end of the verify")
	}
}
