package jobs

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
)

// Sending is the Sender of this machine.
type Sending struct{}

var _ Sender = Sending{}

// readAhead is how much of a stream's data is read ahead of it: more does not help, and this much leaves the cache to others.
const readAhead = 16 << 20

// Send begins a send by ioctl.
func (Sending) Send(ctx context.Context, o Outgoing) (Stream, error) {
	send := btrfs.Send{Subvolume: o.Path, Parent: o.Parent.ID, Version: o.Version, Compressed: o.Compressed, IOPriority: o.IOPriority, ReadAhead: readAhead}
	for _, c := range o.Clones {
		send.CloneSources = append(send.CloneSources, c.ID)
	}
	stream, err := send.Start(ctx)
	if err != nil {
		return nil, fmt.Errorf("send %s: %w", o.Path, err)
	}
	if o.From == nil {
		return stream, nil
	}
	if err := sendstream.Skip(stream, *o.From); err != nil {
		failed := failure(o.Path, stream.Close())
		switch {
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case failed != nil: // which is why the stream ended, and says nothing of what was in it
			err = failed
		}
		return nil, err
	}
	return stream, nil
}

// failure is what went wrong with a send by itself, as told at its end; nil if it only was not read any more.
func failure(path string, ended error) error {
	if ended == nil || errors.Is(ended, context.Canceled) || errors.Is(ended, syscall.EPIPE) {
		return nil
	}
	return fmt.Errorf("send %s: %w", path, ended)
}

// Changes asks the trees.
func (Sending) Changes(ctx context.Context, _ btrfs.Subvolume, path string, since uint64) (btrfs.Changes, error) {
	return btrfs.ChangedSince(ctx, path, since)
}

// SendVersion is that of the kernel.
func (Sending) SendVersion() int { return btrfs.StreamVersion() }
