package local

import (
	"context"
	"errors"
	"io"

	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/jobs"
)

// Native receives in this process. It needs no tap: it checks every command itself, resolves paths beneath the new subvolume only, and calls it a
// received one when it has read the end of the stream, which here means that the sender has confirmed it.
type Native struct{}

var _ Receiver = Native{}

// StreamVersion is 2: what the sender's kernel compressed stays compressed.
func (Native) StreamVersion(context.Context) (int, error) { return 2, nil }

// Receive applies the stream.
func (Native) Receive(ctx context.Context, dir, name string, in jobs.Incoming) error {
	return sendstream.Receiver{IOPriority: in.IOPriority}.Receive(ctx, dir, name, &confirmed{in: in})
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
