package metrics

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// Being asked costs little, however many jobs there are.
func TestManyJobs(t *testing.T) {
	const count = 200
	atMost := 500 * time.Millisecond // it takes some 60 on a machine that is not busy
	if testing.Short() {             // under the race detector
		atMost = 5 * time.Second
	}
	var list []config.Job
	for i := range count {
		list = append(list, newJob(t, fmt.Sprintf("job%d", i), "@hourly", "usb", "nas"))
	}
	cfg := newConfig(t, list...)
	for _, j := range list {
		remember(t, cfg, j, func(s *jobs.State) {
			s.LastRun = ago(time.Hour)
			for _, d := range j.Destinations {
				at := jobs.DestinationState{Name: d.Name, LastSuccess: ago(time.Hour), Total: 1 << 40, Disks: map[string]jobs.CommonState{}}
				for n := range 30 {
					at.Space = append(at.Space, jobs.SpaceSample{Time: ago(time.Duration(30-n) * day), Free: uint64(n) << 30})
				}
				s.Destinations[d.URL] = at
			}
		})
	}
	m, _ := newMetrics(t, noon)
	m.Configured(cfg)
	best := time.Hour
	for range 3 { // others may be at work on this machine
		start := time.Now()
		if n := len(string(m.text())); n < count*1000 {
			t.Fatalf("%d bytes", n)
		}
		best = min(best, time.Since(start))
	}
	t.Logf("%d jobs: %s", count, best)
	if best > atMost {
		t.Errorf("%d jobs take %s, want at most %s", count, best, atMost)
	}
}

// It may be asked while it is told.
func TestAskedWhileTold(t *testing.T) {
	home, srv := newJob(t, "home", "@hourly", "usb"), newJob(t, "srv", "@hourly", "usb")
	cfg := newConfig(t, home, srv)
	alone := *cfg
	alone.Jobs = cfg.Jobs[:1]
	m, _ := newMetrics(t, noon)
	var asking sync.WaitGroup
	told := make(chan struct{})
	for range 3 {
		asking.Go(func() {
			for {
				select {
				case <-told:
					return
				default:
				}
				if len(m.text()) == 0 {
					t.Error("nothing is told")
					return
				}
			}
		})
	}
	for range 200 {
		m.Configured(cfg)
		m.Began(srv, config.TaskRun, noon())
		m.Ran(srv, record("srv", jobs.ResultFailed, time.Minute))
		m.Refused(nil)
		m.Tick(jobs.Clock{Wall: noon()})
		m.Configured(&alone)
	}
	close(told)
	asking.Wait()
}
