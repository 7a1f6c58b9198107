package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs/retention"
)

// The reasons why an item stays whatever the policy says.
const (
	keepForeign = "not made by this job"
	keepLast    = "the last one in common with %s"
	keepResume  = "needed to go on with an interrupted transfer to %s"
	keepBasis   = "needed to go on with an interrupted transfer"
	keepBegun   = "its transfer was interrupted and goes on"
)

// protected gives, for each snapshot that destinations need, the names of those destinations.
type protected struct {
	parent map[btrfs.UUID][]string // as the next parent
	resume map[btrfs.UUID][]string // to go on with a transfer that was interrupted
}

// reason why a snapshot is kept; "" if nobody needs it.
func (p protected) reason(id btrfs.UUID) string {
	names := func(who []string) string {
		return strings.Join(slices.Compact(slices.Sorted(slices.Values(who))), ", ")
	}
	switch {
	case len(p.parent[id]) > 0:
		return fmt.Sprintf(keepLast, names(p.parent[id]))
	case len(p.resume[id]) > 0:
		return fmt.Sprintf(keepResume, names(p.resume[id]))
	}
	return ""
}

// lastCommon is the newest of the source's snapshots that a destination has.
func lastCommon(snapshots []Snapshot, backups []Backup) (Snapshot, Backup, bool) {
	at := newIndex(backups)
	for _, s := range slices.Backward(snapshots) {
		if b, ok := at.find(s.Subvolume); ok {
			return s, b, true
		}
	}
	return Snapshot{}, Backup{}, false
}

// sourceItems are the snapshots as retention sees them. `btrkeep backup` prunes its own only, not those of a configured job of the same source.
func sourceItems(job config.Job, snapshots []Snapshot, keep protected) []retention.Item {
	items := make([]retention.Item, len(snapshots))
	for i, s := range snapshots {
		items[i] = item(s.Name, s.Taken, s.Own && (s.Adhoc || !job.Adhoc), s.PinReason)
		if items[i].Keep == "" { // one that came with a restoration is known by the UUID that it had before
			items[i].Keep = cmp.Or(keep.reason(s.UUID), keep.reason(s.StreamUUID()))
		}
	}
	return items
}

// backupItems are a destination's backups as retention sees them; keep says why some must stay. What is not a complete backup is foreign to it: never
// counted, never deleted.
func backupItems(backups []Backup, keep map[btrfs.UUID]string) []retention.Item {
	items := make([]retention.Item, len(backups))
	for i, b := range backups {
		items[i] = item(b.Name, b.Taken, b.Own && b.Complete, b.PinReason)
		if items[i].Keep == "" {
			items[i].Keep = keep[b.UUID]
		}
	}
	return items
}

func item(name string, taken time.Time, own bool, pinned string) retention.Item {
	if !own {
		return retention.Item{Name: name, Time: taken, Foreign: true, Keep: keepForeign}
	}
	return retention.Item{Name: name, Time: taken, Keep: PinText(pinned)}
}

// missing are the snapshots that a destination lacks and would keep by its own policy, oldest first: what it would prune at once is not
// sent. The newest snapshot is always among them if it is missing, and one whose transfer was interrupted: else a first backup that takes longer than the line
// holds would start over with every new snapshot.
func missing(job config.Job, snapshots []Snapshot, there Contents, keep config.Keep, now time.Time, zone *time.Location) []Snapshot {
	type pair struct {
		item retention.Item
		snap *Snapshot // nil for what is there already
	}
	at := newIndex(there.Backups)
	begun, _ := resumable(snapshots, there)
	all := make([]pair, 0, len(there.Backups)+1)
	for _, it := range backupItems(there.Backups, nil) {
		all = append(all, pair{item: it})
	}
	for i, s := range snapshots {
		if _, there := at.find(s.Subvolume); there || !s.Own {
			continue
		}
		_, goesOn := begun[s.StreamUUID()]
		if job.Adhoc && i < len(snapshots)-1 && !goesOn { // one backup was asked for, not the history
			continue
		}
		it := item(s.Name, s.Taken, true, "") // a pin holds where it was set: the backup would have none, be pruned, and sent again by every run
		switch {
		case i == len(snapshots)-1:
			it.Keep = "newest"
		case goesOn:
			it.Keep = keepBegun
		}
		all = append(all, pair{it, &snapshots[i]})
	}
	slices.SortStableFunc(all, func(a, b pair) int { return a.item.Time.Compare(b.item.Time) })
	items := make([]retention.Item, len(all))
	for i, p := range all {
		items[i] = p.item
	}
	var send []Snapshot
	for i, d := range retention.Plan(items, keep, now, zone) {
		if !d.Remove && all[i].snap != nil {
			send = append(send, *all[i].snap)
		}
	}
	slices.SortFunc(send, func(a, b Snapshot) int { return cmp.Compare(a.Otransid, b.Otransid) })
	return send
}

