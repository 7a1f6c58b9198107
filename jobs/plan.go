package jobs

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs/retention"
)

// Plan is what the next run of a job would do, decided by the functions that decide for the run itself. Fields are only ever added.
type Plan struct {
	Job       string            `json:"job"`
	Snapshot  PlannedSnapshot   `json:"snapshot"`
	Transfers []PlannedTransfer `json:"transfers"`
	Prune     []PlannedPrune    `json:"prune"` // every snapshot and backup, kept or removed, with the reasons
	Warnings  []string          `json:"warnings"`
	Error     string            `json:"error,omitempty"`
	Hint      string            `json:"hint,omitempty"`

	pruneOnly bool
	holdPrune string // why nothing would be removed
}

// PlannedSnapshot is step 3.
type PlannedSnapshot struct {
	Name string `json:"name,omitempty"` // empty if none would be made
	Why  string `json:"why,omitempty"`  // why none would be made
}

// PlannedTransfer is one send, or why there is none.
type PlannedTransfer struct {
	Destination string `json:"destination"`
	State       string `json:"state"` // "present", "absent", "failed", "paused"
	Snapshot    string `json:"snapshot,omitempty"`
	Parent      string `json:"parent"`                  // empty for a full send
	Resumed     int64  `json:"resumed_bytes,omitempty"` // that an interrupted run has brought over
	Estimate    int64  `json:"estimate,omitempty"`      // bytes of the stream that are to be sent, its data before compression
	Error       string `json:"error,omitempty"`
	Hint        string `json:"hint,omitempty"`
}

// PlannedPrune is one decision of step 5.
type PlannedPrune struct {
	Where   string    `json:"where"`
	Name    string    `json:"name"`
	Taken   time.Time `json:"taken"`
	Remove  bool      `json:"remove"`
	Reasons []string  `json:"reasons"`
}

// pending stands for the snapshot that the run would take: newer than all there are.
const pendingTransaction = math.MaxUint64

// Plan works out what the next run would do. It takes no lock and changes nothing, so a run under way may overtake it.
func (r *Runner) Plan(ctx context.Context, job config.Job, clock Clock) Plan {
	return r.planned(ctx, job, clock, false)
}

// PlanPrune works out what Prune would do.
func (r *Runner) PlanPrune(ctx context.Context, job config.Job, clock Clock) Plan {
	return r.planned(ctx, job, clock, true)
}

func (r *Runner) planned(ctx context.Context, job config.Job, clock Clock, pruneOnly bool) Plan {
	p := Plan{Job: job.Name, Transfers: []PlannedTransfer{}, Prune: []PlannedPrune{}, Warnings: []string{}, pruneOnly: pruneOnly}
	if err := r.plan(ctx, job, clock, &p); err != nil {
		p.Error, p.Hint = err.Error(), Hint(err)
	}
	return p
}

func (r *Runner) plan(ctx context.Context, job config.Job, clock Clock, p *Plan) error {
	src, err := r.openSource(ctx, job)
	if err != nil {
		return err
	}
	defer src.close()
	for _, w := range []string{src.nestedWarning(), src.alteredWarning()} {
		if w != "" {
			p.Warnings = append(p.Warnings, w)
		}
	}
	state, err := LoadState(r.Config.StateDir, job)
	if err != nil {
		p.holdPrune = err.Error()
	} else {
		p.holdPrune = state.doubt(clock)
	}
	if p.holdPrune != "" {
		p.Warnings = append(p.Warnings, p.holdPrune)
	}
	if job.Received != "" {
		p.Snapshot.Why = "this job only prunes what others keep in " + job.Received
	} else if !p.pruneOnly {
		if p.Snapshot, err = src.planSnapshot(ctx, clock.Wall); err != nil {
			return err
		}
	}
	estimates, cancel := context.WithTimeout(ctx, estimateTime)
	defer cancel()
	pauses, err := LoadPauses(r.Config.StateDir, job, clock.Wall)
	if err != nil {
		p.Warnings = append(p.Warnings, err.Error())
	}
	for _, d := range job.Destinations {
		if pause, ok := pauses.Destinations[d.Name]; ok {
			p.Transfers = append(p.Transfers, PlannedTransfer{Destination: d.Name, State: ResultPaused, Error: pause.Text(r.Config.Timezone)})
			continue
		}
		if err := r.planDestination(ctx, estimates, src, &state, d, clock.Wall, p); err != nil {
			t := PlannedTransfer{Destination: d.Name, State: "failed", Error: err.Error(), Hint: Hint(err)}
			if errors.Is(err, ErrAbsent) {
				t.State = "absent"
			}
			p.Transfers = append(p.Transfers, t)
		}
	}
	p.addPrune("source", src.retention(protections(job, state, r.Config.Timezone), clock.Wall))
	return nil
}

