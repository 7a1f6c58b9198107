package jobs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// hiddenSnapshot is how the names of snapshots begin that a run has not finished: without an entry in the catalog, not compared yet.
const hiddenSnapshot = ".btrkeep-new-"

// HintError is an error with a sentence on what to do about it.
type HintError struct {
	Err  error
	Hint string
}

func (e *HintError) Error() string { return e.Err.Error() }
func (e *HintError) Unwrap() error { return e.Err }

// Hint finds the hint in an error; "" if there is none.
func Hint(err error) string {
	var h *HintError
	if errors.As(err, &h) {
		return h.Hint
	}
	return ""
}

func hintf(hint, format string, args ...any) error {
	return &HintError{Err: fmt.Errorf(format, args...), Hint: hint}
}

// source is what is known of a job's source at one moment.
type source struct {
	job       config.Job
	zone      *time.Location
	volume    btrfs.Subvolume
	fsys      btrfs.FileSystem
	dir       btrfs.Dir         // of the snapshots; zero while the directory is missing
	all       []btrfs.Subvolume // of the whole file system
	family    lineage
	snapshots []Snapshot // in the snapshot directory, read-only, of the family, oldest first by transaction
	leftovers []btrfs.Subvolume
	altered   map[btrfs.UUID]bool // snapshots of ours that somebody has written into: no parents for anything
	nested    []string            // subvolumes inside the source: not in its snapshots
}

// openSource looks at the source and refuses what could not be backed up right.
func openSource(job config.Job, zone *time.Location) (*source, error) {
	s := &source{job: job, zone: zone}
	var err error
	if s.volume, err = btrfs.Info(job.Source); err != nil {
		return nil, sourceError(job.Source, err)
	}
	if !s.volume.ReadOnly && !s.volume.ReceivedUUID.IsZero() {
		return nil, hintf("make a clean copy and use that: btrfs subvolume snapshot SOURCE COPY clears the received UUID",
			"source %s is writable but carries a received UUID: every snapshot of it would pass for something it is not", job.Source)
	}
	if s.fsys, err = btrfs.Stat(job.Source); err != nil {
		return nil, fmt.Errorf("source %s: %w", job.Source, err)
	}
	if err := s.locateDir(); err != nil {
		return nil, err
	}
	return s, s.refresh()
}

func sourceError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return hintf("is its file system mounted?", "source %s does not exist", path)
	case errors.Is(err, btrfs.ErrNotBtrfs):
		return hintf("btrkeep backs up btrfs subvolumes only; is the right file system mounted there?", "source %s is not on btrfs", path)
	case errors.Is(err, btrfs.ErrNotSubvolume):
		return hintf("name the subvolume that holds it, or turn the directory into one: btrfs subvolume create NEW; cp -a --reflink OLD/. NEW", "source %s is a plain directory, not a subvolume", path)
	}
	return fmt.Errorf("source %s: %w", path, err)
}

// locateDir finds the snapshot directory. The default one inside the source may be missing before the first run; one that was named must be there,
// since a missing one is more often a file system that is not mounted than a wish for a new directory.
func (s *source) locateDir() error {
	dir := s.job.SnapshotDir
	st, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && s.defaultDir():
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return hintf("make it with: mkdir -m 0700 "+dir, "snapshot directory %s does not exist", dir)
	case err != nil:
		return fmt.Errorf("snapshot directory: %w", err)
	case !st.IsDir():
		return hintf("a symbolic link there could lead anywhere; name the real directory as snapshot_dir", "snapshot directory %s is not a directory", dir)
	}
	if sys := st.Sys().(*syscall.Stat_t); s.defaultDir() && (int(sys.Uid) != os.Geteuid() || st.Mode().Perm()&0o022 != 0) {
		// Whoever owns the source may put a directory of their own there, and names of their choice into it.
		return hintf("look at what is in it, then: chown root "+dir+" && chmod 0700 "+dir, "snapshot directory %s can be written by others than root", dir)
	}
	if id, err := btrfs.FileSystemID(dir); err != nil || id != s.fsys.ID {
		return hintf("a snapshot can only be made on the file system of its source", "snapshot directory %s is not on the file system of %s", dir, s.job.Source)
	}
	if s.dir, err = btrfs.LocateDir(dir); err != nil {
		return fmt.Errorf("snapshot directory %s: %w", dir, err)
	}
	return nil
}

