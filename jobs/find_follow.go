package jobs

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream/diff"
	"github.com/btrkeep/btrkeep/config"
)

// ChangeRenamed is what became of a path that is elsewhere, or was.
const ChangeRenamed = "renamed"

// FollowOptions are those of [Runner.Follow].
type FollowOptions struct {
	MaxTime time.Duration // for comparing whole snapshots, which tells renames; 0: not at all
	Foreign bool          // as in FindOptions
}

// PathLog is the history of one path: `log --json`. Fields are only ever added.
type PathLog struct {
	Job        string       `json:"job"`
	Source     string       `json:"source"`
	Path       string       `json:"path"`
	PathBase64 string       `json:"path_base64,omitempty"`
	Snapshots  int          `json:"snapshots"`  // that were looked into
	Events     []PathEvent  `json:"events"`     // newest first
	Uncompared int          `json:"uncompared"` // events of which time did not allow to tell whether they are renames
	Unsearched []Unsearched `json:"unsearched"`
}

// PathEvent is what happened to a path between two snapshots that follow one another.
type PathEvent struct {
	Change     string    `json:"change"` // as in find, and renamed
	Time       time.Time `json:"time"`   // when the snapshot was taken
	Snapshot   string    `json:"snapshot"`
	OlderTime  time.Time `json:"older_time,omitzero"` // zero: there is none
	Older      string    `json:"older"`
	Type       string    `json:"type"` // of what was deleted, what it was
	OldType    string    `json:"old_type"`
	Size       int64     `json:"size"`
	OldSize    int64     `json:"old_size"`
	Metadata   []string  `json:"metadata"` // what of it changed: mode, owner, xattr
	Compared   bool      `json:"compared"` // whether the whole snapshots were compared, which tells all that follows
	Written    uint64    `json:"written"`  // bytes since the older snapshot
	Replaced   bool      `json:"replaced"` // another file has taken the path
	From       string    `json:"from,omitempty"`
	FromBase64 string    `json:"from_base64,omitempty"`
	To         string    `json:"to,omitempty"`
	ToBase64   string    `json:"to_base64,omitempty"`
}

// Follow tells what happened to one path: find, and for the snapshots between which it changed what the comparison of the two says. A path that is not found has no events.
// Errors are those of Find.
func (r *Runner) Follow(ctx context.Context, job config.Job, name string, o FollowOptions) (PathLog, error) {
	relative, err := belowSource(job.Source, name)
	if err != nil {
		return PathLog{}, err
	}
	s := newSearch(job)
	s.patterns = []pattern{plainPath(relative)}
	if err := r.trace(ctx, s, o.Foreign); err != nil {
		return PathLog{}, err
	}
	log := PathLog{Job: job.Name, Source: job.Source, Path: relative, PathBase64: rawBase64(relative), Snapshots: s.searched, Events: []PathEvent{}}
	if trail := s.trails[relative]; trail != nil {
		limited, cancel := context.WithTimeout(ctx, o.MaxTime)
		defer cancel()
		for k := range trail {
			e := s.event(relative, k)
			if tellsMore(e) && o.MaxTime > 0 {
				if !s.compare(limited, relative, k, &e) && limited.Err() != nil {
					log.Uncompared++
				}
			}
			log.Events = append(log.Events, e)
		}
	}
	log.Unsearched = append([]Unsearched{}, s.unsearched...)
	return log, ctx.Err()
}

// event is stretch number k of a path, as far as what the path says of itself tells.
func (s *search) event(path string, k int) PathEvent {
	list := s.trails[path]
	m := s.moments[list[k].to]
	e := PathEvent{Change: s.change(path, k), Time: m.taken, Snapshot: m.name, Metadata: []string{}}
	if older := s.before(path, k); older != nil {
		e.Older, e.OlderTime = older.name, older.taken
	}
	now, old := list[k].fact, (*fact)(nil)
	if k+1 < len(list) {
		old = list[k+1].fact
	}
	if old != nil {
		e.Type, e.OldType, e.OldSize = string(old.kind), string(old.kind), old.size
	}
	if now != nil {
		e.Type, e.Size = string(now.kind), now.size
	}
	if now != nil && old != nil && now.kind == old.kind {
		e.Metadata = now.metadataFrom(old)
	}
	return e
}

