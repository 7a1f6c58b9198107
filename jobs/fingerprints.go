package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/jobs/fingerprint"
)

// takesFingerprints reports whether the backups of the job get fingerprints: where the daemon verifies them, or drills. To make one costs what a second reading of what was sent costs, so that who does not
// ask for it does not pay for it.
func (r *run) takesFingerprints() bool {
	return !r.job.Adhoc && (!r.job.Verify.Schedule.IsZero() || !r.job.Drill.Schedule.IsZero())
}

// fingerprints takes those of the destination's backups that have none, oldest first: of those that this run has made, which parents tells with what they were built upon, or of all. Without one a backup is
// no worse, so that an error is a warning.
func (r *run) fingerprints(ctx context.Context, t *target, parents map[btrfs.UUID]Backup) {
	if !r.takesFingerprints() || !t.cfg.Local() {
		return
	}
	for _, b := range t.backups {
		store := fingerprint.In(filepath.Dir(b.Path))
		if _, made := parents[b.UUID]; parents != nil && !made || !b.Own || !b.Complete || b.Altered || store.Has(b.UUID) {
			continue
		}
		var base *fingerprint.Base
		if p, ok := basisThere(b, t.backups, parents); ok {
			base = &fingerprint.Base{UUID: p.UUID, Since: p.Ctransid}
		}
		progress := Progress{Step: "fingerprint", Destination: t.cfg.Name, Snapshot: b.Name, Started: time.Now()}
		r.report(progress)
		_, err := store.Make(ctx, b.Path, b.Subvolume, base, fingerprint.Options{IOPriority: r.job.IOClass.Class<<13 | r.job.IOClass.Level})
		if ctx.Err() != nil {
			return // the next run makes it
		}
		if err != nil {
			r.warn("%s: %v", t.cfg.Name, err)
		}
	}
}

// basisThere is the backup that b was received on top of: as this run knows it, or by the account of the file system.
func basisThere(b Backup, backups []Backup, parents map[btrfs.UUID]Backup) (Backup, bool) {
	if p, known := parents[b.UUID]; known {
		return p, !p.UUID.IsZero()
	}
	i := slices.IndexFunc(backups, func(p Backup) bool { return p.UUID == b.ParentUUID && p.Own && p.Complete && !p.Altered })
	if i < 0 {
		return Backup{}, false
	}
	return backups[i], true
}

// recorded is a fingerprint as a [reference].
type recorded struct{ fingerprint.Store }

func (recorded) String() string { return "its fingerprint" }

func (f recorded) compare(ctx context.Context, b Backup, o comparison, report func(path, what string)) (compared, error) {
	var after fingerprint.Cursor
	if o.after != nil {
		if err := json.Unmarshal(o.after, &after); err != nil {
			return compared{}, fmt.Errorf("where the last verify was cut: %w", err)
		}
	}
	r, err := f.Verify(ctx, b.Path, b.UUID, fingerprint.VerifyOptions{
		Part: o.part, Parts: o.parts, After: after, IOPriority: o.priority, Progress: o.progress,
	}, func(d fingerprint.Difference) { report(d.Path, d.What) })
	if errors.Is(err, fingerprint.ErrDamaged) {
		report("", "cannot be compared: "+err.Error())
		return compared{complete: true}, nil
	}
	if err != nil {
		return compared{}, err
	}
	cursor, err := json.Marshal(r.After)
	return compared{entries: r.Inodes, files: r.Chunks, bytes: r.Bytes, complete: r.Complete, after: cursor, path: fmt.Sprintf("inode %d", r.After.Inode)}, err
}

// fingerprintOf finds the fingerprint that was taken of a backup.
func fingerprintOf(b Backup) (reference, bool) {
	if store := fingerprint.In(filepath.Dir(b.Path)); b.Path != "" && store.Has(b.UUID) {
		return recorded{store}, true
	}
	return nil, false
}

// compareFingerprint is for a drill whose backup has no snapshot any more: is what was restored from still what it was?
func (d *drill) compareFingerprint(ctx context.Context, v version) error {
	f, ok := fingerprintOf(Backup{Subvolume: v.Subvolume, Path: v.path})
	if !ok {
		return nil
	}
	d.report.Against = "the backup and its fingerprint"
	_, err := f.compare(ctx, Backup{Subvolume: v.Subvolume, Path: v.path}, comparison{parts: 1, priority: d.priority()}, func(path, what string) {
		if len(d.report.Findings) < maxDifferences {
			d.report.Findings = append(d.report.Findings, VerifyFinding{Destination: d.report.Destination, Backup: v.Name, Path: strings.ToValidUTF8(path, "�"), What: what})
		}
	})
	return err
}
