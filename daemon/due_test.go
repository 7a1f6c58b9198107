package daemon

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// ranAt leaves in the state that a job ran.
func ranAt(b *lab, j config.Job, text string) {
	b.Helper()
	s, err := jobs.LoadState(b.cfg.StateDir, j)
	if err != nil {
		b.Fatal(err)
	}
	s.LastRun = instant(b.T, text)
	if err := s.Save(b.cfg.StateDir); err != nil {
		b.Fatal(err)
	}
}

func TestOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T11:56:07.5Z", job(t, "home", "@hourly"), job(t, "srv", "15 * * * *"), job(t, "hand", ""))
		b.start()
		b.passTo("2026-11-23T14:20:00Z")
		b.stop()
		b.want("12:00:00 home schedule", "12:15:00 srv schedule", "13:00:00 home schedule", "13:15:00 srv schedule", "14:00:00 home schedule", "14:15:00 srv schedule")
	})
}

// Off across three due times: one run soon after the start, then as usual.
func TestCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := job(t, "home", "@hourly")
		b := newLab(t, "2026-11-23T14:20:00Z", home)
		ranAt(b, home, "2026-11-23T11:00:00Z")
		b.start()
		b.pass(time.Second)
		b.want("14:20:00 home catch-up")
		b.passTo("2026-11-23T16:10:00Z")
		b.stop()
		b.want("15:00:00 home schedule", "16:00:00 home schedule")
	})
}

func TestNoCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := job(t, "home", "@hourly")
		home.CatchUp = false
		b := newLab(t, "2026-11-23T14:20:00Z", home)
		ranAt(b, home, "2026-11-23T11:00:00Z")
		b.start()
		b.passTo("2026-11-23T15:10:00Z")
		b.want("15:00:00 home schedule")
		if n := strings.Count(b.log.String(), "missed 2026-11-23 12:00"); n != 1 {
			t.Errorf("logged %d times that a run was dropped:\n%s", n, &b.log)
		}
		b.stop()
		// Up again a minute after a due time, two others before it missed: that one is not.
		b.set("2026-11-23T18:01:00Z")
		b.start()
		b.pass(time.Second)
		b.want("18:01:00 home schedule")
		// Asleep for three hours: what was missed counts no more than when the machine was off.
		b.set("2026-11-23T21:30:00Z")
		b.passTo("2026-11-23T22:00:01Z")
		b.want("22:00:00 home schedule")
		b.stop()
	})
}

// With jitter, a time is late only when the longest delay is over.
func TestNoCatchUpJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := job(t, "home", "@hourly")
		home.CatchUp, home.Jitter = false, config.Duration(10*time.Minute)
		b := newLab(t, "2026-11-23T11:30:00Z", home)
		b.start()
		b.passTo("2026-11-24T11:30:00Z")
		b.stop()
		if got := b.fake.taken(); len(got) != 24 || strings.Contains(b.log.String(), "missed") {
			t.Errorf("%d runs in a day:\n%s", len(got), &b.log)
		}
		// Other times were missed; this one's delay is not over.
		b.cfg.Jobs[0].Jitter = config.Duration(55 * time.Minute)
		b.set("2026-11-24T20:02:00Z")
		b.start()
		b.passTo("2026-11-24T20:59:00Z")
		b.stop()
		if got := b.fake.taken(); len(got) != 1 || !strings.HasSuffix(got[0], "home schedule") {
			t.Errorf("up again two minutes after a due time: %q", got)
		}
	})
}

// A machine that is on two hours a day, never when its job is due, has its first run on the second day, and one a day from then on.
func TestFirstSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T18:00:00Z", job(t, "home", "30 2 * * *"))
		for _, day := range []string{"23", "24", "25"} {
			b.set("2026-11-" + day + "T18:00:00Z")
			b.start()
			b.pass(2 * time.Hour)
			b.stop()
		}
		b.want("18:00:00 home catch-up", "18:00:00 home catch-up")
	})
}

// Asleep: the wall clock goes on, timers do not.
func TestSuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T11:30:00Z", job(t, "home", "@hourly"))
		b.start()
		b.pass(time.Minute)
		b.set("2026-11-23T14:40:00Z")
		b.pass(recheck)
		runs := b.fake.taken()
		if len(runs) != 1 || !strings.HasSuffix(runs[0], " home catch-up") {
			t.Errorf("after waking up: %q", runs)
		}
		b.passTo("2026-11-23T15:30:00Z")
		b.want("15:00:00 home schedule")
		b.stop()
	})
}

