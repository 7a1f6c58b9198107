package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// witness notes what it is told, and when the loop ticked.
type witness struct {
	b     *lab
	mu    sync.Mutex
	heard []string
	ticks []time.Time
}

func (w *witness) hear(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = append(w.heard, w.b.clockNow().Format("15:04:05 ")+fmt.Sprintf(format, args...))
}

func (w *witness) Configured(cfg *config.Config) { w.hear("configured %d", len(cfg.Jobs)) }
func (w *witness) Refused(err error)             { w.hear("refused %v", err != nil) }
func (w *witness) Began(job config.Job, kind config.Task, at time.Time) {
	w.hear("began %s %s at %s", job.Name, kind, at.Format("15:04:05"))
}

func (w *witness) Ran(job config.Job, r jobs.Record) {
	s, err := jobs.LoadState(w.b.cfg.StateDir, job)
	w.hear("ran %s %s, in the state: %v", job.Name, r.Result, err == nil && s.LastRun.Equal(r.Started))
}

func (w *witness) Proved(job config.Job, kind config.Task, destination string, _ time.Time, r jobs.TaskResult) {
	w.hear("proved %s %s of %s: %s", kind, job.Name, destination, r.Result)
}

func (w *witness) Tick(clock jobs.Clock) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ticks = append(w.ticks, clock.Wall)
}

func (w *witness) Close(context.Context) { w.hear("closed") }

func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := job(t, "home", "@hourly")
		home.Destinations = []config.Destination{{Name: "usb", URL: "/usb"}, {Name: "nas", URL: "/nas"}}
		home.Verify.Schedule = job(t, "", "10 12 * * *").Schedule
		b := newLab(t, "2026-11-23T11:59:00Z", home)
		b.fake.takes["home"] = time.Minute
		b.d.Tasks = map[config.Task]Task{config.TaskVerify: func(_ context.Context, _ *config.Config, _ config.Job, destination string, _ jobs.Clock) jobs.TaskResult {
			if destination == "nas" {
				return jobs.TaskResult{Result: jobs.ResultAbsent}
			}
			return jobs.TaskResult{Result: jobs.ResultFailed, Problems: 1}
		}}
		w := &witness{b: b}
		b.d.Observers = []Observer{w}
		b.start()
		b.passTo("2026-11-23T12:30:00Z")
		good := b.d.Load
		b.d.Load = func() (*config.Config, error) { return nil, errors.New("bad") }
		b.hup <- syscall.SIGHUP
		synctest.Wait()
		b.d.Load = good
		b.hup <- syscall.SIGHUP
		synctest.Wait()
		b.stop()
		if diff := cmp.Diff([]string{
			"11:59:00 configured 1",
			"12:00:00 began home run at 12:00:00",
			"12:01:00 ran home ok, in the state: true",
			"12:10:00 began home verify at 12:10:00",
			"12:10:00 proved verify home of usb: failed",
			"12:30:00 refused true",
			"12:30:00 configured 1",
			"12:30:00 refused false",
		}, w.heard); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		late := slices.ContainsFunc(w.ticks[1:], func(now time.Time) bool {
			i := slices.Index(w.ticks, now)
			return i > 0 && now.Sub(w.ticks[i-1]) > recheck
		})
		if late || len(w.ticks) < 60 {
			t.Errorf("%d ticks, %v", len(w.ticks), w.ticks[:3])
		}
	})
}
