package jobs

import (
	"context"
	"sync"

	"github.com/btrkeep/btrkeep/btrfs"
)

// sideBySide is how many transfers may write to one disk that has no moving parts: two end up to twice as soon there as one after the other, as each keeps
// one processor busy.
const sideBySide = 2

// Slots bounds the transfers that write to each destination disk: two streams to one spinning disk are slower than one after the other.
// The zero value is ready.
type Slots struct {
	mu    sync.Mutex
	disks map[btrfs.UUID]chan struct{}
}

// Acquire waits for a slot of the disk or for ctx.
func (s *Slots) Acquire(ctx context.Context, disk btrfs.UUID) (release func(), err error) {
	s.mu.Lock()
	slots, ok := s.disks[disk]
	if !ok {
		if s.disks == nil {
			s.disks = make(map[btrfs.UUID]chan struct{})
		}
		n := sideBySide
		if btrfs.Rotational(disk) {
			n = 1
		}
		slots = make(chan struct{}, n)
		s.disks[disk] = slots
	}
	s.mu.Unlock()
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