// TROUBLE 14: the clock shows 2040 for one run, and then the right time again.
func TestClockJump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T11:30:00Z", job(t, "home", "@hourly"), job(t, "srv", "@every 45m"))
		b.start()
		b.passTo("2026-11-23T12:00:30Z")
		b.want("12:00:00 home schedule")
		b.set("2040-01-01T00:10:00Z")
		b.pass(recheck)
		if got := b.fake.taken(); len(got) != 2 {
			t.Errorf("in 2040: %q", got)
		}
		b.set("2026-11-23T12:02:00Z")
		b.passTo("2026-11-23T14:01:00Z")
		runs := strings.Join(b.fake.taken(), "\n")
		if strings.Count(runs, "home") != 2 || !strings.Contains(runs, "13:00:00 home schedule") || !strings.Contains(runs, "14:00:00 home schedule") ||
			strings.Count(runs, "srv") != 2 {
			t.Errorf("back in 2026:\n%s", runs)
		}
		b.stop()
		// The same found at the start: when the last run really was is not known, so one is made, which puts the state right.
		ranAt(b, b.cfg.Jobs[0], "2040-01-01T00:00:00Z")
		b.start()
		b.passTo("2026-11-23T15:01:00Z")
		b.stop()
		runs = strings.Join(b.fake.taken(), "\n")
		if strings.Count(runs, "home") != 2 || !strings.Contains(runs, "15:00:00 home schedule") {
			t.Errorf("started in 2026 with a last run in 2040:\n%s", runs)
		}
	})
}

// Steps such as a time service makes neither repeat nor lose a run.
func TestClockSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T11:59:00Z", job(t, "home", "@hourly"))
		b.start()
		b.passTo("2026-11-23T12:00:01Z")
		b.set("2026-11-23T11:59:10Z")
		b.pass(10 * time.Second)
		b.stop()
		ranAt(b, b.cfg.Jobs[0], "2026-11-23T12:00:30Z") // it began a little late
		b.start()
		b.passTo("2026-11-23T12:59:00Z")
		b.want("12:00:00 home schedule")
		b.set("2026-11-23T13:00:20Z")
		b.pass(recheck)
		if got := b.fake.taken(); len(got) != 1 {
			t.Errorf("stepped over 13:00: %q", got)
		}
		b.stop()
	})
}

// TROUBLE 14: a machine without a clock of its own starts in 1970 and is put right soon after: the last run counts again then.
func TestNoClockAtBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := job(t, "home", "30 2 * * *")
		b := newLab(t, "1970-01-01T00:00:10Z", home)
		ranAt(b, home, "2026-11-23T02:30:00Z")
		b.start()
		b.pass(20 * time.Second)
		b.set("2026-11-23T18:00:00Z")
		b.passTo("2026-11-24T03:00:00Z")
		b.stop()
		b.want("02:30:00 home schedule")
	})
}

func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := job(t, "home", "@hourly")
		home.Jitter = config.Duration(10 * time.Minute)
		b := newLab(t, "2026-11-23T23:59:00Z", home)
		b.start()
		b.pass(200 * time.Hour)
		b.stop()
		runs := b.fake.taken()
		if len(runs) != 200 {
			t.Fatalf("%d runs in 200 hours", len(runs))
		}
		delays := map[string]bool{}
		for i, r := range runs {
			at, err := time.Parse("15:04:05", r[:8])
			if err != nil {
				t.Fatal(err)
			}
			if at.Hour() != i%24 || at.Minute() >= 10 {
				t.Errorf("run %d: %s", i, r)
			}
			delays[r[3:8]] = true
		}
		if len(delays) < 100 {
			t.Errorf("%d different delays in 200 runs", len(delays))
		}
	})
}

// The delay is drawn once for each due time: neither wakes nor reloads draw again. A run by someone else meanwhile counts.
func TestJitterStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := job(t, "home", "@hourly")
		home.Jitter = config.Duration(50 * time.Minute)
		b := newLab(t, "2026-11-23T11:59:00Z", home)
		b.start()
		due := b.loop.tasks[0].due
		for range 20 {
			b.hup <- nil
			b.pass(time.Second)
			if now := b.loop.tasks[0].due; !now.Equal(due) {
				t.Fatalf("due at %v, then at %v", due, now)
			}
		}
		ranAt(b, home, "2026-11-23T12:00:00Z")
		b.passTo("2026-11-23T12:59:00Z")
		b.want()
		b.stop()
	})
}

func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := job(t, "home", "@every 90m")
		b := newLab(t, "2026-11-23T10:00:00.25Z", home)
		ranAt(b, home, "2026-11-23T09:00:00.75Z")
		b.start()
		b.passTo("2026-11-23T11:00:00Z")
		b.want("10:30:00 home schedule")
		if due := b.loop.tasks[0].due; due.Nanosecond() != 0 {
			t.Errorf("due at %v: the time that a start takes adds up", due)
		}
		b.stop() // and a restart in between changes nothing
		b.start()
		b.passTo("2026-11-23T15:01:00Z")
		b.stop()
		b.want("12:00:00 home schedule", "13:30:00 home schedule", "15:00:00 home schedule")
	})
}