// tellsMore reports whether the comparison of the snapshots can add something.
func tellsMore(e PathEvent) bool {
	return e.Change == ChangeNew || e.Change == ChangeDeleted || e.Change == ChangeChanged && (e.Type != e.OldType || e.Type != string(diff.Directory))
}

// compare compares the snapshots before and after an event, if there is a file system that has both and time for it.
func (s *search) compare(ctx context.Context, path string, k int, e *PathEvent) bool {
	newer, older := s.moments[s.trails[path][k].to], s.before(path, k)
	for _, a := range older.places {
		for _, b := range newer.places {
			if a.fs != b.fs || a.altered || b.altered {
				continue
			}
			changes, err := between(ctx, a, b)
			switch {
			case err == nil:
				e.tell(path, changes)
				return true
			case ctx.Err() != nil:
				return false
			case !errors.Is(err, errUnrelated) && !isGone(err):
				s.missed(b, err)
			}
		}
	}
	return false
}

var errUnrelated = errors.New("were not made of one another")

// between compares two snapshots on one file system. Where one is a copy that was received whole, it has not a single file in common with the other.
func between(ctx context.Context, older, newer place) ([]diff.Change, error) {
	var born [2]unix.StatxTimestamp
	for i, p := range []place{older, newer} {
		release, err := btrfs.Hold(p.path, p.id)
		if err != nil {
			return nil, err
		}
		defer release()
		var st unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, p.path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BTIME, &st); err != nil {
			return nil, fmt.Errorf("stat %s: %w", p.path, err)
		}
		born[i] = st.Btime
	}
	if born[0] != born[1] { // a snapshot's root directory is as old as that of its origin
		return nil, errUnrelated
	}
	result, err := diff.Between(ctx, older.path, newer.path)
	if err != nil {
		return nil, fmt.Errorf("compare %s with %s: %w", older.path, newer.path, err)
	}
	return result.Changes, nil
}

// tell adds what the comparison of two snapshots says of a path.
func (e *PathEvent) tell(name string, changes []diff.Change) {
	e.Compared = true
	if i := slices.IndexFunc(changes, func(c diff.Change) bool { return c.Path == name && c.Kind != diff.Deleted }); i >= 0 {
		e.Written, e.Replaced = changes[i].Written, changes[i].Replaced
	}
	there, before := e.Change != ChangeDeleted, e.Change != ChangeNew
	if from, moved := otherEnd(name, changes, cameFrom); there && moved {
		e.From, e.FromBase64 = from, rawBase64(from)
	}
	if to, moved := otherEnd(name, changes, wentTo); before && moved {
		e.To, e.ToBase64 = to, rawBase64(to)
	}
	if !before && e.From != "" || !there && e.To != "" {
		e.Change = ChangeRenamed
	}
}

// otherEnd gives where a path was, or went: by what became of itself, or else of the nearest directory above it, since what lies in a directory that was renamed is
// not renamed itself.
func otherEnd(name string, changes []diff.Change, ends func(diff.Change) (here, there string)) (there string, moved bool) {
	for at := name; at != "." && at != "/"; at = path.Dir(at) {
		for _, c := range changes {
			if here, there := ends(c); here == at {
				return there + strings.TrimPrefix(name, at), there != "" && there != at
			}
		}
	}
	return "", false
}

// cameFrom gives a path in the newer snapshot and the one in the older; "" for none.
func cameFrom(c diff.Change) (here, there string) {
	switch c.Kind {
	case diff.Deleted:
		return "", ""
	case diff.Added:
		return c.Path, ""
	}
	return c.Path, c.From
}

// wentTo gives a path in the older snapshot and the one in the newer; "" for none.
func wentTo(c diff.Change) (here, there string) {
	switch c.Kind {
	case diff.Added:
		return "", ""
	case diff.Deleted:
		return c.Path, ""
	}
	return c.From, c.Path
}
