package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// stagingPrefix begins the names of directories into which backups are brought to be restored. The rest is the UUID that the backup has in streams: the same
// restoration, run again, goes on where it was interrupted.
const stagingPrefix = ".btrkeep-restore-"

// staging is a hidden directory on the file system to which is restored, and for the transfer a destination like any other. A read-only subvolume cannot be moved out of it:
// what is restored is a snapshot of it.
type staging struct {
	r    *restoring
	v    version
	dir  string // that the staging directory is in
	path string

	brought bool // it is needed, else all is on that file system already
	dest    Destination
	unlock  func()
	ready   Backup
}

func (r *restoring) staging(dir string, v version) *staging {
	return &staging{r: r, v: v, dir: dir, path: filepath.Join(dir, stagingPrefix+v.StreamUUID().String()), unlock: func() {}}
}

// made reports whether the subvolume at path was made of what is staged.
func (s *staging) made(path string) bool {
	staged, err := btrfs.Info(filepath.Join(s.path, s.v.Name))
	if err != nil {
		return false
	}
	made, err := btrfs.Info(path)
	return err == nil && made.ParentUUID == staged.UUID
}

// bring gives the path of a read-only subvolume with the version's content on the file system of the staging directory: what is there already, or what it brings there. It must be
// closed.
func (s *staging) bring(ctx context.Context) (path string, err error) {
	fsys, err := btrfs.FileSystemID(s.dir)
	if err != nil {
		return "", err
	}
	if s.v.from == nil {
		if at, err := btrfs.FileSystemID(s.v.path); err != nil {
			return "", err
		} else if at == fsys {
			return s.v.path, nil
		}
	}
	known := s.r.known(fsys)
	for _, snap := range known {
		if btrfs.SameContent(snap.Subvolume, s.v.Subvolume) {
			return snap.Path, nil
		}
	}
	s.brought = true
	if s.r.o.DryRun {
		return "", s.plan(ctx, known)
	}
	if err := s.open(ctx); err != nil {
		return "", err
	}
	if err := s.transfer(ctx, known); err != nil {
		err = errors.Join(err, s.tidy(ctx))
		s.close()
		return "", err
	}
	return filepath.Join(s.path, s.ready.Name), nil
}

// known are the snapshots on the file system that nobody has written into.
func (r *restoring) known(fsys btrfs.UUID) []Snapshot {
	if r.src == nil || r.src.here == nil || r.src.FileSystem.ID != fsys {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(r.src.snapshots), func(n Snapshot) bool { return !n.Own || r.src.altered[n.UUID] })
}

func (s *staging) open(ctx context.Context) (err error) {
	if err := makeOwnDir(s.path); err != nil {
		return err
	}
	if s.dest, err = s.r.At(ctx, s.r.o.Job, config.Destination{Name: "restore", URL: s.path}); err != nil {
		return err
	}
	s.unlock, err = s.dest.Lock(ctx, Holder{PID: os.Getpid(), Job: "restore " + s.v.Name, Since: s.r.o.Clock.Wall})
	return err
}

func (s *staging) close() { s.unlock() }

// sender sends the version as a run would send a snapshot: its siblings serve as parents if the file system has them too.
func (s *staging) sender(known []Snapshot) (snd *sender, snap Snapshot, there []Backup) {
	snap = Snapshot{Subvolume: s.v.Subvolume, Path: s.v.path, Taken: s.v.taken, Own: true}
	src := &source{job: config.Job{Name: s.r.o.Job.Name}, snapshots: []Snapshot{snap}, Look: Look{All: []btrfs.Subvolume{snap.Subvolume}}}
	for _, b := range s.v.siblings {
		if b.Own && b.Complete && !b.Altered && b.UUID != snap.UUID {
			src.snapshots, src.All = append(src.snapshots, Snapshot{Subvolume: b.Subvolume, Path: b.Path, Taken: b.Taken, Own: true}), append(src.All, b.Subvolume)
		}
	}
	src.family = newLineage(src.All, btrfs.Subvolume{})
	for _, n := range known {
		there = append(there, Backup{Subvolume: n.Subvolume, Path: n.Path, Taken: n.Taken, Complete: true, Own: true})
	}
	from := s.v.from
	if from == nil {
		from = Sending{}
	}
	snd = &sender{
		Sender: from, source: src, dest: s.dest, cfg: config.Destination{Name: "restore"}, slots: s.r.Slots, backoff: s.r.Backoff, progress: s.r.report, warn: s.r.note,
		fault: func(format string, args ...any) { s.r.Log.Error(fmt.Sprintf(format, args...)) },
		saved: func(Snapshot, sendstream.Identity) {}, // the backup is held only while this lasts; what goes on finds it or starts over
	}
	return snd, snap, there
}