// State that cannot be written, or a run that is refused, must not start the run over and over.
func TestNoHotLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := job(t, "home", "@hourly")
		b := newLab(t, "2026-11-23T10:30:00Z", home)
		ranAt(b, home, "2026-11-23T08:00:00Z")
		b.fake.saves = false
		b.start()
		b.passTo("2026-11-23T11:30:00Z")
		b.stop()
		b.want("10:30:00 home catch-up", "11:00:00 home schedule")
	})
}

// TROUBLE 13: over both changes of daylight saving each hour has its run, and each day one.
func TestDaylightSaving(t *testing.T) {
	for _, c := range []struct {
		zone, start string // local noon of the day before the change
		hours       int    // until noon two days later
	}{
		{"Europe/Berlin", "2026-03-28T12:00:00+01:00", 47},
		{"Europe/Berlin", "2026-10-24T12:00:00+02:00", 49},
		{"America/Sao_Paulo", "2018-11-03T12:00:00-03:00", 47},
		{"America/Sao_Paulo", "2018-02-17T12:00:00-02:00", 49},
		{"Africa/Cairo", "2024-04-25T12:00:00+02:00", 47},
		{"Africa/Cairo", "2024-10-31T12:00:00+03:00", 49},
	} {
		t.Run(c.zone+c.start[4:7], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newLab(t, c.start, job(t, "daily", "0 0 * * *"), job(t, "hourly", "@hourly"), job(t, "night", "30 2 * * *"))
				b.cfg.Timezone = zone(t, c.zone)
				b.start()
				b.pass(time.Duration(c.hours)*time.Hour - time.Minute)
				b.stop()
				count := map[string]int{}
				for _, r := range b.fake.taken() {
					count[strings.Fields(r)[1]]++
				}
				// Noon itself was not after the start; the last hour is not over.
				if got, want := fmt.Sprint(count), fmt.Sprint(map[string]int{"daily": 2, "hourly": c.hours - 1, "night": 2}); got != want {
					t.Errorf("runs until noon two days later: %s, want %s", got, want)
				}
			})
		})
	}
}

// TROUBLE 13: the machine travels: a daily run comes at its time of the new zone, and none is lost.
func TestZoneChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T11:00:00Z", job(t, "home", "0 14 * * *"))
		b.cfg.Timezone = zone(t, "Europe/Berlin")
		b.start()
		b.passTo("2026-11-23T13:30:00Z")
		b.want("14:00:00 home schedule")
		west := *b.cfg
		west.Timezone = zone(t, "America/Sao_Paulo")
		b.cfg = &west
		b.hup <- nil
		b.passTo("2026-11-24T17:30:00Z")
		b.want("14:00:00 home schedule", "14:00:00 home schedule")
		b.stop()
	})
}

func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var list []config.Job
		for i := range 200 {
			list = append(list, job(t, fmt.Sprintf("job%03d", i), fmt.Sprintf("%d 3 * * *", i%60)))
		}
		b := newLab(t, "2026-11-23T10:00:00Z", list...)
		b.start()
		b.woken()
		b.pass(time.Hour)
		if n := b.woken(); n > 3600/30+1 {
			t.Errorf("%d wakes in an hour with 200 idle jobs", n)
		}
		// Busy: every job every minute, spread by jitter. Each run adds its end.
		for i := range list {
			list[i].Schedule, list[i].Jitter = job(t, "x", "* * * * *").Schedule, config.Duration(time.Minute)
		}
		b.cfg.Parallel = 200
		b.hup <- nil
		synctest.Wait()
		b.woken()
		b.fake.taken()
		b.pass(time.Minute)
		runs := len(b.fake.taken())
		if n := b.woken(); n > 61+runs {
			t.Errorf("%d wakes in a minute for %d runs", n, runs)
		}
		b.stop()
	})
}

// BenchmarkStep is what one wake costs with 200 idle jobs.
func BenchmarkStep(b *testing.B) {
	cfg := &config.Config{Timezone: time.UTC, Parallel: 1, StateDir: b.TempDir(), RuntimeDir: b.TempDir()}
	for i := range 200 {
		cfg.Jobs = append(cfg.Jobs, job(b, fmt.Sprintf("job%03d", i), "0 0 1 1 *"))
	}
	d := &Daemon{Runner: func(*config.Config) Runner { return nil }}
	l := d.newLoop(nil)
	l.cfg = cfg
	for _, j := range cfg.Jobs {
		l.tasks = append(l.tasks, &task{job: j, kind: config.TaskRun, seen: time.Now()})
	}
	for b.Loop() {
		l.step()
	}
}
