package jobs

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
)

// States of a destination in lists.
const (
	StatePresent = "present"
	StateAbsent  = "absent"
	StateError   = "error"

	StateElsewhere = "elsewhere" // of what is looked into: on another machine, which can look itself
)

// Listing is everything that exists of one job: an element of `list --json`. Fields are only ever added.
type Listing struct {
	Job          string              `json:"job"`
	Source       string              `json:"source"`
	Error        string              `json:"error,omitempty"`
	Hint         string              `json:"hint,omitempty"`
	Absent       bool                `json:"absent,omitempty"` // the source is on another machine that cannot be reached now, as Error says
	Snapshots    []ListedSnapshot    `json:"snapshots"`
	Destinations []ListedDestination `json:"destinations"`
}

// ListedSnapshot is one snapshot at the source.
type ListedSnapshot struct {
	Name       string     `json:"name"`
	Path       string     `json:"path"`
	UUID       btrfs.UUID `json:"uuid"`
	Created    time.Time  `json:"created"`
	Pinned     bool       `json:"pinned"`
	PinReason  string     `json:"pin_reason,omitempty"`
	CommonWith []string   `json:"common_with"` // destinations that hold it, of those present
	Own        bool       `json:"own"`         // made by btrkeep; others are never deleted
}

// ListedDestination is one destination and what it holds.
type ListedDestination struct {
	Name    string         `json:"name"`
	URL     string         `json:"url"`
	State   string         `json:"state"` // present, absent, error
	Error   string         `json:"error,omitempty"`
	Hint    string         `json:"hint,omitempty"`
	Free    uint64         `json:"free_bytes,omitempty"`
	Total   uint64         `json:"total_bytes,omitempty"`
	Backups []ListedBackup `json:"backups"`

	Unfinished []ListedUnfinished `json:"unfinished"` // transfers that the next run goes on with
}

// ListedUnfinished is a transfer that was interrupted.
type ListedUnfinished struct {
	Snapshot string `json:"snapshot"`
	Bytes    int64  `json:"bytes"` // of its stream that are there
}

// ListedBackup is one subvolume at a destination. Created is when its snapshot was taken.
type ListedBackup struct {
	Name         string     `json:"name"`
	Path         string     `json:"path"`
	UUID         btrfs.UUID `json:"uuid"`
	ReceivedUUID btrfs.UUID `json:"received_uuid"`
	Created      time.Time  `json:"created"`
	Complete     bool       `json:"complete"`
	Pinned       bool       `json:"pinned"`
	PinReason    string     `json:"pin_reason,omitempty"`
	Own          bool       `json:"own"`
	Altered      bool       `json:"altered"` // written into since it was received
}

// List lists the snapshots and backups of a job. What cannot be looked at says so in its place.
func (r *Runner) List(ctx context.Context, job config.Job) Listing {
	l := Listing{Job: job.Name, Source: cmp.Or(job.Source, job.Received), Snapshots: []ListedSnapshot{}, Destinations: []ListedDestination{}}
	src, err := r.openSource(ctx, job)
	if err != nil {
		l.Error, l.Hint, l.Absent = err.Error(), Hint(err), errors.Is(err, ErrAbsent)
		src = &source{job: job}
	}
	defer src.close()
	for _, s := range src.snapshots {
		l.Snapshots = append(l.Snapshots, ListedSnapshot{
			Name: s.Name, Path: s.Path, UUID: s.UUID, Created: s.Taken, Pinned: s.Pinned, PinReason: s.PinReason, CommonWith: []string{}, Own: s.Own,
		})
	}
	state, _ := LoadState(r.Config.StateDir, job) // only where the destination was last
	for _, d := range job.Destinations {
		seen, there := r.inspect(ctx, src, job, d, state)
		begun, _ := resumable(src.snapshots, there)
		for _, s := range src.snapshots {
			if l, ok := begun[s.StreamUUID()]; ok {
				seen.Unfinished = append(seen.Unfinished, ListedUnfinished{Snapshot: s.Name, Bytes: l.offset()})
			}
		}
		at := newIndex(there.Backups)
		for i, s := range src.snapshots {
			if _, ok := at.find(s.Subvolume); ok {
				l.Snapshots[i].CommonWith = append(l.Snapshots[i].CommonWith, d.Name)
			}
		}
		l.Destinations = append(l.Destinations, seen)
	}
	return l
}

// inspect opens a destination just to see what is there.
func (r *Runner) inspect(ctx context.Context, src *source, job config.Job, d config.Destination, state State) (ListedDestination, Contents) {
	l := ListedDestination{Name: d.Name, URL: d.URL, State: StatePresent, Backups: []ListedBackup{}, Unfinished: []ListedUnfinished{}}
	fail := func(err error) (ListedDestination, Contents) {
		l.State, l.Error, l.Hint = StateError, err.Error(), Hint(err)
		if errors.Is(err, ErrAbsent) {
			l.State = StateAbsent
		}
		return l, Contents{}
	}
	last := state.Destinations[d.URL]
	dest, err := r.open(ctx, src, job, d, last)
	if err != nil {
		return fail(err)
	}
	defer dest.Close()
	there, err := contents(ctx, job, dest)
	if err != nil {
		return fail(err)
	}
	l.Free, l.Total = dest.Identity().Free, dest.Identity().Total
	for _, b := range there.Backups {
		l.Backups = append(l.Backups, ListedBackup{
			Name: b.Name, Path: b.Path, UUID: b.UUID, ReceivedUUID: b.ReceivedUUID, Created: b.Taken,
			Complete: b.Complete, Pinned: b.Pinned, PinReason: b.PinReason, Own: b.Own, Altered: b.Altered,
		})
	}
	return l, there
}
