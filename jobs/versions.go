package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
)

// AtSource is what the source is called where a destination could be named.
const AtSource = "source"

// version is one snapshot or backup from which can be restored.
type version struct {
	btrfs.Subvolume
	where    string // AtSource, or a destination
	path     string
	taken    time.Time
	own      bool
	siblings []Backup // all at that destination; nil at the source
}

// versions are all from which can be restored, newest first: of one content the nearest first, that at the source. What somebody has written into and what is not complete
// is left out.
func (r *restoring) versions(ctx context.Context) ([]version, error) {
	var all []version
	if r.src != nil && r.wants(AtSource) {
		for _, s := range r.src.snapshots {
			if !r.src.altered[s.UUID] {
				all = append(all, version{Subvolume: s.Subvolume, where: AtSource, path: s.Path, taken: s.Taken, own: true})
			}
		}
	}
	for _, d := range r.destinations() {
		if !r.wants(d.Name) {
			continue
		}
		dest, err := r.At(ctx, r.o.Job, d)
		if err == nil {
			var there Contents
			there, err = dest.List(ctx)
			all = append(all, backupVersions(d.Name, there.Backups)...)
			err = errors.Join(err, dest.Close())
		}
		if err != nil && r.o.From == d.Name || err != nil && r.o.FromDir != "" {
			return nil, err
		} else if err != nil {
			r.note("%s: %v", d.Name, err)
		}
	}
	if len(all) == 0 {
		return nil, hintf("`btrkeep list` shows what there is", "there is nothing to restore from")
	}
	slices.SortStableFunc(all, func(a, b version) int { return b.taken.Compare(a.taken) })
	return all, nil
}

// backupVersions are the backups of a destination that are of the job. Where none is, as after the loss of the machine that made them, all are offered.
func backupVersions(where string, backups []Backup) []version {
	var own, all []version
	for _, b := range backups {
		if !b.Complete || b.Altered {
			continue
		}
		v := version{Subvolume: b.Subvolume, where: where, path: b.Path, taken: b.Taken, own: b.Own, siblings: backups}
		if all = append(all, v); b.Own {
			own = append(own, v)
		}
	}
	if len(own) > 0 {
		return own
	}
	return all
}

func (r *restoring) wants(where string) bool { return r.o.From == "" || r.o.From == where }

func (r *restoring) destinations() []config.Destination {
	if r.o.FromDir != "" {
		return []config.Destination{{Name: r.o.FromDir, URL: r.o.FromDir}}
	}
	return r.o.Job.Destinations
}

// pick gives the version that is meant: by name, or the newest that is not younger than the time.
func (r *restoring) pick(all []version) (version, error) {
	if r.o.At == "" {
		return r.onlyOrigin(all, all[0])
	}
	for _, v := range all {
		if v.Name == r.o.At {
			return v, nil
		}
	}
	when, err := ParseWhen(r.o.At, r.o.Clock.Wall, r.Config.Timezone)
	if err != nil {
		return version{}, hintf(Hint(err), "there is no snapshot of that name, and %w", err)
	}
	times := make([]time.Time, len(all))
	for i, v := range all {
		times[i] = v.taken
	}
	i := AtOrBefore(times, when)
	if i < 0 {
		return version{}, hintf("`btrkeep list` shows what there is", "the oldest of %d is of %s, after %s", len(all),
			all[len(all)-1].taken.In(r.Config.Timezone).Format(time.DateTime), when.Format(time.DateTime))
	}
	// Of several that were taken at once, the nearest.
	for j := range all {
		if all[j].taken.Equal(times[i]) {
			return r.onlyOrigin(all, all[j])
		}
	}
	return all[i], nil
}

// onlyOrigin refuses to choose among backups of which it is not known that they are of one source.
func (r *restoring) onlyOrigin(all []version, chosen version) (version, error) {
	if chosen.own {
		return chosen, nil
	}
	origins := map[string]string{}
	for _, v := range all {
		for _, b := range v.siblings {
			if b.UUID == v.UUID && b.Origin != "" {
				origins[b.Origin] = v.Name
			}
		}
	}
	if len(origins) < 2 {
		return chosen, nil
	}
	var names []string
	for origin, name := range origins {
		names = append(names, fmt.Sprintf("%s (such as %s)", origin, name))
	}
	slices.Sort(names)
	return version{}, hintf("name the backup with --at NAME", "there are backups of several sources: %s", strings.Join(names, ", "))
}
