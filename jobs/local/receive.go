package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// Receive receives under a hidden name and onto the disk, checks, enters the catalog, renames, and commits: at its final name a backup is complete
// and survives a power cut. `btrfs receive` that exits 0 alone has stored nothing yet.
func (d *Dir) Receive(ctx context.Context, in jobs.Incoming) (jobs.Backup, error) {
	if err := checkName(in.Name); err != nil {
		return jobs.Backup{}, err
	}
	final := filepath.Join(d.path, in.Name)
	if err := d.free(final); err != nil {
		return jobs.Backup{}, err
	}
	hidden := hiddenIncoming + in.UUID.String()
	k := &keeper{dir: d, in: in, hidden: hidden}
	made, err := d.receive(ctx, k)
	if err != nil {
		return jobs.Backup{}, errors.Join(err, d.drop(hidden))
	}
	entry := catalog.Entry{UUID: made.UUID, Name: in.Name, Taken: in.Taken, Ctransid: made.Ctransid, Source: d.origin, Volume: d.volume}
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
		_ = btrfs.Rename(d.path, in.Name, hidden) // what may lose its name must not count; a disk that has failed, and is read-only now, loses it by itself
		return jobs.Backup{}, fmt.Errorf("commit %s: %w", final, err)
	}
	_ = k.done() // the backup is complete; a checkpoint that stays is useless to the next run, which deletes it
	made.Name = in.Name
	return d.backup(made, catalog.Catalog{made.UUID: entry}), nil
}

// checkName refuses names under which a backup would not be one, as another machine may send.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.HasPrefix(name, ".btrkeep") || strings.ContainsAny(name, "/\x00") || len(name) > 255 {
		return fmt.Errorf("%q cannot be the name of a backup", name)
	}
	return nil
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
func (d *Dir) receive(ctx context.Context, k *keeper) (btrfs.Subvolume, error) {
	in, hidden := k.in, k.hidden
	receiver, err := d.receiver(in.Identity)
	if err != nil {
		return btrfs.Subvolume{}, err
	}
	barrier, err := btrfs.OpenBarrier(d.path)
	if err != nil {
		return btrfs.Subvolume{}, err
	}
	defer barrier.Close()
	k.barrier = barrier
	if in.From != nil {
		if err := k.resume(); err != nil {
			return btrfs.Subvolume{}, err
		}
	}
	if err := receiver.Receive(ctx, d.path, hidden, in, k); err != nil {
		return btrfs.Subvolume{}, fmt.Errorf("receive into %s: %w", d.path, err)
	}
	made, err := btrfs.Info(filepath.Join(d.path, hidden))
	switch {
	case err != nil:
		return made, fmt.Errorf("look at what was received: %w", err)
	case made.ReceivedUUID != in.UUID:
		return made, fmt.Errorf("received %s, the snapshot is %s", made.ReceivedUUID, in.UUID)
	case made.Stransid != in.Ctransid:
		return made, fmt.Errorf("received the state of transaction %d, the snapshot is of %d", made.Stransid, in.Ctransid)
	case !made.ReadOnly:
		return made, fmt.Errorf("the receiver left the backup writable")
	}
	made.Name = hidden
	return made, nil
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
