package jobs_test

import (
	"context"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
)

// As many transfers at once as the disk gains from; each disk counts for itself.
func TestSlots(t *testing.T) {
	id, err := btrfs.FileSystemID(testdisk.New(t, testdisk.Options{}).Path)
	must(t, err)
	var s jobs.Slots
	for disk, most := range map[btrfs.UUID]int{{1}: 1, {2}: 1, id: map[bool]int{true: 1, false: 2}[btrfs.Rotational(id)]} {
		var held []func()
		for {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			release, err := s.Acquire(ctx, disk)
			cancel()
			if err != nil {
				break
			}
			held = append(held, release)
		}
		if len(held) != most {
			t.Errorf("%s: %d at once, want %d", disk, len(held), most)
		}
		held[0]()
		release, err := s.Acquire(t.Context(), disk)
		must(t, err)
		release()
	}
}
