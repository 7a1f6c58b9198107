package local

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// keeper keeps a transfer under way so that it can go on after an interruption: read-only snapshots of the subvolume that is being received, each entered in the
// catalog with its place in the stream once it is on the disk, and only the last one kept.
type keeper struct {
	dir     *Dir
	in      jobs.Incoming
	barrier *btrfs.Barrier // since before the first write, so that it is told of each that fails
	hidden  string
	last    jobs.Leftover // zero: none yet
}

var _ Disk = &keeper{}

// Sync writes what was received to the disk.
func (k *keeper) Sync() error {
	if err := k.barrier.Sync(); err != nil {
		return fmt.Errorf("write what was received to the disk: %w", err)
	}
	return nil
}

// Save keeps the subvolume as it is now. Whatever interrupts it, the last checkpoint that is in the catalog is whole.
func (k *keeper) Save(at sendstream.Position) error {
	// A snapshot writes out what it is made of, but does not tell if that failed.
	if err := k.Sync(); err != nil {
		return err
	}
	dir := k.dir.path
	name := fmt.Sprintf("%s-%d-%d", k.hidden, at.Offset, time.Now().UnixNano())
	if err := btrfs.Snapshot(filepath.Join(dir, k.hidden), dir, name, true); err != nil {
		return err
	}
	made, err := btrfs.Info(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	entry := catalog.Entry{
		UUID: made.UUID, Name: k.in.Name, Taken: k.in.Taken, Ctransid: made.Ctransid, Source: k.dir.origin, Volume: k.dir.volume,
		Checkpoint: &sendstream.Checkpoint{Identity: k.in.Identity, Position: at},
	}
	if err := catalog.Replace(dir, k.last.UUID, entry); err != nil {
		return errors.Join(err, btrfs.Delete(dir, name, made.UUID))
	}
	if k.in.Saved != nil {
		k.in.Saved()
	}
	if k.last.Name != "" {
		// What somebody reads, or has mounted, stays, in no catalog any more: a later run deletes it. Somebody may have deleted it, too.
		err := btrfs.Delete(dir, k.last.Name, k.last.UUID)
		if err != nil && !errors.Is(err, btrfs.ErrInUse) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	k.last = jobs.Leftover{Name: name, UUID: made.UUID, Checkpoint: entry.Checkpoint}
	return nil
}

// resume makes what the checkpoint kept the subvolume that is being received.
func (k *keeper) resume() error {
	from := k.in.From
	if !from.Checkpoint.Equal(k.in.Identity) {
		return fmt.Errorf("%w: it is of another stream", sendstream.ErrCheckpoint)
	}
	kept := filepath.Join(k.dir.path, from.Name)
	switch s, err := btrfs.Info(kept); {
	case err != nil:
		return fmt.Errorf("%w: %w", sendstream.ErrCheckpoint, err)
	case s.UUID != from.UUID || !s.ReadOnly:
		return fmt.Errorf("%w: %s is not what was kept", sendstream.ErrCheckpoint, kept)
	}
	k.last = *from
	return btrfs.Snapshot(kept, k.dir.path, k.hidden, false)
}

// done deletes what was kept of a transfer that is complete.
func (k *keeper) done() error {
	if k.last.Name == "" {
		return nil
	}
	if err := btrfs.Delete(k.dir.path, k.last.Name, k.last.UUID); err != nil {
		return err
	}
	return catalog.Forget(k.dir.path, func(id btrfs.UUID) bool { return id == k.last.UUID })
}
