package jobs

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
)

// View is one look at this machine that all jobs of a command share which only shows something: what is there at one moment, each file system listed once. A run has none: it looks anew, under its
// locks.
type View struct {
	btrfs.View

	mu  sync.Mutex
	kin map[*btrfs.Listing]func() relation // by listing, of which there is one for each file system
}

// files is what the file systems are looked at through; nil for a nil View.
func (v *View) files() *btrfs.View {
	if v == nil {
		return nil
	}
	return &v.View
}

// relations are those of the subvolumes in a listing; they must not be changed.
func (v *View) relations(l *btrfs.Listing) relation {
	v.mu.Lock()
	if v.kin == nil {
		v.kin = map[*btrfs.Listing]func() relation{}
	}
	once, known := v.kin[l]
	if !known {
		once = sync.OnceValue(func() relation { return relate(l.All) })
		v.kin[l] = once
	}
	v.mu.Unlock()
	return once()
}

// viewing is how many jobs are looked at side by side: what takes time is the disk, or a machine that does not answer.
const viewing = 8

// Each looks at each job, several side by side, and gives what was found in the order of the jobs.
func Each[T any](ctx context.Context, list []config.Job, look func(context.Context, config.Job) T) []T {
	found := make([]T, len(list))
	slots := make(chan struct{}, viewing)
	panics := make(chan string, len(list))
	var wg sync.WaitGroup
	for i, job := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() {
				if v := recover(); v != nil { // the caller's, who may have a terminal to restore
					panics <- fmt.Sprintf("%v\n%s", v, debug.Stack())
				}
				<-slots
			}()
			found[i] = look(ctx, job)
		})
	}
	wg.Wait()
	if len(panics) > 0 {
		panic(<-panics)
	}
	return found
}
