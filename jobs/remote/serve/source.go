package serve

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/remote/api"
)

func defaultSnapshots(source string) string { return filepath.Join(source, config.DefaultSnapshotDir) }

// origin looks at a source.
func (s *Server) origin(ctx context.Context, in api.Source) (*jobs.Here, jobs.Look, error) {
	if err := s.source(string(in.Path), string(in.SnapshotDir)); err != nil {
		return nil, jobs.Look{}, err
	}
	format, zone, err := words(in.NameFormat, in.Zone)
	if err != nil {
		return nil, jobs.Look{}, err
	}
	h := jobs.NewHere(s.job(in, format), zone)
	look, err := h.Look(ctx)
	return h, look, err
}

func (s *Server) job(in api.Source, format config.NameFormat) config.Job {
	return config.Job{Source: string(in.Path), SnapshotDir: string(in.SnapshotDir), NameFormat: format, OnlyIfChanged: in.OnlyIfChanged, Adhoc: in.Adhoc}
}

// toChange is origin for what needs the lock, which stays held until done is called.
func (s *Server) toChange(ctx context.Context, in api.Source) (h *jobs.Here, look jobs.Look, done func(), err error) {
	if h, look, err = s.origin(ctx, in); err == nil {
		done, err = s.held.use(string(in.SnapshotDir))
	}
	return h, look, done, err
}

// look tells of the subvolumes that matter to a job of the source, and of no others on its file system: its snapshots, what is inside it, and what is related.
func (s *Server) look(ctx context.Context, in api.Source) (api.Looked, error) {
	_, look, err := s.origin(ctx, in)
	if err != nil {
		return api.Looked{}, err
	}
	if !s.o.Trusted {
		look.All = slices.DeleteFunc(look.All, func(v btrfs.Subvolume) bool {
			return v.ID != look.Volume.ID && v.ParentID != look.Volume.ID && !inDir(look, v) && !snapshotOf(look, v)
		})
	}
	return api.Looked{Look: look, Greeting: s.greeting()}, nil
}

// snapshotOf reports whether v is a snapshot of the source, wherever it lies and whoever made it.
func snapshotOf(look jobs.Look, v btrfs.Subvolume) bool {
	return v.ReadOnly && v.ParentUUID == look.Volume.UUID && !v.ParentUUID.IsZero()
}

func inDir(look jobs.Look, v btrfs.Subvolume) bool {
	return look.Dir != (btrfs.Dir{}) && look.Dir.Holds(v)
}

func (s *Server) take(ctx context.Context, in api.Taking) (api.Taken, error) {
	h, _, done, err := s.toChange(ctx, in.Source)
	if err != nil {
		return api.Taken{}, err
	}
	defer done()
	id, err := h.Take(ctx, in.Now)
	return api.Taken{UUID: id}, err
}

func (s *Server) cleanSource(ctx context.Context, in api.Source) (api.Cleaned, error) {
	h, _, done, err := s.toChange(ctx, in)
	if err != nil {
		return api.Cleaned{}, err
	}
	defer done()
	removed, err := h.Clean(ctx)
	return api.Cleaned{Removed: removed, Error: api.Encode(err)}, nil
}

func (s *Server) deleteSnapshots(ctx context.Context, in api.SourceDeletion) (api.Deleted, error) {
	h, look, done, err := s.toChange(ctx, in.Source)
	if err != nil {
		return api.Deleted{}, err
	}
	defer done()
	var out api.Deleted
	var gone []btrfs.Subvolume
	for _, n := range in.Snapshots { // in the order that was asked for
		if i := slices.IndexFunc(look.All, func(v btrfs.Subvolume) bool { return v.UUID == n.UUID && v.Name == string(n.Name) && inDir(look, v) }); i >= 0 {
			gone = append(gone, look.All[i])
		}
	}
	err = h.Delete(ctx, gone, func(id btrfs.UUID) { out.Gone = append(out.Gone, id) })
	out.Error = api.Encode(err)
	return out, nil
}

func (s *Server) changed(ctx context.Context, in api.SourceChange) (api.Changed, error) {
	h, look, err := s.origin(ctx, in.Source)
	if err != nil {
		return api.Changed{}, err
	}
	i := slices.IndexFunc(look.All, func(v btrfs.Subvolume) bool { return v.UUID == in.Since })
	if i < 0 {
		return api.Changed{}, fmt.Errorf("there is no snapshot %s", in.Since)
	}
	changed, err := h.Changed(ctx, jobs.Snapshot{Subvolume: look.All[i]})
	return api.Changed{Changed: changed}, err
}

func (s *Server) pinSnapshot(ctx context.Context, in api.SourcePinning) (api.Pinned, error) {
	h, _, done, err := s.toChange(ctx, in.Source)
	if err != nil {
		return api.Pinned{}, err
	}
	defer done()
	known, err := h.Pin(ctx, in.UUID, in.Reason)
	return api.Pinned{Known: known}, err
}

// snapshots are those of a source that may be sent, and what others may be compared with that the client may know: any for one with a shell, else any snapshot of the source, as another tool may have made.
func (s *Server) snapshots(ctx context.Context, in api.Source) (among, error) {
	_, look, err := s.origin(ctx, in)
	var a among
	for _, v := range look.All {
		switch {
		case !v.ReadOnly:
		case inDir(look, v):
			a = append(a, found{v, filepath.Join(string(in.SnapshotDir), v.Name)})
		case s.o.Trusted, snapshotOf(look, v):
			a = append(a, found{Subvolume: v})
		}
	}
	return a, err
}

func (s *Server) sendSnapshot(w http.ResponseWriter, r *http.Request) {
	var in api.SourceSending
	err := decode(w, r, &in)
	if err == nil {
		var a among
		if a, err = s.snapshots(r.Context(), in.Source); err == nil {
			stream(w, r, a, in.Outgoing)
			return
		}
	}
	fail(w, err)
}

func (s *Server) sourceChanges(ctx context.Context, in api.SourceChanging) (btrfs.Changes, error) {
	a, err := s.snapshots(ctx, in.Source)
	if err != nil {
		return btrfs.Changes{}, err
	}
	return a.changes(ctx, in.Of, in.Since)
}

func (s *Server) lockSource(w http.ResponseWriter, r *http.Request) {
	var in api.SourceLocking
	err := header(r, &in)
	if err == nil {
		err = s.source(string(in.Path), string(in.SnapshotDir))
	}
	if err != nil {
		fail(w, err)
		return
	}
	in.Holder.Client, in.Holder.PID = in.Session, unix.Getpid()
	s.hold(w, r, string(in.SnapshotDir), in.Session, ever, func() (func(), error) {
		return jobs.LockSnapshots(s.o.RuntimeDir, string(in.SnapshotDir), in.Holder)
	})
}
