package remote_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/netfault"
	"github.com/btrkeep/btrkeep/internal/testssh"
	"github.com/btrkeep/btrkeep/jobs"
)

// Where the disk is slower than the line, that is full of what the receiver has not come to. If the receiver is killed then, no more goes over the line again than a checkpoint's interval.
func TestSlowDisk(t *testing.T) {
	const size = 40 << 20
	for _, pull := range []bool{false, true} {
		for _, at := range []int64{6 << 20, 13 << 20} { // just before a checkpoint would be made
			t.Run(fmt.Sprintf("pull=%v/%d", pull, at>>20), func(t *testing.T) {
				link := netfault.New(t, netfault.Options{Rate: 48 << 20})
				p := newPair(t, testssh.Options{Link: link}, "")
				if pull {
					p.job.Source, p.job.Destinations[0].URL = p.far.URL(p.src.Path+"/home"), p.dst.Path+"/alice/home"
				}
				p.cfg.Checkpoint = config.Checkpoint{Bytes: interval, Time: config.Duration(time.Minute)}
				p.use(p.far.SSH)
				p.write("large", noise(size))
				carried := func() int64 {
					far, near := link.Carried()
					if pull {
						return near
					}
					return far
				}
				ctx, stop := context.WithCancel(context.Background())
				defer stop()
				once := sync.OnceFunc(func() {
					if !pull {
						defer freeze(t, p.dst.Path)()
					}
					for before := int64(-1); before != carried(); time.Sleep(300 * time.Millisecond) { // until the line is full
						before = carried()
					}
					if pull {
						stop()
					} else {
						kill("btrkeep", p.far.Sessions())
					}
				})
				var stopping sync.WaitGroup
				p.runner.Progress = func(r jobs.Progress) {
					switch {
					case r.Step != "transfer" || r.Bytes < at:
					case pull: // who receives waits for this
						once()
					default:
						stopping.Go(once)
					}
				}
				p.now = p.now.Add(time.Minute)
				r := p.runner.Run(ctx, p.job, jobs.Options{Clock: p.clock()})
				stopping.Wait()
				if pull {
					r = p.mustRun()
				}
				if r.Result != jobs.ResultOK || pull && at > interval/2 && r.Transfers[0].ResumedBytes == 0 {
					t.Fatalf("%+v\n%s", r, p.log.String())
				}
				if most := int64(size + size/50 + interval); carried() > most {
					t.Errorf("%d bytes went over the line, which is %d too many", carried(), carried()-most)
				}
				p.verify()
				t.Logf("sent again: %.2f of an interval", float64(carried()-size)/interval)
			})
		}
	}
}

// freeze has all that writes to a file system wait, until thaw, for half a minute at most: FIFREEZE and FITHAW, ioctl_fs(2). A process that waits cannot be killed.
func freeze(t *testing.T, path string) (thaw func()) {
	const fifreeze, fithaw = 0xc0045877, 0xc0045878
	f, err := os.Open(path)
	if err == nil {
		err = unix.IoctlSetInt(int(f.Fd()), fifreeze, 0)
	}
	if err != nil {
		t.Errorf("freeze %s: %v", path, err)
		return func() {}
	}
	thaw = sync.OnceFunc(func() {
		if err := unix.IoctlSetInt(int(f.Fd()), fithaw, 0); err != nil {
			t.Errorf("thaw %s: %v", path, err)
		}
		f.Close()
	})
	late := time.AfterFunc(30*time.Second, thaw)
	t.Cleanup(func() { late.Stop(); thaw() })
	return thaw
}