// protections are the snapshots that destinations need as their next parent, or to go on with a transfer: of those that are absent now, other disks of the same
// place included, as they were when last seen. A destination that has left the configuration needs nothing.
func protections(job config.Job, state State, zone *time.Location) protected {
	keep := protected{map[btrfs.UUID][]string{}, map[btrfs.UUID][]string{}}
	for _, url := range slices.Sorted(maps.Keys(state.Destinations)) {
		d := state.Destinations[url]
		listed := slices.ContainsFunc(job.Destinations, func(c config.Destination) bool { return c.URL == url })
		if !listed && !d.Adhoc && !job.Adhoc {
			continue
		}
		name := d.Name
		if d.Adhoc {
			name = url
		}
		for _, disk := range d.Disks {
			who := name
			if len(d.Disks) > 1 {
				who += fmt.Sprintf(" (disk seen %s)", disk.Seen.In(zone).Format(time.DateOnly))
			}
			keep.parent[disk.Snapshot] = append(keep.parent[disk.Snapshot], who)
			for _, id := range disk.Resume {
				keep.resume[id] = append(keep.resume[id], who)
			}
		}
	}
	return keep
}

// InUseError says that something was not deleted, as it is being read. It goes with a later run, so that this is no error of the one that left it alone.
type InUseError struct{ Name string }

func (e *InUseError) Error() string { return e.Name + ": " + btrfs.ErrInUse.Error() }
func (e *InUseError) Unwrap() error { return btrfs.ErrInUse }

// leftAlone notes what was not deleted as it is being read, and gives what else went wrong.
func (r *run) leftAlone(where string, err error) error {
	names, err := inUse(err)
	if len(names) > 0 {
		attrs := []any{KeyEvent, EventPruned}
		if where != AtSource {
			attrs = append(attrs, KeyDestination, where)
		}
		r.log.Info(where+": left alone, as it is being read: "+strings.Join(names, ", "), attrs...)
	}
	return err
}

// inUse takes each *InUseError out of joined errors.
func inUse(err error) (names []string, rest error) {
	var one *InUseError
	if !errors.As(err, &one) {
		return nil, err
	}
	joined, ok := err.(interface{ Unwrap() []error }) // what err wraps is looked at in turn
	if !ok {
		return []string{one.Name}, nil
	}
	for _, part := range joined.Unwrap() {
		more, other := inUse(part)
		names, rest = append(names, more...), errors.Join(rest, other)
	}
	return names, rest
}

// delete deletes what was decided, oldest first.
func (s *source) delete(ctx context.Context, decisions []retention.Decision, done func(retention.Decision)) error {
	byName := make(map[string]Snapshot, len(s.snapshots))
	for _, n := range s.snapshots {
		byName[n.Name] = n
	}
	why := map[btrfs.UUID]retention.Decision{}
	var gone []btrfs.Subvolume
	for _, d := range decisions {
		if snap, ok := byName[d.Name]; ok && d.Remove && snap.Own {
			gone, why[snap.UUID] = append(gone, snap.Subvolume), d
		}
	}
	n := 0
	err := s.origin.Delete(ctx, gone, func(id btrfs.UUID) { n++; done(why[id]) })
	if n == 0 {
		return err
	}
	return errors.Join(err, s.refresh(ctx))
}
