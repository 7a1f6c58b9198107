package local

import (
	"context"
	"errors"
	"fmt"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// At opens a directory of backups as it is: to restore from it when the source is gone or on the same file system, or the disk mounted read-only; or to have backups brought there to be restored.
// It makes sure of the disk as [Opener.Open] does, but of nothing that concerns the source.
func (o Opener) At(ctx context.Context, job config.Job, d config.Destination) (jobs.Destination, error) {
	return o.AtFor(ctx, job, d, jobs.Owner{Machine: jobs.Machine(), Path: job.SourcePath()})
}

// AtFor is At for the backups of owner.
func (o Opener) AtFor(_ context.Context, job config.Job, d config.Destination, owner jobs.Owner) (jobs.Destination, error) {
	path, existing, err := resolve(d.URL)
	if err != nil {
		return nil, err
	}
	if d.RequireMount != "" {
		if ok, err := o.View.IsMountPoint(d.RequireMount); err != nil {
			return nil, err
		} else if !ok {
			return nil, fmt.Errorf("%w: nothing is mounted at %s", jobs.ErrAbsent, d.RequireMount)
		}
	}
	fsys, err := o.View.Stat(existing)
	if errors.Is(err, btrfs.ErrNotBtrfs) {
		return nil, &jobs.HintError{Err: fmt.Errorf("%w: %s is not on btrfs", jobs.ErrAbsent, existing), Hint: "is the disk mounted?"}
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", d.URL, err)
	}
	return &Dir{
		path: path, job: job, opener: o, origin: owner.String(), volume: owner.Volume,
		identity: jobs.Identity{FileSystem: fsys.ID, MountPoint: fsys.MountPoint, Free: fsys.Free, Total: fsys.Total, ReadOnly: fsys.ReadOnly},
	}, nil
}

// Adopt notes with all backups that have the source of one of them that they are of another subvolume from now on.
func (d *Dir) Adopt(_ context.Context, of jobs.Backup, volume btrfs.UUID) error {
	cat, err := catalog.Read(d.path)
	if err != nil {
		return err
	}
	like, known := cat[of.UUID]
	if !known {
		return fmt.Errorf("%s: %w", of.Path, jobs.ErrForeign)
	}
	return catalog.SetVolume(d.path, volume, func(e catalog.Entry) bool { return e.Source == like.Source && e.Volume == like.Volume })
}
