package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
)

// Restoration is what to restore, and where.
type Restoration struct {
	Job     config.Job // one without a name: from FromDir
	FromDir string     // a directory of backups, of which no configuration needs to know
	At      string     // the name of a snapshot, or a time; "": the newest
	From    string     // a destination, or AtSource; "": the nearest that has it
	To      string     // where; must not exist, but for Paths
	InPlace bool       // in the place of the source, which is kept beside it
	Paths   []string   // files and directories in the snapshot, to be put into To; none: the whole subvolume

	Overwrite bool // of Paths
	Adopt     bool // with FromDir: the backups of the same source there are those of the restored subvolume from now on
	DryRun    bool
	Clock     Clock
}

// Restored is the account of a restoration: what `restore --json` prints. Fields are only ever added.
type Restored struct {
	Job      string     `json:"job"`
	Snapshot string     `json:"snapshot"` // that was restored
	Taken    time.Time  `json:"taken"`
	UUID     btrfs.UUID `json:"uuid"`
	From     string     `json:"from"` // AtSource, or a destination
	Path     string     `json:"path"` // of the snapshot or backup
	To       string     `json:"to"`
	DryRun   bool       `json:"dry_run"`
	Transfer *Transfer  `json:"transfer,omitempty"` // if it had to be brought to the file system
	Common   string     `json:"common,omitempty"`   // the snapshot that the next run goes on from
	Before   string     `json:"before,omitempty"`   // in place: what the source was
	Files    int        `json:"files,omitempty"`    // of paths: everything that is no directory
	Bytes    int64      `json:"bytes,omitempty"`    // of paths: of their content
	Seconds  float64    `json:"seconds"`
	Notes    []string   `json:"notes"` // what to do next, and what was left out
	Error    string     `json:"error,omitempty"`
	Hint     string     `json:"hint,omitempty"`
	NotNow   bool       `json:"not_now,omitempty"` // a destination absent, or somebody at work there: nothing was changed
}

// restoring is one restoration under way.
type restoring struct {
	*Runner
	o    Restoration
	src  *source // nil if the source cannot be read, as after its loss
	mine Restored

	release func()        // the version, which may be deleted then
	opened  []Destination // from which can be restored
}

// Restore brings back a whole subvolume, or files and directories.
//
// A whole subvolume is a writable snapshot of a read-only one: of the snapshot, or of the backup, which is brought to the file system first, under a hidden name and resumable like any
// transfer. So it appears at its place at once and complete, and has no received UUID, which later backups of it would be poisoned by.
func (r *Runner) Restore(ctx context.Context, o Restoration) Restored {
	start := time.Now()
	n := &restoring{Runner: r, o: o, mine: Restored{Job: o.Job.Name, To: o.To, DryRun: o.DryRun, Notes: []string{}}}
	if err := n.run(ctx); err != nil {
		var held *HeldError
		n.mine.Error, n.mine.Hint = err.Error(), Hint(err)
		n.mine.NotNow = n.mine.NotNow || errors.Is(err, ErrAbsent) || errors.As(err, &held)
	}
	n.mine.Seconds = time.Since(start).Seconds()
	n.report(Progress{Step: "done"})
	return n.mine
}

func (r *restoring) report(p Progress) {
	if r.Progress != nil {
		p.Job = r.o.Job.Name
		r.Progress(p)
	}
}

func (r *restoring) note(format string, args ...any) {
	r.mine.Notes = append(r.mine.Notes, fmt.Sprintf(format, args...))
}

func (r *restoring) run(ctx context.Context) error {
	var err error
	defer r.close()
	if r.o.FromDir == "" {
		if r.src, err = r.openSource(ctx, r.o.Job); err != nil {
			r.src = nil
			r.note("the source cannot be used: %v", err)
		}
		defer r.src.close()
	}
	all, err := r.versions(ctx)
	if err != nil {
		return err
	}
	v, err := r.pick(all)
	if err != nil {
		return err
	}
	m := &r.mine
	m.Snapshot, m.Taken, m.UUID, m.From, m.Path = v.Name, v.taken, v.UUID, v.where, v.path
	release, err := v.hold()
	if err != nil {
		return err
	}
	r.release = sync.OnceFunc(release)
	defer r.release()
	switch {
	case len(r.o.Paths) > 0:
		return r.files(ctx, v)
	case r.o.InPlace:
		return r.inPlace(ctx, v)
	}
	return r.whole(ctx, v)
}

