package jobs

import (
	"context"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream/diff"
)

// estimateTime bounds how long a plan asks the kernel for exact sizes. That is one and a half times to sixteen times slower than the rough
// way, two seconds for 50,000 small files in full, and the snapshots cannot be deleted meanwhile.
const estimateTime = 5 * time.Second

// estimate gives the bytes of a send, data before compression, 0 if they cannot be known. A send without data tells them to a few percent. It needs
// snapshots that are there and takes time that exact bounds; else the extents in the trees are summed up, which counts whole blocks and nothing but data.
func estimate(ctx, exact context.Context, from Sender, snap Snapshot, b basis, version int) int64 {
	if _, here := from.(Sending); here && snap.Otransid != pendingTransaction {
		size, err := diff.Size(exact, b.send(snap, version))
		if err == nil {
			return size
		}
	}
	c, err := from.Changes(ctx, snap.Subvolume, snap.Path, b.since())
	if err != nil {
		return 0
	}
	return int64(c.Bytes)
}

// send describes the send of a snapshot against b.
func (b basis) send(snap Snapshot, version int) btrfs.Send {
	s := btrfs.Send{Subvolume: snap.Path, Version: min(version, btrfs.StreamVersion()), Parent: b.parent.ID}
	for _, c := range b.clones {
		s.CloneSources = append(s.CloneSources, c.ID)
	}
	return s
}
