package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
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
	Look
	job       config.Job
	zone      *time.Location
	origin    Origin
	here      *Here // the origin, if it is on this machine
	family    lineage
	snapshots []Snapshot          // in the snapshot directory, read-only, of the family, oldest first by transaction
	altered   map[btrfs.UUID]bool // snapshots of ours that somebody has written into: no parents for anything
	nested    []string            // subvolumes inside the source: not in its snapshots
}

// openSource looks at the source of a job. It must be closed. A job that prunes what others keep here has none, and no snapshots.
func (r *Runner) openSource(ctx context.Context, job config.Job) (*source, error) {
	if job.Received != "" {
		return newSource(job, r.Config.Timezone, Look{}), nil
	}
	var origin Origin
	here := NewHere(job, r.Config.Timezone)
	here.view = r.View
	if origin = here; job.Remote() {
		here = nil
		var err error
		if origin, err = r.Origin(ctx, job); err != nil {
			return nil, err
		}
	}
	look, err := origin.Look(ctx)
	if err != nil {
		return nil, errors.Join(err, origin.Close())
	}
	s := newSource(job, r.Config.Timezone, look)
	s.origin, s.here = origin, here
	return s, nil
}

// close is also for one that could not be opened.
func (s *source) close() {
	if s != nil && s.origin != nil {
		_ = s.origin.Close()
	}
}

// refresh looks anew.
func (s *source) refresh(ctx context.Context) error {
	look, err := s.origin.Look(ctx)
	if err != nil {
		return err
	}
	s.settle(look)
	return nil
}

// newSource is a source as it looks.
func newSource(job config.Job, zone *time.Location, look Look) *source {
	s := &source{job: job, zone: zone}
	s.settle(look)
	return s
}

// settle finds out what look means.
func (s *source) settle(look Look) {
	s.Look = look
	if s.listing == nil {
		s.listing = &btrfs.Listing{All: s.All}
	}
	if s.family = (lineage{base: s.kin, own: relation{}}); s.kin == nil {
		s.family = newLineage(s.All, s.Volume)
	}
	s.family.add(s.Volume)
	s.altered = make(map[btrfs.UUID]bool, len(s.Catalog))
	for id, e := range s.Catalog {
		if v, ok := s.listing.Find(id); ok {
			s.altered[id] = e.Ctransid != 0 && e.Ctransid != v.Ctransid
			s.family.join(id, e.Volume)
		}
	}
	s.snapshots, s.nested = nil, nil
	if s.Dir != (btrfs.Dir{}) {
		there := s.listing.In(s.Dir)
		s.snapshots = make([]Snapshot, 0, len(there))
		for _, v := range there {
			_, own := s.Catalog[v.UUID]
			if v.ReadOnly && !strings.HasPrefix(v.Name, hiddenSnapshot) && s.descends(v, own) {
				s.snapshots = append(s.snapshots, s.snapshot(v))
			}
		}
	}
	for _, v := range s.listing.Inside(s.Volume.ID) {
		if s.Dir == (btrfs.Dir{}) || !s.Dir.Holds(v) {
			s.nested = append(s.nested, v.Name)
		}
	}
	slices.SortFunc(s.snapshots, func(a, b Snapshot) int { return cmp.Or(cmp.Compare(a.Otransid, b.Otransid), cmp.Compare(a.ID, b.ID)) })
}

// sender sends what is at the source.
func (s *source) sender() Sender {
	if s.here != nil {
		return s.here.Sending
	}
	return s.origin
}

// owner is whose backups those of this source are.
func (s *source) owner() Owner {
	return Owner{Machine: s.Machine, Path: s.job.SourcePath(), Volume: s.Volume.UUID, FileSystem: s.FileSystem.ID}
}

// descends reports whether v, in the snapshot directory, is a snapshot of the source. The top level of a file system that mkfs.btrfs before 4.16 has made has no UUID, and
// its snapshots no parent: then those are that btrkeep has made there.
func (s *source) descends(v btrfs.Subvolume, own bool) bool {
	if s.Volume.UUID.IsZero() {
		return own && v.ParentUUID.IsZero() && v.ReceivedUUID.IsZero()
	}
	return s.family.related(v, s.Volume)
}

func (s *source) snapshot(v btrfs.Subvolume) Snapshot {
	n := Snapshot{Subvolume: v, Path: s.job.SnapshotDir + "/" + v.Name}
	e, own := s.Catalog[v.UUID]
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

// countOwn is how many snapshots btrkeep has made.
func (s *source) countOwn() (n int) {
	for _, snap := range s.snapshots {
		if snap.Own {
			n++
		}
	}
	return n
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
	return slices.DeleteFunc(slices.Clone(s.All), func(v btrfs.Subvolume) bool { return s.altered[v.UUID] })
}

// take has a snapshot of the source made. With only_if_changed, and when nothing has, taken is nil.
func (s *source) take(ctx context.Context, now time.Time) (taken *Snapshot, err error) {
	id, err := s.origin.Take(ctx, now)
	if err != nil || id.IsZero() {
		return nil, err
	}
	if err := s.refresh(ctx); err != nil {
		return nil, err
	}
	for i, n := range s.snapshots {
		if n.UUID == id {
			return &s.snapshots[i], nil
		}
	}
	return nil, fmt.Errorf("the snapshot of %s vanished right after it was made", s.job.Source)
}

// nestedWarning names the subvolumes that the snapshots do not contain.
func (s *source) nestedWarning() string {
	if len(s.nested) == 0 {
		return ""
	}
	return fmt.Sprintf("%s holds other subvolumes, which are not in its snapshots: %s; give each a job of its own", s.job.Source, quoted(s.nested))
}

// quoted are names that any user may have chosen, the first few of them.
func quoted(names []string) string {
	const most = 5
	var all []string
	for _, n := range names[:min(len(names), most)] {
		all = append(all, strconv.Quote(n))
	}
	text := strings.Join(all, ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