func (s *staging) transfer(ctx context.Context, known []Snapshot) error {
	there, err := s.dest.List(ctx)
	if err != nil {
		return err
	}
	for _, b := range there.Backups {
		if b.Own && b.Complete && !b.Altered && btrfs.SameContent(b.Subvolume, s.v.Subvolume) {
			s.ready = b
			return nil
		}
	}
	snd, snap, parents := s.sender(known)
	from, useless := resumable([]Snapshot{snap}, there)
	if _, err := s.dest.Clean(ctx, useless); err != nil {
		return err
	}
	var goOn *Leftover
	if l, ok := from[snap.StreamUUID()]; ok {
		goOn = &l
	}
	tr, made := snd.transfer(ctx, snap, parents, goOn)
	s.r.mine.Transfer = &tr
	if made == nil {
		return hintf(tr.Hint, "bring %s to %s: %s", s.v.path, s.dir, tr.Error)
	}
	s.ready = *made
	return nil
}

// plan tells what would be transferred.
func (s *staging) plan(ctx context.Context, known []Snapshot) error {
	snd, snap, parents := s.sender(known)
	b := snd.source.bases(snap.Subvolume, snd.source.All, parents)[0]
	estimates, cancel := context.WithTimeout(ctx, estimateTime)
	defer cancel()
	s.r.mine.Transfer = &Transfer{
		Destination: snd.cfg.Name, Snapshot: snap.Name, Parent: b.parentName(), Bytes: estimate(ctx, estimates, snd.Sender, snap, b, btrfs.StreamVersion()),
	}
	return nil
}

// clear removes all of it, when what was restored is at its place.
func (s *staging) clear(ctx context.Context) error {
	if !s.brought {
		return nil
	}
	gone, err := s.dest.Delete(ctx, []Backup{s.ready})
	if err != nil || len(gone) == 0 {
		return err
	}
	return s.tidy(ctx)
}

