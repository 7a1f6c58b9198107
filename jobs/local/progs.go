package local

import (
	"context"
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/jobs"
)

// pipeSize lets sender and receiver work side by side; with the kernel's default of 64 KiB they wait for each other.
const pipeSize = 1 << 20

// Progs receives with the btrfs program. It checks no paths, believes the stream about its name, and takes a stream for complete that its sender was
// not: so it gets the stream through a tap that does all that.
type Progs struct{}

var _ Receiver = Progs{}

// StreamVersion depends on the version that is installed.
func (Progs) StreamVersion(ctx context.Context) (int, error) { return btrfs.Progs{}.StreamVersion(ctx) }

// CanResume is false: the program keeps nothing of what it was doing.
func (Progs) CanResume() bool { return false }

// Receive runs stream, tap and program side by side. What the program leaves is read-only before it is on the disk.
func (Progs) Receive(ctx context.Context, dir, name string, in jobs.Incoming, disk Disk) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	_, _ = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, pipeSize) // smaller is slower, not wrong
	received := make(chan error, 1)
	go func() {
		err := btrfs.Progs{IOPriority: in.IOPriority}.Receive(ctx, dir, name, r)
		_ = r.Close() // the tap must not go on writing to nobody
		received <- err
	}()
	tap := sendstream.Tap{Name: name, Confirm: in.Confirm, Progress: in.Progress}
	sum, tapErr := tap.Copy(ctx, w, in.Stream)
	_ = w.Close()
	err = <-received
	switch {
	case tapErr != nil && (err == nil || !errors.Is(tapErr, syscall.EPIPE)):
		// The tap that refused the stream is why the receiver saw no end.
		return tapErr
	case err != nil:
		return err
	case !sum.Ended || sum.UUID != in.UUID:
		return errors.New("the stream is of another snapshot")
	}
	return disk.Sync()
}