// hold keeps a version from being deleted; one on another machine is held there while it is sent.
func (v version) hold() (release func(), err error) {
	if v.from != nil {
		return func() {}, nil
	}
	return btrfs.Hold(v.path, v.UUID)
}

func (r *restoring) close() {
	for _, dest := range r.opened {
		_ = dest.Close()
	}
}

// whole makes To.
func (r *restoring) whole(ctx context.Context, v version) error {
	to, err := filepath.Abs(r.o.To)
	if err != nil {
		return err
	}
	r.mine.To = to
	dir, name := filepath.Split(to)
	stage := r.staging(filepath.Clean(dir), v)
	_, err = os.Lstat(to)
	switch {
	case err == nil && !stage.made(to):
		return errors.Join(hintf("give a path that does not exist yet, or --in-place to have the source replaced", "%s exists: nothing is overwritten", to), stage.sweep(ctx))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	made := err == nil // by a restoration that was interrupted at its very end
	if _, err := btrfs.FileSystemID(dir); err != nil {
		return restoreDirError(dir, err)
	}
	from, err := stage.bring(ctx)
	if err != nil || r.o.DryRun {
		return err
	}
	defer stage.close()
	if to == r.o.Job.Source && r.o.FromDir == "" { // a run must not meet it before it has its snapshot
		unlock, err := lockJob(r.Config, r.o.Job, Holder{PID: os.Getpid(), Job: r.o.Job.Name, Since: r.o.Clock.Wall})
		if err != nil {
			return err
		}
		defer unlock()
	}
	if !made {
		if err := btrfs.Snapshot(from, dir, name, false); err != nil {
			return err
		}
	}
	if stage.brought && (r.o.FromDir != "" || to == r.o.Job.Source) {
		if err := r.keepCommon(from, to, v, made); err != nil {
			r.note("the next backup of %s will be a full one: %v", to, err)
		}
	}
	if r.o.Adopt {
		if err := r.adopt(ctx, v, to); err != nil {
			r.note("the backups in %s are not adopted: %v", r.o.FromDir, err)
		}
	}
	if err := stage.clear(ctx); err != nil { // what was asked for is done
		r.note("what it was made of stays in %s; the same command again removes it: %v", stage.path, err)
	}
	return btrfs.Commit(dir)
}

func restoreDirError(dir string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return hintf("make the directory first, or mount the disk that should be there", "%s does not exist", dir)
	case errors.Is(err, btrfs.ErrNotBtrfs):
		return hintf("files can be restored anywhere: name them, as in `btrkeep restore JOB / --to DIR`", "%s is not on btrfs, where a subvolume could be", dir)
	}
	return err
}

// adopter is a destination that can be told that its backups have another source by now.
type adopter interface {
	Adopt(ctx context.Context, of Backup, volume btrfs.UUID) error
}

// adopt notes with the backups of the same source that they are of the restored subvolume, so that a job of that prunes them. It must be asked for: the subvolume that was
// lost may live on elsewhere, with a job that still counts on them.
func (r *restoring) adopt(ctx context.Context, v version, to string) error {
	volume, err := btrfs.Info(to)
	if err != nil {
		return err
	}
	dest, err := r.At(ctx, r.o.Job, config.Destination{Name: "restore", URL: r.o.FromDir})
	if err != nil {
		return err
	}
	defer dest.Close()
	a, ok := dest.(adopter)
	if !ok {
		return errors.ErrUnsupported
	}
	unlock, err := dest.Lock(ctx, Holder{PID: os.Getpid(), Job: "restore " + v.Name, Since: r.o.Clock.Wall})
	if err != nil {
		return err
	}
	defer unlock()
	return a.Adopt(ctx, Backup{Subvolume: v.Subvolume, Path: v.path}, volume.UUID)
}