// sweep removes what a restoration has left that was interrupted while it removed all this itself.
func (s *staging) sweep(ctx context.Context) error {
	if _, err := os.Lstat(s.path); err != nil || s.r.o.DryRun {
		return nil
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	defer s.close()
	return s.tidy(ctx)
}

// tidy removes the directory if there is nothing in it to go on from.
func (s *staging) tidy(ctx context.Context) error {
	if s.dest == nil || ctx.Err() != nil {
		return nil
	}
	there, err := s.dest.List(ctx)
	if err != nil || len(there.Backups)+len(there.Leftovers) > 0 {
		return err
	}
	for _, name := range stagingFiles { // whoever waits for the lock finds the directory gone, and makes another one
		if e := os.Remove(filepath.Join(s.path, name)); !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return errors.Join(err, os.Remove(s.path))
}

// keepCommon puts a snapshot with the content that was restored into the snapshot directory of the new subvolume: the next run of its job sends only what has changed since.
//
// There is such a directory already if the subvolume was made by a restoration that was interrupted later on.
func (r *restoring) keepCommon(from, to string, v version, made bool) error {
	dir := filepath.Join(to, config.DefaultSnapshotDir)
	if job := r.o.Job; job.Name != "" && job.SnapshotDir != filepath.Join(job.Source, config.DefaultSnapshotDir) {
		dir = job.SnapshotDir
	} else if isOwnTwin(dir, v.Subvolume) {
		r.mine.Common = filepath.Join(dir, v.Name)
		return nil
	} else if made && hasOwn(dir) {
		return nil // it has been in use since
	} else if err := prepareSnapshotDir(dir, r.o.Clock.Wall); err != nil {
		return err
	}
	volume, err := btrfs.Info(to)
	if err != nil {
		return err
	}
	n := Snapshot{Subvolume: v.Subvolume, Path: from, Taken: v.taken}
	if err := moveSnapshots([]Snapshot{n}, catalog.Catalog{}, dir, volume.UUID, r.o.Clock.Wall); err != nil {
		return err
	}
	r.mine.Common = filepath.Join(dir, v.Name)
	return btrfs.Commit(dir)
}

// isOwnTwin reports whether dir has, by its catalog, a snapshot with the content of s under its name.
func isOwnTwin(dir string, s btrfs.Subvolume) bool {
	there, err := btrfs.Info(filepath.Join(dir, s.Name))
	if err != nil || !btrfs.SameContent(there, s) {
		return false
	}
	cat, err := catalog.Read(dir)
	return err == nil && !cat[there.UUID].UUID.IsZero()
}

// prepareSnapshotDir makes an empty snapshot directory, of root's alone. What came with the content under that name is not one: it has the account of another one, empty directories in the place of the snapshots that
// were there, and whatever the owner of the source has put into it. What is more than that is kept beside it.
func prepareSnapshotDir(dir string, now time.Time) error {
	if fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
		d := os.NewFile(uintptr(fd), dir)
		names, _ := d.Readdirnames(-1)
		for _, name := range names {
			_ = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR) // an empty directory, or nothing happens
			if isStagingFile(name) {
				_ = unix.Unlinkat(fd, name, 0)
			}
		}
		d.Close()
	}
	err := unix.Rmdir(dir)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		err = unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, fmt.Sprintf("%s.before-restore-%s", dir, now.UTC().Format("20060102T150405Z")), unix.RENAME_NOREPLACE)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("make room for the snapshot directory %s: %w", dir, err)
	}
	return os.Mkdir(dir, 0o700)
}

// hasOwn reports whether the directory has snapshots that are in its catalog.
func hasOwn(dir string) bool {
	cat, err := catalog.Read(dir)
	if err != nil {
		return false
	}
	names, _ := os.ReadDir(dir)
	return slices.ContainsFunc(names, func(n os.DirEntry) bool {
		s, err := btrfs.Info(filepath.Join(dir, n.Name()))
		return err == nil && !cat[s.UUID].UUID.IsZero()
	})
}

// moveSnapshots makes twins of snapshots in dir, the snapshot directory of volume, with the entries that they have in their catalog. Those that are there already it leaves.
func moveSnapshots(snapshots []Snapshot, cat catalog.Catalog, dir string, volume btrfs.UUID, now time.Time) error {
	type twin struct{ hidden, name string }
	var twins []twin
	var entries []catalog.Entry
	for i, n := range snapshots {
		if there, err := btrfs.Info(filepath.Join(dir, n.Name)); err == nil && btrfs.SameContent(there, n.Subvolume) {
			continue
		}
		hidden := fmt.Sprintf("%s%d-%d-%d", hiddenSnapshot, os.Getpid(), now.UnixNano(), i)
		made, err := btrfs.Twin(n.Path, dir, hidden)
		if err != nil {
			return err
		}
		e, known := cat[n.UUID]
		if !known {
			e = catalog.Entry{Name: n.Name, Taken: n.Taken}
		}
		e.UUID, e.Ctransid, e.Volume = made.UUID, made.Ctransid, volume
		entries, twins = append(entries, e), append(twins, twin{hidden, n.Name})
	}
	if len(entries) == 0 {
		return nil
	}
	if err := catalog.Add(dir, entries...); err != nil {
		return err
	}
	for _, t := range twins {
		if err := btrfs.Rename(dir, t.hidden, t.name); err != nil {
			return err
		}
	}
	return nil
}
