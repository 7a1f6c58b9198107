package daemon

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// TROUBLE 29: a run that is longer than its interval: what falls due meanwhile is one run after it, with or without catch_up.
func TestNoOverlap(t *testing.T) {
	for _, catchUp := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			home := job(t, "home", "@hourly")
			home.CatchUp = catchUp
			b := newLab(t, "2026-11-23T11:30:00Z", home)
			b.fake.takes["home"] = 150 * time.Minute
			b.start()
			b.passTo("2026-11-23T14:29:00Z")
			b.want("12:00:00 home schedule")
			b.fake.takes["home"] = time.Minute
			b.passTo("2026-11-23T15:30:00Z")
			b.want("14:30:00 home schedule", "15:00:00 home schedule")
			b.stop()
			if b.fake.most != 1 {
				t.Errorf("%d runs of one job at once", b.fake.most)
			}
		})
	}
}

// At most Parallel at once, and in the order in which they fell due.
func TestParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T11:58:00Z",
			job(t, "a", "3 12 * * *"), job(t, "b", "2 12 * * *"), job(t, "c", "1 12 * * *"), job(t, "d", "0 12 * * *"), job(t, "e", "59 11 * * *"))
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			b.fake.takes[name] = 10 * time.Minute
		}
		b.start()
		b.passTo("2026-11-23T12:05:00Z")
		if diff := cmp.Diff([]string{"c", "b", "a"}, b.loop.status().Waiting); diff != "" {
			t.Errorf("waiting (-want +got):\n%s", diff)
		}
		b.passTo("2026-11-23T13:00:00Z")
		b.want("11:59:00 e schedule", "12:00:00 d schedule", "12:09:00 c schedule", "12:10:00 b schedule", "12:19:00 a schedule")
		b.stop()
		if b.fake.most != 2 {
			t.Errorf("%d runs at once", b.fake.most)
		}
		// After two days off, all five were missed: still in that order, still two at a time.
		b.set("2026-11-25T13:00:00Z")
		b.start()
		b.pass(time.Hour)
		b.stop()
		b.want("13:00:00 d catch-up", "13:00:00 e catch-up", "13:10:00 b catch-up", "13:10:00 c catch-up", "13:20:00 a catch-up")
	})
}

func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := job(t, "home", "@hourly")
		b := newLab(t, "2026-11-23T11:30:00Z", home)
		b.fake.panics = "index out of range"
		b.start()
		b.passTo("2026-11-23T12:30:00Z")
		b.fake.panics = ""
		b.passTo("2026-11-23T13:30:00Z")
		b.stop()
		b.want("12:00:00 home schedule", "13:00:00 home schedule")
		past, err := jobs.History(b.cfg.StateDir, "home")
		if err != nil || len(past) != 1 || past[0].Result != jobs.ResultFailed || past[0].Error != "panic: index out of range" {
			t.Errorf("history %+v, %v", past, err)
		}
		if log := b.log.String(); !strings.Contains(log, "panic: index out of range") || !strings.Contains(log, "fakeOf") {
			t.Errorf("no stack in the log:\n%s", log)
		}
	})
}

// Runs that were asked for: a job that runs is refused and its holder named, one that waits is not queued twice.
func TestRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T11:30:00Z", job(t, "hand", ""), job(t, "home", "@hourly"), job(t, "srv", "@daily"))
		b.cfg.Parallel = 1
		b.fake.takes["home"], b.fake.takes["srv"] = time.Minute, time.Minute
		b.start()
		ask := func(names ...string) *watch {
			var w *watch
			var refused error
			if err := errors.Join(b.loop.call(t.Context(), func() { w, refused = b.loop.request(names) }), refused); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return w
		}
		ended := func(w *watch) (text string) {
			_, records, more := w.take()
			for _, r := range records {
				text += r.Job + " " + r.Result + " "
			}
			if more {
				text += "…"
			}
			return text
		}
		b.passTo("2026-11-23T12:00:10Z")
		first := ask()
		second := ask("srv", "srv", "home")
		_, records, _ := second.take()
		if len(records) != 1 || records[0].Result != jobs.ResultSkipped || !records[0].NotNow || jobs.ExitStatus(records) != 75 ||
			!strings.Contains(records[0].Error, "home.lock is locked by process ") {
			t.Errorf("asked for a job that runs: %+v", records)
		}
		b.pass(time.Hour)
		if got := ended(first); got != "home skipped hand ok srv ok " {
			t.Errorf("all: %q", got)
		}
		if got := ended(second); got != "srv ok " {
			t.Errorf("srv and home: %q", got)
		}
		b.want("12:00:00 home schedule", "12:01:00 hand command", "12:01:00 srv command", "13:00:00 home schedule")

		var err error
		_ = b.loop.call(t.Context(), func() { _, err = b.loop.request([]string{"srv", "hoem"}) })
		if err == nil || err.Error() != "no job is named hoem" {
			t.Errorf("unknown job: %v", err)
		}
		b.stop()
	})
}

// While a transfer is under way there is a line in the log every five minutes, and no other.
func TestProgressLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T11:59:59Z", job(t, "home", "0 12 * * *"))
		b.fake.takes["home"] = 21 * time.Minute
		b.start()
		b.pass(time.Second)
		started := time.Now()
		before := len(b.log.String())
		for i := range int64(20 * 60) {
			b.d.Progress(jobs.Progress{Job: "home", Step: "transfer", Destination: "usb", Snapshot: "20261123T120000Z", Bytes: i << 20, Estimate: 20 << 30, Started: started})
			b.pass(time.Second)
		}
		lines := strings.Split(strings.TrimSpace(b.log.String()[before:]), "\n")
		b.pass(time.Hour)
		if left := b.d.progress.of(key{"home", config.TaskRun}); len(left) > 0 {
			t.Errorf("left of a run that has ended: %+v", left)
		}
		b.stop()
		if len(lines) < 3 || len(lines) > 4 {
			t.Errorf("%d lines in twenty minutes:\n%s", len(lines), strings.Join(lines, "\n"))
		}
		if want := `msg="usb: sending 20261123T120000Z: 299 MiB of about 20 GiB in 5m0s, 0.997 MiB/s" job=home destination=usb`; !strings.Contains(lines[0], want) {
			t.Errorf("line\n%s\nwithout\n%s", lines[0], want)
		}
	})
}

