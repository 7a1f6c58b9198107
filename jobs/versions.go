package jobs

import (
	"context"
	"fmt"
	"os"
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
	from     Sender   // of another machine, whose path it is; nil: of this one
}

// versions are all from which can be restored, newest first: of one content the nearest first, that at the source. What somebody has written into and what is not complete
// is left out.
func (r *restoring) versions(ctx context.Context) ([]version, error) {
	var all []version
	if r.src != nil && r.wants(AtSource) {
		for _, s := range r.src.snapshots {
			if !r.src.altered[s.UUID] {
				v := version{Subvolume: s.Subvolume, where: AtSource, path: s.Path, taken: s.Taken, own: true}
				if r.src.here == nil {
					v.from = r.src.origin
				}
				all = append(all, v)
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
			all = append(all, r.backupVersions(d.Name, there.Backups, r.keep(dest))...)
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

// keep keeps a destination open until all is restored: one on another machine has to send. It gives that sender.
func (r *restoring) keep(dest Destination) Sender {
	r.opened = append(r.opened, dest)
	from, _ := dest.(Sender)
	return from
}

// backupVersions are the backups of a destination, and of a directory of snapshots these.
func (r *restoring) backupVersions(where string, backups []Backup, from Sender) (all []version) {
	for _, b := range backups {
		if b.Altered || !b.Complete && (!b.ReadOnly || where != AtSource && r.o.FromDir == "") {
			continue
		}
		all = append(all, version{Subvolume: b.Subvolume, where: where, path: b.Path, taken: b.Taken, own: b.Own, siblings: backups, from: from})
	}
	return all
}

func (r *restoring) wants(where string) bool { return r.o.From == "" || r.o.From == where }

func (r *restoring) destinations() []config.Destination {
	if r.o.FromDir != "" {
		return []config.Destination{{Name: r.o.FromDir, URL: r.o.FromDir}}
	}
	all := r.o.Job.Destinations
	if _, err := os.Lstat(r.o.Job.SnapshotDir); err == nil && r.src == nil && !r.o.Job.Remote() && r.o.Job.Received == "" { // the source is gone, its snapshots are not
		all = append([]config.Destination{{Name: AtSource, URL: r.o.Job.SnapshotDir}}, all...)
	}
	return all
}

// pick gives the version that is meant: by name, or the newest that is not younger than the time. What is not known to be of the job, as after the loss of the machine that made it,
// counts if nothing else fits.
func (r *restoring) pick(all []version) (version, error) {
	own := slices.DeleteFunc(slices.Clone(all), func(v version) bool { return !v.own })
	when := r.o.Clock.Wall.Add(24 * time.Hour) // by a clock that was wrong, one may be dated later
	if r.o.At != "" {
		for _, v := range slices.Concat(own, all) {
			if v.Name == r.o.At {
				return v, nil
			}
		}
		var err error
		if when, err = ParseWhen(r.o.At, r.o.Clock.Wall, r.Config.Timezone); err != nil {
			return version{}, hintf(Hint(err), "there is no snapshot of that name, and %w", err)
		}
	}
	if v, ok := atOrBefore(own, when); ok {
		return v, nil
	}
	if v, ok := atOrBefore(all, when); ok {
		return r.onlyOrigin(all, v)
	}
	return version{}, hintf("`btrkeep list` shows what there is", "the oldest of %d is of %s, after %s", len(all),
		all[len(all)-1].taken.In(r.Config.Timezone).Format(time.DateTime), when.In(r.Config.Timezone).Format(time.DateTime))
}

// atOrBefore gives the newest that is not younger than when; of several that were taken at once, the first.
func atOrBefore(all []version, when time.Time) (version, bool) {
	times := make([]time.Time, len(all))
	for i, v := range all {
		times[i] = v.taken
	}
	i := AtOrBefore(times, when)
	if i < 0 {
		return version{}, false
	}
	return all[slices.IndexFunc(times, func(t time.Time) bool { return t.Equal(times[i]) })], true
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
