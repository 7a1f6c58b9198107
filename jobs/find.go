package jobs

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/btrkeep/btrkeep/config"
)

// ErrPath means that a path to be found cannot be one in the source.
var ErrPath = errors.New("is not below the source")

// What became of a path from one snapshot to the next newer one.
const (
	ChangeNew      = "new"      // the older one lacks it
	ChangeChanged  = "changed"  // type, size, time of modification, or where a symbolic link points
	ChangeMetadata = "metadata" // nothing but mode, owner or xattrs
	ChangeSame     = "same"
	ChangeDeleted  = "deleted" // the older one has it
	ChangeFirst    = "first"   // there is no older one to compare with
)

// FindOptions are those of [Runner.Find].
type FindOptions struct {
	All     bool // also versions that are the same as the next older one
	Foreign bool // also what btrkeep did not make and cannot tell to be of the source
}

// Found is what find found: `find --json`. Fields are only ever added.
type Found struct {
	Job        string       `json:"job"`
	Source     string       `json:"source"`
	Snapshots  int          `json:"snapshots"` // that were looked into, a snapshot and its backups being one
	LookedAt   int          `json:"looked_at"` // files and directories in them
	Paths      []FoundPath  `json:"paths"`     // sorted
	NotFound   []string     `json:"not_found"` // of the paths and patterns asked for
	Unsearched []Unsearched `json:"unsearched"`
}

// FoundPath is one path with its versions, newest first.
type FoundPath struct {
	Path       string         `json:"path"` // in the source; "." is its root
	PathBase64 string         `json:"path_base64,omitempty"`
	Versions   []FoundVersion `json:"versions"`
}

// FoundVersion is one state of a path and the snapshots that follow one another in which it was so; none has it if it was deleted.
type FoundVersion struct {
	Change       string       `json:"change"`
	Time         time.Time    `json:"time"`     // when the newest of the snapshots was taken
	Snapshot     string       `json:"snapshot"` // the newest
	OldestTime   time.Time    `json:"oldest_time"`
	Oldest       string       `json:"oldest"`
	Snapshots    int          `json:"snapshots"`
	Type         string       `json:"type"` // as in diff; "" of what was deleted, as all that follows
	Size         int64        `json:"size"` // of regular files
	MTime        string       `json:"mtime"`
	Mode         string       `json:"mode"` // octal
	UID          uint32       `json:"uid"`
	GID          uint32       `json:"gid"`
	Target       string       `json:"target,omitempty"` // of a symbolic link
	TargetBase64 string       `json:"target_base64,omitempty"`
	Places       []FoundPlace `json:"places"`
}

// FoundPlace is the source or a destination that has a version.
type FoundPlace struct {
	Where      string `json:"where"`
	Path       string `json:"path"` // of the file, in the newest snapshot or backup there
	PathBase64 string `json:"path_base64,omitempty"`
	Snapshot   string `json:"snapshot"`  // the newest there
	Oldest     string `json:"oldest"`    // all in between have it, too
	Snapshots  int    `json:"snapshots"` // there
	Altered    bool   `json:"altered"`   // somebody has written into the snapshot or backup
}

// Unsearched is what could not be looked at.
type Unsearched struct {
	Where    string `json:"where"`
	Snapshot string `json:"snapshot,omitempty"` // "": the whole place
	State    string `json:"state"`              // absent, error, foreign
	Error    string `json:"error"`
	Hint     string `json:"hint,omitempty"`
}

// Find finds all versions of paths over the snapshots and backups of a job. A path is one relative to the source or below it, or a pattern: *, ? and […] match within
// one name, ** any number of directories. Errors wrap ErrPath, or are those of ctx; whatever cannot be looked at says so in its place.
//
// A path is looked up once in each snapshot, in the nearest place that has it; patterns read the directories that can match. No content is read, no symbolic link
// followed. What is the same is decided by what a file says of itself, for a directory without looking into it.
func (r *Runner) Find(ctx context.Context, job config.Job, paths []string, o FindOptions) (Found, error) {
	s := newSearch(job)
	for _, text := range paths {
		p, err := parsePattern(job.Source, text)
		if err != nil {
			return Found{}, err
		}
		s.patterns = append(s.patterns, p)
	}
	s.unfolded = o.All
	if err := r.trace(ctx, s, o.Foreign); err != nil {
		return Found{}, err
	}
	found := Found{
		Job: job.Name, Source: job.Source, Snapshots: s.searched, LookedAt: s.lookedAt,
		Paths: []FoundPath{}, NotFound: []string{}, Unsearched: append([]Unsearched{}, s.unsearched...),
	}
	for _, path := range slices.Sorted(maps.Keys(s.trails)) {
		found.Paths = append(found.Paths, FoundPath{Path: path, PathBase64: rawBase64(path), Versions: s.versions(path)})
	}
	for i, p := range s.patterns {
		if !p.found {
			found.NotFound = append(found.NotFound, paths[i])
		}
	}
	return found, nil
}

// versions gives the versions of one path, newest first.
func (s *search) versions(path string) []FoundVersion {
	var all []FoundVersion
	for k, now := range s.trails[path] {
		newest, oldest := s.moments[now.from], s.moments[now.to]
		v := FoundVersion{
			Change: s.change(path, k), Time: newest.taken, Snapshot: newest.name, OldestTime: oldest.taken, Oldest: oldest.name, Places: []FoundPlace{},
		}
		for i := now.from; i <= now.to; i++ {
			if s.moments[i].hides(path) {
				continue
			}
			v.Snapshots++
			if now.fact != nil {
				v.Places = addPlaces(v.Places, s.moments[i].places, path)
			}
		}
		if f := now.fact; f != nil {
			v.Type, v.Size, v.MTime, v.Mode, v.UID, v.GID = string(f.kind), f.size, f.mtime.String(), f.octal(), f.uid, f.gid
			v.Target, v.TargetBase64 = f.target, rawBase64(f.target)
		}
		all = append(all, v)
	}
	return all
}

// change is what became of a path with stretch number k of its trail.
func (s *search) change(path string, k int) string {
	list := s.trails[path]
	switch {
	case list[k].fact == nil:
		return ChangeDeleted
	case k+1 < len(list) && list[k+1].fact != nil:
		return list[k].fact.changeFrom(list[k+1].fact)
	case k+1 < len(list), s.before(path, k) != nil:
		return ChangeNew
	}
	return ChangeFirst
}

// addPlaces counts one more snapshot in places that are in the order of the nearest; snapshots come newest first.
func addPlaces(all []FoundPlace, places []place, path string) []FoundPlace {
	for _, p := range places {
		i := slices.IndexFunc(all, func(q FoundPlace) bool { return q.Where == p.where && q.Altered == p.altered })
		if i < 0 {
			full := p.path
			if path != "." {
				full += "/" + path
			}
			all = append(all, FoundPlace{Where: p.where, Path: full, PathBase64: rawBase64(full), Snapshot: p.name, Altered: p.altered})
			i = len(all) - 1
		}
		all[i].Oldest = p.name
		all[i].Snapshots++
	}
	return all
}

// rawBase64 is a name that JSON cannot carry, in base64; "" for all others.
func rawBase64(name string) string {
	if utf8.ValidString(name) {
		return ""
	}
	return base64.StdEncoding.EncodeToString([]byte(name))
}