func TestSize(t *testing.T) {
	for bytes, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "0.977 KiB", 1536: "1.5 KiB", 299 << 20: "299 MiB", 1023 << 20: "0.999 GiB", 20 << 30: "20 GiB", 1<<63 - 1: "8 EiB",
	} {
		if got := size(bytes); got != want {
			t.Errorf("%d: %s, want %s", bytes, got, want)
		}
	}
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T11:59:00Z", job(t, "a", "@hourly"), job(t, "b", "@hourly"), job(t, "c", "@hourly"))
		for _, name := range []string{"a", "b", "c"} {
			b.fake.takes[name] = 10 * time.Hour
		}
		b.start()
		b.passTo("2026-11-23T12:00:00Z")
		var w *watch
		if err := b.loop.call(t.Context(), func() { w, _ = b.loop.request([]string{"c"}) }); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		b.stop()
		if took := time.Since(before); took > 0 {
			t.Errorf("the stop took %v", took)
		}
		b.want("12:00:00 a schedule", "12:00:00 b schedule")
		if n := len(b.fake.causes); n != 2 || !errors.Is(b.fake.causes[0], errStopping) {
			t.Errorf("runs ended because of %v", b.fake.causes)
		}
		if _, records, more := w.take(); more || len(records) != 1 || !records[0].NotNow || records[0].Error != errStopping.Error() {
			t.Errorf("who waited for c was told %+v", records)
		}
		if err := b.loop.call(t.Context(), func() { t.Error("called a loop that has ended") }); !errors.Is(err, errStopping) {
			t.Errorf("call: %v", err)
		}
	})
}

// A run that does not end holds the daemon up for eight seconds, not for ever.
func TestStopStubborn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T11:59:00Z", job(t, "home", "@hourly"))
		b.fake.takes["home"], b.fake.stubborn = time.Hour, true
		b.start()
		b.passTo("2026-11-23T12:00:00Z")
		before := time.Now()
		b.cancel()
		b.pass(time.Second)
		if err := b.loop.call(t.Context(), func() {
			if _, err := b.loop.request(nil); !errors.Is(err, errStopping) {
				t.Errorf("a run was accepted while stopping: %v", err)
			}
		}); err != nil {
			t.Error(err)
		}
		<-b.loop.gone
		if took := time.Since(before); took != stopPatience {
			t.Errorf("the stop took %v", took)
		}
		if log := b.log.String(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "jobs=home") {
			t.Errorf("log:\n%s", log)
		}
		time.Sleep(time.Hour) // the run's goroutine ends, too
	})
}

func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T11:59:00Z", job(t, "a", "@hourly"), job(t, "b", "@hourly"), job(t, "c", "@hourly"), job(t, "d", "@hourly"))
		for _, name := range []string{"a", "b", "c", "d"} {
			b.fake.takes[name] = 30 * time.Minute
		}
		b.start()
		b.passTo("2026-11-23T12:10:00Z")
		b.want("12:00:00 a schedule", "12:00:00 b schedule")
		good := b.cfg

		b.d.Load = func() (*config.Config, error) {
			return nil, config.Errors{
				{File: "btrkeep.toml", Line: 3, Column: 1, Text: "sorce = 1", Msg: "unknown key", Hint: "source"},
				{File: "btrkeep.toml", Line: 9, Column: 4, Text: "x", Msg: "second mistake"},
			}
		}
		b.hup <- nil
		synctest.Wait()
		if log := b.log.String(); strings.Count(log, "level=ERROR") != 3 || !strings.Contains(log, "btrkeep.toml:3:1: unknown key") || !strings.Contains(log, "btrkeep.toml:9:4: second mistake") {
			t.Errorf("log:\n%s", log)
		}
		if s := b.loop.status(); !strings.Contains(s.ReloadError, "unknown key") || !strings.Contains(s.ReloadError, "second mistake") || len(s.Next) != 4 {
			t.Errorf("status %+v", s)
		}

		moved := *good
		moved.StateDir = "/elsewhere"
		b.d.Load = func() (*config.Config, error) { return &moved, nil }
		b.hup <- nil
		synctest.Wait()
		if s := b.loop.status(); !strings.Contains(s.ReloadError, "state_dir changed from "+good.StateDir+" to /elsewhere") || b.loop.cfg != good {
			t.Errorf("status %+v", s)
		}

		// a runs and goes; b runs and stays; c waits and stays, now with a schedule of its own; d waits and goes; e is new.
		less := *good
		less.Jobs = []config.Job{job(t, "b", "@hourly"), job(t, "c", "45 * * * *"), job(t, "e", "@hourly")}
		b.d.Load = func() (*config.Config, error) { return &less, nil }
		b.hup <- nil
		b.passTo("2026-11-23T13:40:00Z")
		b.stop()
		b.want("12:30:00 c schedule", "13:00:00 b schedule", "13:00:00 c schedule", "13:30:00 e schedule")
		if n := len(b.fake.causes); n != 0 {
			t.Errorf("%d runs were cut short: %v", n, b.fake.causes)
		}
	})
}
