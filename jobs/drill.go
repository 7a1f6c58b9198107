package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs/content"
)

// drillDir is where a drill restores to, in the snapshot directory of the source: on the disk to which a real restoration would bring it.
const drillDir = ".btrkeep-drill"

// drillRestored is the name of what a drill has restored.
const drillRestored = "restored"

// DrillOptions say of what a drill is to be.
type DrillOptions struct {
	Clock       Clock
	Destination string // name
}

// DrillReport is the account of one drill.
type DrillReport struct {
	Job         string
	Destination string
	Started     time.Time
	Backup      string  // that was restored: the newest
	Bytes       int64   // of its stream
	Seconds     float64 // that the restoration took, without the comparison
	Result      string  // ok, failed; absent, busy: not now
	Against     string  // what it was compared with: "its snapshot", or "the backup"
	Findings    []VerifyFinding
	Error, Hint string
}

// Drill restores the newest backup of a destination as if the source were lost: a full transfer, with nothing taken from what is at the source, and a subvolume made of that. It compares what it
// has restored with the snapshot that the backup was made of, if that is still there, else with the backup, and removes it.
//
// It takes no lock that a run needs; the backup and the snapshot are held meanwhile. What a drill leaves that is killed, the next run deletes.
func (r *Runner) Drill(ctx context.Context, job config.Job, o DrillOptions) DrillReport {
	d := &drill{restoring: &restoring{Runner: r, o: Restoration{Job: job, Clock: o.Clock}}}
	d.report = DrillReport{Job: job.Name, Destination: o.Destination, Started: o.Clock.Wall, Result: ResultOK}
	err := d.run(ctx, o.Destination)
	var held *HeldError
	switch rep := &d.report; {
	case errors.Is(err, ErrAbsent):
		rep.Result, rep.Error, rep.Hint = ResultAbsent, err.Error(), Hint(err)
	case errors.Is(err, errNoBackup):
		rep.Result, rep.Error = ResultSkipped, err.Error()
	case errors.As(err, &held):
		rep.Result, rep.Error, rep.Hint = ResultBusy, err.Error(), Hint(err)
	case err != nil:
		rep.Result, rep.Error, rep.Hint = ResultFailed, err.Error(), Hint(err)
	case len(rep.Findings) > 0:
		rep.Result = ResultFailed
	}
	return d.report
}

// TaskResult gives the report as the daemon notes it.
func (r DrillReport) TaskResult() TaskResult {
	t := TaskResult{Result: r.Result, Problems: len(r.Findings), Error: r.Error, Hint: r.Hint, Seconds: r.Seconds}
	for _, f := range r.Findings {
		t.Findings = append(t.Findings, fmt.Sprintf("%s: restored from %s: %s: %s", f.Backup, f.Destination, f.Path, f.What))
	}
	if len(r.Findings) > 0 {
		t.Damaged = []string{r.Backup}
	} else if r.Result == ResultOK {
		t.Sound = []string{r.Backup}
	}
	return t
}

// errNoBackup means that there is nothing to prove yet.
var errNoBackup = errors.New("there is no backup to restore yet")

type drill struct {
	*restoring
	report DrillReport
	stage  *staging
}

func (d *drill) run(ctx context.Context, destination string) error {
	job := d.o.Job
	i := slices.IndexFunc(job.Destinations, func(c config.Destination) bool { return c.Name == destination })
	if i < 0 {
		return fmt.Errorf("job %s has no destination %q", job.Name, destination)
	}
	var err error
	if d.src, err = d.openSource(ctx, job); err != nil {
		return err
	}
	defer d.src.close()
	defer d.close()
	if d.src.here == nil {
		return hintf("a drill restores to the file system of the source: let that machine do it", "the source is on another machine, %s", job.Source)
	}
	if d.src.Dir == (btrfs.Dir{}) {
		return errNoBackup
	}
	v, err := d.newest(ctx, job.Destinations[i])
	if err != nil {
		return err
	}
	d.report.Backup = v.Name
	release, err := v.hold()
	if err != nil {
		return err
	}
	defer release()
	d.stage = &staging{r: d.restoring, v: v, path: filepath.Join(job.SnapshotDir, drillDir), unlock: func() {}}
	if err := d.stage.open(ctx); err != nil {
		return err
	}
	defer d.stage.close()
	if err := d.stage.empty(ctx); err != nil {
		return fmt.Errorf("remove what an interrupted drill left: %w", err)
	}
	err = d.restoreAndCompare(ctx, v)
	return errors.Join(err, removeDrill(context.WithoutCancel(ctx), d.stage.path))
}

// newest is the version to restore.
func (d *drill) newest(ctx context.Context, c config.Destination) (version, error) {
	dest, err := d.open(ctx, d.src, d.o.Job, c, DestinationState{})
	if err != nil {
		return version{}, err
	}
	from := d.keep(dest)
	there, err := dest.List(ctx)
	if err != nil {
		return version{}, err
	}
	own := slices.DeleteFunc(there.Backups, func(b Backup) bool { return !b.Own })
	b, ok := newest(own, d.o.Clock.Wall)
	if !ok {
		return version{}, fmt.Errorf("%s: %w", c.Name, errNoBackup)
	}
	return version{Subvolume: b.Subvolume, where: c.Name, path: b.Path, taken: b.Taken, own: true, from: from}, nil
}

