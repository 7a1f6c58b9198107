package local

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// Native receives in this process. It needs no tap: it checks every command itself, resolves paths beneath the new subvolume only, and calls it a
// received one when it has read the end of the stream, which here means that the sender has confirmed it.
type Native struct {
	Checkpoint config.Checkpoint // how often; zero: never
	Confined   bool              // parents and clone sources are looked for in the destination directory and among also alone: for streams of others

	also []btrfs.UUID // set for each stream: what List finds above
}

var _ Receiver = Native{}

// StreamVersion is 2: what the sender's kernel compressed stays compressed.
func (Native) StreamVersion(context.Context) (int, error) { return 2, nil }

// CanResume is true.
func (Native) CanResume() bool { return true }

// Receive applies the stream.
func (n Native) Receive(ctx context.Context, dir, name string, in jobs.Incoming, disk Disk) error {
	r := sendstream.Receiver{IOPriority: in.IOPriority, Confined: n.Confined, Also: n.also, MaxVersion: in.Version, Sync: disk.Sync}
	if n.Checkpoint.Bytes > 0 {
		r.Checkpoints = &sendstream.Checkpoints{Bytes: int64(n.Checkpoint.Bytes), Time: time.Duration(n.Checkpoint.Time), Save: disk.Save}
	}
	if in.From != nil {
		return r.Resume(ctx, dir, name, *in.From.Checkpoint, &confirmed{in: in})
	}
	return r.Receive(ctx, dir, name, &confirmed{in: in})
}

// confirmed is a stream that ends only if its sender says that it ended well.
type confirmed struct {
	in    jobs.Incoming
	bytes int64
}

func (c *confirmed) Read(p []byte) (int, error) {
	n, err := c.in.Stream.Read(p)
	c.bytes += int64(n)
	if c.in.Progress != nil && n > 0 {
		c.in.Progress(c.bytes)
	}
	if errors.Is(err, io.EOF) && c.in.Confirm != nil {
		if e := c.in.Confirm(); e != nil {
			return n, e
		}
	}
	return n, err
}
