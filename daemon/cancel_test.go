package daemon

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

func (b *lab) cancelJob(name string) (err error) {
	b.Helper()
	if e := b.loop.call(b.Context(), func() { err = b.loop.cancel(name, "ann") }); e != nil {
		b.Fatal(e)
	}
	synctest.Wait()
	return err
}

// A run that is cancelled ends, and is made again at its next time, not before; nor is one that only waited for its turn.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T11:59:00Z", job(t, "home", "@hourly"), job(t, "srv", "@hourly"))
		b.cfg.Parallel = 1
		b.fake.takes["home"], b.fake.takes["srv"] = 10*time.Minute, time.Minute
		b.start()
		if err := b.cancelJob("home"); !errors.Is(err, errNotRunning) {
			t.Errorf("nothing runs: %v", err)
		}
		b.passTo("2026-11-23T12:01:00Z")
		b.want("12:00:00 home schedule")
		if err := b.cancelJob("srv"); err != nil {
			t.Error(err)
		}
		if err := b.cancelJob("home"); err != nil {
			t.Error(err)
		}
		var by *jobs.CancelledError
		if n := len(b.fake.causes); n != 1 || !errors.As(b.fake.causes[0], &by) || by.By != "ann" {
			t.Errorf("causes: %v", b.fake.causes)
		}
		b.passTo("2026-11-23T12:59:00Z")
		b.want()
		b.passTo("2026-11-23T13:11:00Z")
		b.want("13:00:00 home schedule", "13:10:00 srv schedule")
		if err := b.cancelJob("hoem"); err == nil || err.Error() != "no job is named hoem" {
			t.Errorf("unknown job: %v", err)
		}
		b.stop()
	})
}

// What is under way of the members of a group is ended together, also when one of them has ended already; and so by the name of any of them.
func TestCancelGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		machines := job(t, "m", "@hourly")
		machines.Source, machines.SnapshotDir, machines.Sources = "", "", []string{"/m/a", "/m/b", "/m/c"}
		b := newLab(t, "2026-11-23T11:59:00Z", machines)
		b.fake.takes["m:a"], b.fake.takes["m:b"], b.fake.takes["m:c"] = time.Minute, 30*time.Minute, 30*time.Minute
		b.start()
		for i, name := range []string{"m", "m:b"} {
			b.passTo([]string{"2026-11-23T12:05:00Z", "2026-11-23T13:05:00Z"}[i])
			if err := b.cancelJob(name); err != nil {
				t.Error(err)
			}
			if n := len(b.fake.causes); n != 2*(i+1) {
				t.Errorf("%s: %d were ended", name, n)
			}
		}
		b.stop()
	})
}

// A verify that is cancelled is not made up for, and one that waits for its turn can be cancelled.
func TestCancelVerify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := job(t, "home", "")
		home.Destinations = []config.Destination{{Name: "usb", URL: "/usb"}}
		home.Verify.Schedule = job(t, "", "10 12 * * *").Schedule
		b := newLab(t, "2026-11-23T12:00:00Z", home)
		began := 0
		b.d.Tasks = map[config.Task]Task{config.TaskVerify: func(ctx context.Context, _ *config.Config, _ config.Job, _ string, _ jobs.Clock) jobs.TaskResult {
			began++
			<-ctx.Done()
			return jobs.TaskResult{Result: jobs.ResultFailed, Error: "cut"}
		}}
		b.start()
		b.passTo("2026-11-23T12:20:00Z")
		if err := b.cancelJob("home"); err != nil || began != 1 {
			t.Errorf("%v %d", err, began)
		}
		b.passTo("2026-11-24T12:05:00Z")
		if began != 1 {
			t.Errorf("made up for: %d", began)
		}
		b.passTo("2026-11-24T12:11:00Z")
		if began != 2 {
			t.Errorf("the next one: %d", began)
		}
		b.stop()
	})
}

// What is paused is not started by the schedule, not even what waits for its turn already; when the pause is over, it is made once. Others go on.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home, srv, odd := job(t, "home", "@hourly"), job(t, "srv", "@hourly"), job(t, "odd", "@hourly")
		odd.CatchUp = false
		b := newLab(t, "2026-11-23T11:59:00Z", home, odd, srv)
		b.cfg.Parallel = 1
		b.fake.takes["home"] = 10 * time.Minute
		pause := func(name string, p *jobs.Paused) {
			t.Helper()
			for _, j := range b.cfg.Jobs {
				if j.Name == name {
					if _, err := jobs.SetPause(b.cfg, j, "", p, b.clockNow()); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		b.start()
		b.passTo("2026-11-23T12:05:00Z")
		b.want("12:00:00 home schedule")
		pause("srv", &jobs.Paused{Since: b.clockNow()})
		pause("odd", &jobs.Paused{Since: b.clockNow(), Until: b.clockNow().Add(3 * time.Hour)})
		b.woken()
		b.passTo("2026-11-23T14:30:00Z")
		b.want("13:00:00 home schedule", "14:00:00 home schedule")
		if n := b.woken(); n > 2*60*2+60 {
			t.Errorf("%d times round in two hours and a half", n)
		}
		pause("srv", nil)
		b.passTo("2026-11-23T14:59:00Z")
		b.want("14:30:30 srv catch-up")
		b.passTo("2026-11-23T15:59:00Z") // odd, whose pause has ended, makes up for nothing
		b.want("15:00:00 home schedule", "15:10:00 srv schedule")
		b.passTo("2026-11-23T16:11:00Z")
		b.want("16:00:00 home schedule", "16:10:00 odd schedule", "16:10:00 srv schedule")
		b.stop()
	})
}

// Over the socket: who cancels is told when nothing runs, and the client of the run how it ended.
func TestControlCancel(t *testing.T) {
	f := goLive(t, "home", "srv")
	if err := f.dial(t).Cancel(t.Context(), "home", "ann"); !errors.Is(err, ErrIdle) || !strings.Contains(err.Error(), "job home: it is not running") || jobs.Hint(err) == "" {
		t.Errorf("%v (hint %s)", err, jobs.Hint(err))
	}
	if err := f.dial(t).Cancel(t.Context(), "hoem", "ann"); !errors.Is(err, ErrUnknownJob) {
		t.Error(err)
	}
	out := f.ask(t, t.Context(), nil, "home")
	<-f.begun
	held := <-f.ask(t, t.Context(), nil, "home")
	if len(held.records) != 1 || !held.records[0].Locked {
		t.Errorf("asked for a job that runs: %+v", held)
	}
	if err := f.dial(t).Cancel(t.Context(), "home", "ann & co"); err != nil {
		t.Error(err)
	}
	o := <-out
	if o.err != nil || len(o.records) != 1 || o.records[0].Error != "cancelled by ann & co" {
		t.Errorf("%+v", o)
	}
	if _, err := jobs.SetPause(f.cfg, f.cfg.Jobs[0], "", &jobs.Paused{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	f.release <- struct{}{}
	if o := <-f.ask(t, t.Context(), nil); results(o) != "home skipped, srv ok" {
		t.Errorf("all, while one is paused: %s", results(o))
	}
	<-f.begun
	if err := os.RemoveAll(f.cfg.StateDir); err != nil {
		t.Error(err)
	}
}