// planSnapshot adds the snapshot that would be taken to the list, as if it were there.
func (s *source) planSnapshot(ctx context.Context, now time.Time) (PlannedSnapshot, error) {
	if last := s.lastOwn(); s.job.OnlyIfChanged && last != nil {
		changed, err := s.origin.Changed(ctx, *last)
		if err != nil {
			return PlannedSnapshot{}, err
		}
		if !changed {
			return PlannedSnapshot{Why: "nothing has changed since " + last.Name + " (as far as is on the disk)"}, nil
		}
	}
	name := s.nextName(s.job.NameFormat, now, s.zone)
	next := s.Volume
	next.ID, next.Name, next.ReadOnly, next.Otransid = 0, name, true, pendingTransaction
	next.ParentUUID, next.UUID = s.Volume.UUID, btrfs.UUID{0xff}
	s.family.join(next.UUID, s.Volume.UUID)
	s.snapshots = append(s.snapshots, Snapshot{Subvolume: next, Path: s.job.Source, Taken: now, Own: true})
	return PlannedSnapshot{Name: name}, nil
}

// planDestination adds the transfers to one destination and what would then be pruned there. It leaves in state what the
// destination would have in common with the source, for pruning that. estimates ends when no more time is to be spent on sizes.
func (r *Runner) planDestination(ctx, estimates context.Context, src *source, state *State, d config.Destination, now time.Time, p *Plan) error {
	last := state.Destinations[d.URL]
	dest, err := r.open(ctx, src, src.job, d, last)
	if err != nil {
		return err
	}
	defer dest.Close()
	there, err := contents(ctx, src.job, dest)
	if err != nil {
		return err
	}
	backups := there.Backups
	possible := there.parents()
	known := src.unaltered() // those already planned for this destination become possible parents
	var send []Snapshot
	if !p.pruneOnly {
		send = missing(src.job, src.snapshots, there, d.Keep, now, r.Config.Timezone)
	}
	version, err := dest.StreamVersion(ctx)
	if err != nil {
		version = 1 // sizes hardly differ; the run will say what is wrong
	}
	from, _ := goesOn(src.job, src.snapshots, there, now)
	for i, snap := range send {
		b := src.bases(snap.Subvolume, known, possible)[0]
		resumed := int64(0)
		if l, ok := from[snap.StreamUUID()]; ok {
			if before, ok := src.goOn(l.Checkpoint.Identity, snap, known, possible); ok && l.Checkpoint.Version <= version {
				b, resumed = before, l.offset()
			}
		}
		delete(from, snap.StreamUUID())
		t := PlannedTransfer{Destination: d.Name, State: "present", Snapshot: snap.Name, Parent: b.parentName(), Resumed: resumed}
		t.Estimate = max(0, estimate(ctx, estimates, src.sender(), snap, b, version)-resumed)
		p.Transfers = append(p.Transfers, t)
		made := snap.Subvolume
		made.UUID, made.ReceivedUUID = btrfs.UUID{0xfe, byte(i >> 8), byte(i)}, snap.StreamUUID() // one of its own, as the real one will have
		planned := Backup{Subvolume: made, Taken: snap.Taken, Complete: true, Own: true}
		backups, possible = append(backups, planned), append(possible, planned)
		if snap.Otransid == pendingTransaction {
			known = append(slices.Clone(known), snap.Subvolume)
		}
	}
	slices.SortStableFunc(backups, func(a, b Backup) int { return a.Taken.Compare(b.Taken) })
	if dest.Identity().AddOnly {
		p.Warnings = append(p.Warnings, d.Name+": the far end lets nothing be deleted from here; it prunes by itself")
	} else {
		p.addPrune(d.Name, decideAll(src.job, backups, func(b []Backup) []retention.Decision {
			return destinationRetention(src.snapshots, b, from, d.Keep, now, r.Config.Timezone)
		}))
	}
	s := state.Destinations[d.URL]
	key := dest.Identity().FileSystem.String()
	disk := s.Disks[key]
	disk.Seen, disk.Resume = now, nil
	if snap, _, ok := lastCommon(src.snapshots, backups); ok {
		disk.Snapshot, disk.Name = snap.StreamUUID(), snap.Name
	}
	for _, l := range from {
		disk.Resume = append(disk.Resume, src.needed(l.Checkpoint.Identity)...)
	}
	if disk.Name != "" || disk.Resume != nil {
		s.Name, s.Disks = d.Name, maps.Clone(s.Disks)
		if s.Disks == nil {
			s.Disks = map[string]CommonState{}
		}
		s.Disks[key] = disk
		state.Destinations[d.URL] = s
	}
	return nil
}

func (p *Plan) addPrune(where string, decisions []retention.Decision) {
	for _, d := range decisions {
		if d.Remove && p.holdPrune != "" {
			d.Remove, d.Reasons = false, append(d.Reasons, "nothing is pruned now")
		}
		p.Prune = append(p.Prune, PlannedPrune{Where: where, Name: d.Name, Taken: d.Time, Remove: d.Remove, Reasons: d.Reasons})
	}
}
