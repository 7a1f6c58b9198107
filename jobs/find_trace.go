package jobs

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
)

// search follows paths through the moments of a job, from the newest on.
type search struct {
	job        config.Job
	patterns   []pattern
	unfolded   bool // every moment is a stretch of its own
	moments    []*moment
	trails     map[string][]stretch // of each path, the newest first
	unsearched []Unsearched
	said       map[[2]string]bool // of unsearched: the place and the error
	searched   int                // moments
	lookedAt   int                // files and directories
}

// stretch are moments that follow one another in which a path was the same.
type stretch struct {
	fact     *fact // of the newest; nil: the path is missing
	from, to int   // numbers of moments
}

func newSearch(job config.Job) *search {
	return &search{job: job, trails: map[string][]stretch{}, said: map[[2]string]bool{}}
}

// trace looks into every moment once, in the nearest place where that can be done.
func (r *Runner) trace(ctx context.Context, s *search, foreign bool) error {
	s.moments, s.unsearched = r.gather(ctx, s.job, foreign)
	for i, m := range s.moments {
		l := s.lookInto(ctx, m)
		if err := ctx.Err(); err != nil {
			return err
		}
		if l == nil { // nowhere any more, or nowhere to be read
			m.hidden = []string{""}
			continue
		}
		s.searched++
		m.hidden = l.hidden
		for _, seen := range l.seen {
			s.patterns[seen.pattern].found = true
			s.saw(i, seen.path, seen.fact)
		}
	}
	return nil
}

// lookInto looks into the places of a moment until one shows everything, and gives the best.
func (s *search) lookInto(ctx context.Context, m *moment) *look {
	var best *look
	for _, p := range m.places {
		l := &look{skip: s.ownDir()}
		err := l.into(ctx, p, s.patterns)
		s.lookedAt += l.lookedAt
		switch {
		case isGone(err):
			continue
		case err != nil:
			s.missed(p, err)
			continue
		case l.why == nil:
			return l
		}
		s.missed(p, l.why)
		if best == nil || len(l.hidden) < len(best.hidden) {
			best = l
		}
	}
	return best
}

// isGone reports whether a snapshot or backup was pruned since it was listed.
func isGone(err error) bool { return errors.Is(err, btrfs.ErrInUse) || errors.Is(err, fs.ErrNotExist) }

func (s *search) missed(p place, err error) {
	if key := [2]string{p.where, err.Error()}; !s.said[key] {
		s.said[key] = true
		s.unsearched = append(s.unsearched, Unsearched{Where: p.where, Snapshot: p.name, State: StateError, Error: err.Error(), Hint: Hint(err)})
	}
}

// ownDir is the directory of our own snapshots in the source; "" if it is elsewhere.
func (s *search) ownDir() string {
	if dir, err := filepath.Rel(s.job.Source, s.job.SnapshotDir); err == nil && dir != "." && !strings.HasPrefix(dir, "..") {
		return dir
	}
	return ""
}

// saw notes what a path is in moment number i, which is older than those before.
func (s *search) saw(i int, path string, f *fact) {
	trail, next := s.trails[path], 0
	if n := len(trail); n > 0 {
		next = trail[n-1].to + 1
	}
	if next > i { // another pattern matched it, too
		return
	}
	// Where it is not known what was there, nothing has been deleted.
	gap := stretch{from: -1}
	for j := next; j < i; j++ {
		if s.moments[j].hides(path) {
			continue
		}
		if gap.from < 0 {
			gap.from = j
		}
		gap.to = j
	}
	if gap.from >= 0 {
		trail = append(trail, gap)
	}
	if n := len(trail); n > 0 && !s.unfolded && trail[n-1].fact != nil && f.changeFrom(trail[n-1].fact) == ChangeSame {
		trail[n-1].to = i
	} else {
		trail = append(trail, stretch{f, i, i})
	}
	s.trails[path] = trail
}

// before is the newest moment older than stretch number k of which it is known what the path was; nil if there is none.
func (s *search) before(path string, k int) *moment {
	for _, m := range s.moments[s.trails[path][k].to+1:] {
		if !m.hides(path) {
			return m
		}
	}
	return nil
}
