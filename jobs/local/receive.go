package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// pipeSize lets sender and receiver work side by side; with the kernel's default of 64 KiB they wait for each other.
const pipeSize = 1 << 20

// Receive receives under a hidden name, writes everything to the disk, checks, enters the catalog, renames, and commits: at its final name a backup is complete
// and survives a power cut. `btrfs receive` that exits 0 alone has stored nothing yet.
func (d *Dir) Receive(ctx context.Context, in jobs.Incoming) (jobs.Backup, error) {
	final := filepath.Join(d.path, in.Name)
	if err := d.free(final); err != nil {
		return jobs.Backup{}, err
	}
	hidden := hiddenIncoming + in.UUID.String()
	made, err := d.receive(ctx, in, hidden)
	if err != nil {
		return jobs.Backup{}, errors.Join(err, d.drop(hidden))
	}
	entry := catalog.Entry{UUID: made.UUID, Name: in.Name, Taken: in.Taken, Ctransid: made.Ctransid}
	if err := catalog.Add(d.path, entry); err != nil {
		return jobs.Backup{}, errors.Join(err, d.drop(hidden))
	}
	if err := btrfs.Rename(d.path, hidden, in.Name); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = nameTaken(final)
		}
		return jobs.Backup{}, errors.Join(err, d.drop(hidden))
	}
	if err := btrfs.Commit(d.path); err != nil {
		return jobs.Backup{}, fmt.Errorf("commit %s: %w", final, err)
	}
	made.Name = in.Name
	return d.backup(made, catalog.Catalog{made.UUID: entry}), nil
}

// free makes sure that the final name is free, before anything is sent.
func (d *Dir) free(final string) error {
	_, err := os.Lstat(final)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return nameTaken(final)
}

func nameTaken(final string) error {
	return &jobs.HintError{
		Err:  fmt.Errorf("%s: %w", final, jobs.ErrNameTaken),
		Hint: "btrkeep never overwrites or deletes what it does not know: look at it, then move it away or delete it yourself",
	}
}

// receive has the stream applied under the hidden name, and returns when all of it is on the disk and looks as it should.
func (d *Dir) receive(ctx context.Context, in jobs.Incoming, hidden string) (btrfs.Subvolume, error) {
	barrier, err := btrfs.OpenBarrier(d.path)
	if err != nil {
		return btrfs.Subvolume{}, err
	}
	defer barrier.Close()
	sum, err := d.pipe(ctx, in, hidden)
	if err != nil {
		return btrfs.Subvolume{}, fmt.Errorf("receive into %s: %w", d.path, err)
	}
	// Its error is the only sign of a disk that took the data and lost it, told once to each barrier that was open by then.
	if err := barrier.Sync(); err != nil {
		return btrfs.Subvolume{}, fmt.Errorf("write the backup to the disk of %s: %w", d.path, err)
	}
	made, err := btrfs.Info(filepath.Join(d.path, hidden))
	switch {
	case err != nil:
		return made, fmt.Errorf("look at what was received: %w", err)
	case !sum.Ended:
		return made, fmt.Errorf("the stream had no end")
	case sum.UUID != in.UUID || made.ReceivedUUID != in.UUID:
		return made, fmt.Errorf("received %s, the snapshot is %s", made.ReceivedUUID, in.UUID)
	case made.Stransid != in.Ctransid:
		return made, fmt.Errorf("received the state of transaction %d, the snapshot is of %d", made.Stransid, in.Ctransid)
	case !made.ReadOnly:
		return made, fmt.Errorf("the receiver left the backup writable")
	}
	made.Name = hidden
	return made, nil
}

// pipe runs stream → tap → receiver.
func (d *Dir) pipe(ctx context.Context, in jobs.Incoming, hidden string) (sendstream.Summary, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return sendstream.Summary{}, err
	}
	_, _ = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, pipeSize) // smaller is slower, not wrong
	received := make(chan error, 1)
	go func() {
		err := d.opener.Receiver(in.IOPriority).Receive(ctx, d.path, hidden, r)
		_ = r.Close() // the tap must not go on writing to nobody
		received <- err
	}()
	tap := sendstream.Tap{Name: hidden, Confirm: in.Confirm, Progress: in.Progress}
	sum, tapErr := tap.Copy(ctx, w, in.Stream)
	_ = w.Close()
	err = <-received
	// The receiver that ended early is why the tap could not write; the tap that refused the stream is why the receiver saw no end.
	if tapErr != nil && (err == nil || !errors.Is(tapErr, syscall.EPIPE)) {
		return sum, tapErr
	}
	return sum, err
}

// drop deletes what a failed receive left, if anything.
func (d *Dir) drop(hidden string) error {
	s, err := btrfs.Info(filepath.Join(d.path, hidden))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return btrfs.Delete(d.path, hidden, s.UUID)
}