func (s *source) defaultDir() bool {
	return s.job.SnapshotDir == filepath.Join(s.job.Source, config.DefaultSnapshotDir)
}

// makeDir makes the default snapshot directory before the first snapshot.
func (s *source) makeDir() error {
	if s.dir != (btrfs.Dir{}) {
		return nil
	}
	if err := os.Mkdir(s.job.SnapshotDir, 0o700); err != nil {
		return fmt.Errorf("make the snapshot directory: %w", err)
	}
	return s.locateDir()
}

// refresh lists the file system anew.
func (s *source) refresh() error {
	var err error
	if s.all, err = btrfs.List(s.job.Source); err != nil {
		return fmt.Errorf("list subvolumes of %s: %w", s.job.Source, err)
	}
	s.family = newLineage(s.all, s.volume)
	s.snapshots, s.leftovers, s.nested = make([]Snapshot, 0, len(s.all)), nil, nil
	cat := catalog.Catalog{}
	if s.dir != (btrfs.Dir{}) {
		if cat, err = catalog.Read(s.job.SnapshotDir); err != nil {
			return err
		}
	}
	s.altered = map[btrfs.UUID]bool{}
	for _, v := range s.all {
		e, own := cat[v.UUID]
		if own {
			s.altered[v.UUID] = e.Ctransid != 0 && e.Ctransid != v.Ctransid
			s.family.join(v.UUID, e.Volume)
		}
		inDir := s.dir != (btrfs.Dir{}) && s.dir.Holds(v)
		switch {
		case inDir && strings.HasPrefix(v.Name, hiddenSnapshot):
			s.leftovers = append(s.leftovers, v)
		case inDir && v.ReadOnly && s.descends(v, own):
			s.snapshots = append(s.snapshots, s.snapshot(v, cat))
		case v.ParentID == s.volume.ID && !inDir:
			s.nested = append(s.nested, v.Name)
		}
	}
	slices.SortFunc(s.snapshots, func(a, b Snapshot) int { return cmp.Or(cmp.Compare(a.Otransid, b.Otransid), cmp.Compare(a.ID, b.ID)) })
	return nil
}

// descends reports whether v, in the snapshot directory, is a snapshot of the source. The top level of a file system that mkfs.btrfs before 4.16 has made has no UUID, and
// its snapshots no parent: then those are that btrkeep has made there.
func (s *source) descends(v btrfs.Subvolume, own bool) bool {
	if s.volume.UUID.IsZero() {
		return own && v.ParentUUID.IsZero() && v.ReceivedUUID.IsZero()
	}
	return s.family.related(v, s.volume)
}

func (s *source) snapshot(v btrfs.Subvolume, cat catalog.Catalog) Snapshot {
	n := Snapshot{Subvolume: v, Path: filepath.Join(s.job.SnapshotDir, v.Name)}
	e, own := cat[v.UUID]
	n.Own, n.Pinned, n.PinReason, n.Adhoc = own, e.Pinned != "", e.Pinned, e.Adhoc
	n.Taken = e.Taken
	if !own {
		var ok bool
		if n.Taken, ok = s.job.NameFormat.Parse(v.Name, s.zone); !ok {
			n.Taken = v.Created
		}
	}
	return n
}

// lastOwn is the newest snapshot that btrkeep made; nil if it has made none.
func (s *source) lastOwn() *Snapshot {
	for i := range slices.Backward(s.snapshots) {
		if s.snapshots[i].Own {
			return &s.snapshots[i]
		}
	}
	return nil
}

// isOwn reports whether btrkeep made the snapshot.
func (s *source) isOwn(id btrfs.UUID) bool {
	return slices.ContainsFunc(s.snapshots, func(n Snapshot) bool { return n.Own && n.UUID == id })
}

// alteredWarning names the snapshots that somebody has written into.
func (s *source) alteredWarning() string {
	var names []string
	for _, n := range s.snapshots {
		if s.altered[n.UUID] {
			names = append(names, n.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("somebody has written into %s at %s: not used as a parent any more; delete it when it is no longer wanted", strings.Join(names, ", "), s.job.SnapshotDir)
}

// unaltered are the subvolumes that may serve as parents, as far as we can tell.
func (s *source) unaltered() []btrfs.Subvolume {
	return slices.DeleteFunc(slices.Clone(s.all), func(v btrfs.Subvolume) bool { return s.altered[v.UUID] })
}
