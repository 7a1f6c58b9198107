package jobs

import (
	"context"
	"sync"

	"github.com/btrkeep/btrkeep/btrfs"
)

// Slots lets one transfer at a time write to each destination disk: two streams to one spinning disk are slower than one after the other.
// The zero value is ready.
type Slots struct {
	mu    sync.Mutex
	disks map[btrfs.UUID]chan struct{}
}

// Acquire waits for the disk's slot or for ctx.
func (s *Slots) Acquire(ctx context.Context, disk btrfs.UUID) (release func(), err error) {
	s.mu.Lock()
	slot, ok := s.disks[disk]
	if !ok {
		if s.disks == nil {
			s.disks = make(map[btrfs.UUID]chan struct{})
		}
		slot = make(chan struct{}, 1)
		s.disks[disk] = slot
	}
	s.mu.Unlock()
	select {
	case slot <- struct{}{}:
		return func() { <-slot }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