func (d *drill) restoreAndCompare(ctx context.Context, v version) error {
	if err := d.hasRoom(ctx, v); err != nil {
		return err
	}
	start := time.Now()
	if err := d.stage.transfer(ctx, nil); err != nil {
		return err
	}
	if t := d.mine.Transfer; t != nil {
		d.report.Bytes = t.Bytes
	}
	if err := btrfs.Snapshot(filepath.Join(d.stage.path, d.stage.ready.Name), d.stage.path, drillRestored, false); err != nil {
		return err
	}
	d.report.Seconds = time.Since(start).Seconds()
	against, done, err := d.original(v)
	if err != nil {
		return err
	}
	defer done()
	_, err = content.Compare(ctx, against, filepath.Join(d.stage.path, drillRestored), content.Options{Parts: 1, IOPriority: d.priority()}, func(f content.Difference) {
		if len(d.report.Findings) < maxDifferences {
			d.report.Findings = append(d.report.Findings, VerifyFinding{Destination: d.report.Destination, Backup: v.Name, Path: strings.ToValidUTF8(f.Path, "�"), What: f.What})
		}
	})
	if err == nil && against == v.path {
		err = d.compareFingerprint(ctx, v)
	}
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

func (d *drill) priority() int { return d.o.Job.IOClass.Class<<13 | d.o.Job.IOClass.Level }

// hasRoom refuses to fill the source's disk.
func (d *drill) hasRoom(ctx context.Context, v version) error {
	from := v.from
	if from == nil {
		from = Sending{}
	}
	changes, err := from.Changes(ctx, v.Subvolume, v.path, 0)
	if err != nil {
		return err
	}
	fsys, err := btrfs.Stat(d.o.Job.SnapshotDir)
	if err != nil {
		return err
	}
	const reserve = 1 << 30 // for those who work on it meanwhile, but no more than a tenth of the disk
	if need := changes.Bytes + min(reserve, fsys.Total/10); need > fsys.Free {
		return hintf("a drill needs room for a whole copy at the source", "%s has %d bytes free, and a drill needs %d", fsys.MountPoint, fsys.Free, need)
	}
	return nil
}

// original is what the restored subvolume has to be like. It is held until done is called.
func (d *drill) original(v version) (path string, done func(), err error) {
	for _, s := range d.src.snapshots {
		if btrfs.SameContent(s.Subvolume, v.Subvolume) && !d.src.altered[s.UUID] {
			if done, err = btrfs.Hold(s.Path, s.UUID); err == nil {
				d.report.Against = "its snapshot"
				return s.Path, done, nil
			}
		}
	}
	if v.from != nil {
		return "", nil, hintf("the next run makes a snapshot and a backup that can be compared", "the snapshot of %s is gone, and the backup is on another machine", v.Name)
	}
	d.report.Against = "the backup"
	return v.path, func() {}, nil
}

// empty deletes what an interrupted drill left in its directory.
func (s *staging) empty(ctx context.Context) error {
	names, err := os.ReadDir(s.path)
	for _, n := range names {
		if v, infoErr := btrfs.Info(filepath.Join(s.path, n.Name())); infoErr == nil && ctx.Err() == nil {
			err = errors.Join(err, btrfs.Delete(s.path, n.Name(), v.UUID))
		}
	}
	return err
}

// removeDrill deletes the directory of a drill with all that is in it. The caller holds its lock, and has made sure of the directory.
func removeDrill(ctx context.Context, dir string) error {
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, n := range names { // the lock among them: whoever waits for it finds the directory gone
		path := filepath.Join(dir, n.Name())
		if s, infoErr := btrfs.Info(path); infoErr == nil {
			err = errors.Join(err, btrfs.Delete(dir, n.Name(), s.UUID))
		} else if n.IsDir() || isStagingFile(n.Name()) { // what a snapshot has in the place of a subvolume is an empty directory
			err = errors.Join(err, os.Remove(path))
		}
	}
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := os.Remove(dir); err != nil {
		return err
	}
	return btrfs.Commit(filepath.Dir(dir))
}

// sweepDrill removes what a drill has left that was killed; one that is under way has the lock.
func (r *run) sweepDrill(ctx context.Context) error {
	dir := filepath.Join(r.job.SnapshotDir, drillDir)
	if _, err := os.Lstat(dir); err != nil || r.source.here == nil {
		return nil
	}
	if err := isOwnDir(dir); err != nil {
		return err
	}
	there, err := r.At(ctx, r.job, config.Destination{Name: "drill", URL: dir})
	if err != nil {
		return err
	}
	unlock, err := there.Lock(ctx, Holder{PID: os.Getpid(), Job: r.job.Name, Since: r.opts.Clock.Wall})
	var held *HeldError
	if errors.As(err, &held) {
		return nil
	} else if err != nil {
		return err
	}
	defer unlock()
	return errors.Join(removeDrill(ctx, dir), r.source.refresh(ctx))
}
