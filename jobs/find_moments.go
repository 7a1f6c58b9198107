package jobs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
)

// moment is the source at one time: a snapshot and its backups, or backups whose snapshot is gone.
type moment struct {
	name   string
	taken  time.Time
	places []place  // the nearest first
	hidden []string // what could not be looked at, with everything below it; "" is everything
}

// place is one subvolume that holds a moment.
type place struct {
	where   string // AtSource, or a destination
	fs      int    // the same for those on one file system
	name    string
	path    string
	id      btrfs.UUID
	altered bool
}

// hides reports whether it is unknown what the path was.
func (m *moment) hides(path string) bool {
	return slices.ContainsFunc(m.hidden, func(h string) bool { return h == "" || path == h || strings.HasPrefix(path, h+"/") })
}

// moments are being collected.
type moments struct {
	list    []*moment
	by      map[btrfs.UUID]*moment
	foreign bool // whether what may be of another source is wanted
}

// add adds a snapshot or backup: to the moment of the same content, if there is one ([btrfs.SameContent]). What somebody has written into is none but its own.
func (m *moments) add(s btrfs.Subvolume, p place, taken time.Time) {
	p.name, p.id = s.Name, s.UUID
	n := m.of(s)
	if n == nil || p.altered {
		n = &moment{name: s.Name, taken: taken}
		m.list = append(m.list, n)
	}
	n.places = append(n.places, p)
	if !p.altered {
		m.by[s.UUID] = n
		if !s.ReceivedUUID.IsZero() {
			m.by[s.ReceivedUUID] = n
		}
	}
}

func (m *moments) of(s btrfs.Subvolume) *moment {
	if n := m.by[s.UUID]; n != nil || s.ReceivedUUID.IsZero() {
		return n
	}
	return m.by[s.ReceivedUUID]
}

// gather lists everything that exists of a job, newest first.
func (r *Runner) gather(ctx context.Context, job config.Job, foreign bool) (list []*moment, missed []Unsearched) {
	m := &moments{by: map[btrfs.UUID]*moment{}, foreign: foreign}
	src, err := r.openSource(ctx, job)
	if err != nil {
		missed = append(missed, Unsearched{Where: AtSource, State: StateError, Error: err.Error(), Hint: Hint(err)})
		src = &source{job: job}
	}
	defer src.close()
	if src.origin != nil && src.here == nil {
		missed = append(missed, elsewhere(AtSource, job.Source))
	}
	for _, n := range src.snapshots {
		if src.here == nil {
			break
		}
		m.add(n.Subvolume, place{where: AtSource, path: n.Path, altered: src.altered[n.UUID]}, n.Taken)
	}
	family := newLineage(src.All, src.Volume)
	state, _ := LoadState(r.Config.StateDir, job) // only where the destination was last
	for i, d := range job.Destinations {
		backups, problem := r.backupsAt(ctx, src, job, d, state)
		if problem != nil {
			missed = append(missed, *problem)
			continue
		}
		if n := m.addBackups(backups, d.Name, i+1, family, src.Volume); n > 0 {
			missed = append(missed, Unsearched{
				Where: d.Name, State: "foreign", Error: fmt.Sprintf("%d that btrkeep did not make, and that may be of another source", n), Hint: "--foreign looks into them, too",
			})
		}
	}
	slices.Reverse(m.list) // of those that were taken at one time the later made comes first
	slices.SortStableFunc(m.list, func(a, b *moment) int { return b.taken.Compare(a.taken) })
	return m.list, missed
}

// elsewhere is a place on another machine.
func elsewhere(where, url string) Unsearched {
	return Unsearched{Where: where, State: StateElsewhere, Error: url + " is on another machine", Hint: "look into it there; `btrkeep restore` brings back from it what is wanted"}
}

// backupsAt lists the backups of a destination, also without a source or on a disk that cannot be written.
func (r *Runner) backupsAt(ctx context.Context, src *source, job config.Job, d config.Destination, state State) ([]Backup, *Unsearched) {
	if !d.Local() {
		u := elsewhere(d.Name, d.URL)
		return nil, &u
	}
	seen, there := r.inspect(ctx, src, job, d, state)
	if seen.State == StateError && r.At != nil {
		if dest, err := r.At(ctx, job, d); err == nil {
			defer dest.Close()
			if there, err := dest.List(ctx); err == nil {
				return there.Backups, nil
			}
		}
	}
	if seen.State != StatePresent {
		return nil, &Unsearched{Where: d.Name, State: seen.State, Error: seen.Error, Hint: seen.Hint}
	}
	return there.Backups, nil
}

// addBackups adds the backups at one destination, and counts those that were left out since others may share the directory: what btrkeep did not make for this
// source, has not the content of one of its snapshots, and does not descend from it either.
func (m *moments) addBackups(backups []Backup, where string, fs int, family lineage, volume btrfs.Subvolume) (left int) {
	for _, b := range backups {
		family.add(b.Subvolume)
	}
	mine := map[btrfs.UUID]bool{family.root(volume.UUID): !volume.UUID.IsZero()}
	for _, b := range backups {
		if b.Own {
			mine[family.root(b.UUID)] = true
		}
	}
	for _, b := range backups {
		ours := b.Complete && (b.Own || m.of(b.Subvolume) != nil || mine[family.root(b.UUID)])
		switch {
		case ours, m.foreign && b.ReadOnly:
			m.add(b.Subvolume, place{where: where, fs: fs, path: b.Path, altered: b.Altered}, b.Taken)
		case b.Complete:
			left++
		}
	}
	return left
}
