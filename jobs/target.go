package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs/retention"
)

// target is one destination during one run.
type target struct {
	cfg     config.Destination
	dest    Destination
	backups []Backup
	above   []Backup                    // in the directories above: parents alone
	from    map[btrfs.UUID]Leftover     // where interrupted transfers are taken up, by the snapshot's UUID in streams
	resume  map[btrfs.UUID][]btrfs.UUID // what each of them needs at the source
	backlog int                         // snapshots that are to be brought over, and are not there yet
}

// eachDestination does one thing at all destinations side by side. What goes wrong at one is its own and does not hurt the others: it is
// written into the record and the state.
func (r *run) eachDestination(ctx context.Context, do func(context.Context, *target) error) {
	var wg sync.WaitGroup
	for _, d := range r.job.Destinations {
		if p, ok := r.paused[d.Name]; ok {
			r.notePaused(d, p)
			continue
		}
		wg.Go(func() {
			t := &target{cfg: d}
			err := r.atDestination(ctx, t, do)
			r.note(ctx, t, err)
		})
	}
	wg.Wait()
}

// PanicHint is what to do about a panic.
const PanicHint = "this is a mistake in btrkeep: please report it with the lines from the log"

// atDestination opens and locks the destination around do.
func (r *run) atDestination(ctx context.Context, t *target, do func(context.Context, *target) error) (err error) {
	defer func() {
		// This is a goroutine of its own: a panic here would end the daemon, and the runs of all other jobs with it.
		if p := recover(); p != nil {
			err = hintf(PanicHint, "panic: %v", p)
			r.log.Error(fmt.Sprintf("panic: %v\n%s", p, debug.Stack()), KeyDestination, t.cfg.Name)
		}
	}()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.mu.Lock()
	last := r.state.Destinations[t.cfg.URL]
	r.mu.Unlock()
	dest, err := r.open(ctx, r.source, r.job, t.cfg, last)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dest.Close()) }()
	unlock, err := dest.Lock(ctx, r.holder())
	if err != nil {
		return err
	}
	defer unlock()
	t.dest = dest
	return do(ctx, t)
}

// lookAt lists the backups and cleans what interrupted transfers left.
func (r *run) lookAt(ctx context.Context, t *target) error {
	there, err := contents(ctx, r.job, t.dest)
	if err != nil {
		return err
	}
	t.backups, t.above = there.Backups, there.Above
	useless := r.lookBack(t, there)
	if len(useless) == 0 {
		return nil
	}
	removed, err := t.dest.Clean(ctx, useless)
	if len(removed) > 0 {
		r.log.Warn("deleted what an interrupted transfer left", KeyDestination, t.cfg.Name, "names", strings.Join(removed, " "), KeyEvent, EventLeftover)
	}
	return r.leftAlone(t.cfg.Name, err)
}

// lookBack finds what interrupted transfers can go on from, and what they left that is useless.
func (r *run) lookBack(t *target, there Contents) (useless []Leftover) {
	t.from, useless = goesOn(r.job, r.source.snapshots, there, r.opts.Clock.Wall)
	t.resume = map[btrfs.UUID][]btrfs.UUID{}
	for id, l := range t.from {
		t.resume[id] = r.source.needed(l.Checkpoint.Identity)
	}
	return useless
}

// deliver is steps 4 and 5 at one destination: what is missing there and would be kept, oldest first; then prune.
func (r *run) deliver(ctx context.Context, t *target) error {
	if err := r.lookAt(ctx, t); err != nil {
		return err
	}
	there := Contents{Backups: t.backups, Leftovers: slices.Collect(maps.Values(t.from))}
	send := missing(r.job, r.source.snapshots, there, t.cfg.Keep, r.opts.Clock.Wall, r.Config.Timezone)
	s := sender{
		Sender: r.source.origin, source: r.source, dest: t.dest, cfg: t.cfg, slots: r.Slots, backoff: r.Backoff, progress: r.report, warn: r.warn,
		fault: func(format string, args ...any) {
			r.log.Error(fmt.Sprintf(format, args...), KeyDestination, t.cfg.Name)
		},
		priority: r.job.IOClass.Class<<13 | r.job.IOClass.Level,
		saved:    func(snap Snapshot, id sendstream.Identity) { r.begun(t, snap, id) },
	}
	failed := 0
	t.backlog = len(send)
	parents := map[btrfs.UUID]Backup{}
	for _, snap := range send {
		var from *Leftover
		if l, ok := t.from[snap.StreamUUID()]; ok {
			from = &l
			r.log.Info(fmt.Sprintf("%s: goes on with %s, of which it has %d bytes", t.cfg.Name, snap.Name, l.offset()), KeyDestination, t.cfg.Name, KeySnapshot, snap.Name, KeyBytes, l.offset(), KeyEvent, EventResumed)
		}
		tr, made := s.transfer(ctx, snap, Contents{Backups: t.backups, Above: t.above}.parents(), from)
		tr.giveUp(ctx)
		r.mu.Lock()
		r.rec.Transfers = append(r.rec.Transfers, tr)
		r.mu.Unlock()
		if made != nil {
			t.backlog--
			parents[made.UUID] = Backup{}
			if i := slices.IndexFunc(t.backups, func(b Backup) bool { return tr.Parent != "" && b.Name == tr.Parent }); i >= 0 {
				parents[made.UUID] = t.backups[i]
			}
			t.backups = append(t.backups, *made)
			delete(t.from, snap.StreamUUID())
			delete(t.resume, snap.StreamUUID())
			continue
		}
		failed++
		// A name in the way concerns this snapshot alone; anything else would befall the next one too.
		if !strings.Contains(tr.Error, ErrNameTaken.Error()) {
			break
		}
	}
	if failed > 0 {
		now, err := t.dest.List(ctx)
		if err != nil { // as the line is gone: what the interrupted transfer needs is what it needed when it began, and nothing is pruned
			r.logTransfers(t, len(send))
			return nil
		}
		r.lookBack(t, Contents{Backups: t.backups, Leftovers: now.Leftovers}) // a name that a failed commit has left is no backup
	}
	believe(r.job, t.backups)
	r.logTransfers(t, len(send))
	r.fingerprints(ctx, t, parents) // while their parents are there
	if err := r.pruneDestination(ctx, t); err != nil {
		return err
	}
	r.fingerprints(ctx, t, nil) // of those that were made before
	return nil
}

func (r *run) logTransfers(t *target, wanted int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var bytes int64
	var last Transfer
	n := 0
	for _, tr := range r.rec.Transfers {
		if tr.Destination == t.cfg.Name && tr.Result == ResultOK {
			n, bytes, last = n+1, bytes+tr.Bytes, tr
		}
	}
	if n == 0 {
		return
	}
	how := "in full"
	if last.Parent != "" {
		how = "against " + last.Parent
	}
	text := fmt.Sprintf("%s: %s complete (%s, %d bytes)", t.cfg.Name, last.Snapshot, how, bytes)
	if wanted > 1 {
		text = fmt.Sprintf("%s: %d of %d snapshots complete, the last %s (%s, %d bytes in all)", t.cfg.Name, n, wanted, last.Snapshot, how, bytes)
	}
	r.log.Info(text, KeyDestination, t.cfg.Name, KeySnapshot, last.Snapshot, KeyBytes, bytes, KeyParent, last.Parent, KeyEvent, EventTransfer)
}

// pruneDestination is step 5 at one destination.
func (r *run) pruneDestination(ctx context.Context, t *target) error {
	if ctx.Err() != nil || r.holdPrune || t.dest.Identity().AddOnly {
		return nil
	}
	decisions := decideAll(r.job, t.backups, func(b []Backup) []retention.Decision {
		return destinationRetention(r.source.snapshots, b, t.from, t.cfg.Keep, r.opts.Clock.Wall, r.Config.Timezone)
	})
	var gone []Backup
	for i, d := range decisions {
		if d.Remove && t.backups[i].Own && t.backups[i].Complete {
			gone = append(gone, t.backups[i])
		}
	}
	if len(gone) == 0 {
		return nil
	}
	r.report(Progress{Step: "prune", Destination: t.cfg.Name})
	gone, err := t.dest.Delete(ctx, gone)
	for i, d := range decisions {
		if slices.ContainsFunc(gone, func(g Backup) bool { return g.UUID == t.backups[i].UUID }) {
			r.pruned(t.cfg.Name, d)
		}
	}
	t.backups = slices.DeleteFunc(t.backups, func(b Backup) bool {
		return slices.ContainsFunc(gone, func(g Backup) bool { return g.UUID == b.UUID })
	})
	return r.leftAlone(t.cfg.Name, err)
}

// destinationRetention decides over a destination's backups, from which interrupted transfers are to go on; the decisions are in their order.
func destinationRetention(snapshots []Snapshot, backups []Backup, from map[btrfs.UUID]Leftover, keep config.Keep, now time.Time, zone *time.Location) []retention.Decision {
	reasons := map[btrfs.UUID]string{}
	for _, l := range from {
		for _, b := range backups {
			if id := l.Checkpoint.Identity; id.Needs(b.UUID) || id.Needs(b.ReceivedUUID) {
				reasons[b.UUID] = keepBasis
			}
		}
	}
	if _, b, ok := lastCommon(snapshots, backups); ok {
		reasons[b.UUID] = fmt.Sprintf(keepLast, "the source")
	}
	return retention.Plan(backupItems(backups, reasons), keep, now, zone)
}

// begun notes what the source must keep for a transfer that could go on after an interruption, before one can happen.
func (r *run) begun(t *target, snap Snapshot, id sendstream.Identity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t.resume[snap.StreamUUID()] = r.source.needed(id)
	s := r.state.Destinations[t.cfg.URL]
	s.Name, s.Adhoc = t.cfg.Name, r.job.Adhoc
	r.remember(&s, t, r.opts.Clock.Wall)
	r.state.Destinations[t.cfg.URL] = s
	if err := r.state.Save(r.Config.StateDir); err != nil {
		r.log.Warn(err.Error(), KeyEvent, EventWarning)
	}
}

// note writes down what became of a destination: into the record if it was not even reached, and into the state.
func (r *run) note(ctx context.Context, t *target, err error) {
	now := r.opts.Clock.Wall
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state.Destinations[t.cfg.URL]
	before := s
	if r.pruning && err == nil {
		r.remember(&s, t, now)
		r.state.Destinations[t.cfg.URL] = s
		return
	}
	s.Name, s.LastAttempt, s.Adhoc = t.cfg.Name, now, r.job.Adhoc
	mine := -1
	for i, tr := range r.rec.Transfers {
		if tr.Destination == t.cfg.Name {
			mine = i
		}
	}
	var held *HeldError
	switch {
	case err != nil:
		tr := Transfer{Destination: t.cfg.Name, Snapshot: r.rec.Snapshot, Result: ResultFailed, Error: err.Error(), Hint: Hint(err)}
		switch {
		case isCancelled(err), Cancelled(ctx) && errors.Is(err, context.Canceled):
			tr.Result = ResultCancelled
		case errors.Is(err, ErrAbsent):
			tr.Result = ResultAbsent
			r.log.Info(t.cfg.Name+": "+err.Error(), KeyDestination, t.cfg.Name, KeyEvent, EventAbsent)
		case errors.As(err, &held):
			tr.Result = ResultBusy
			r.log.Warn(t.cfg.Name+": "+err.Error(), KeyDestination, t.cfg.Name, KeyEvent, EventAbsent)
		}
		r.rec.Transfers = append(r.rec.Transfers, tr)
		s.LastResult, s.LastError = tr.Result, tr.Error
	case mine < 0:
		r.rec.Transfers = append(r.rec.Transfers, Transfer{Destination: t.cfg.Name, Snapshot: r.rec.Snapshot, Result: ResultOK})
		s.LastResult, s.LastError = ResultOK, ""
	default:
		s.LastResult, s.LastError = ResultOK, ""
		for _, tr := range r.rec.Transfers {
			if tr.Destination == t.cfg.Name && tr.Result != ResultOK {
				s.LastResult, s.LastError = tr.Result, tr.Error
			}
		}
	}
	if s.LastResult == ResultFailed && stopped(ctx) {
		s.LastResult, s.LastError = before.LastResult, before.LastError
	}
	switch {
	case s.LastResult == ResultFailed && !stopped(ctx):
		s.Failing = s.LastError
	case s.LastResult == ResultOK:
		s.Failing = ""
	}
	if s.LastResult == ResultCancelled && (before.LastResult == ResultFailed || t.dest == nil) { // it tells nothing of what was wrong
		s.LastResult, s.LastError = before.LastResult, before.LastError
	}
	if s.LastResult == ResultAbsent {
		if s.AbsentSince.IsZero() {
			s.AbsentSince = now
		}
		s.Backlog = newerThan(r.source.snapshots, s.NewestTaken)
	} else {
		s.AbsentSince = time.Time{}
	}
	if s.LastResult == ResultOK {
		s.LastSuccess = now
	}
	if t.backups != nil {
		s.Backlog = t.backlog
	}
	for _, tr := range r.rec.Transfers {
		if tr.Destination == t.cfg.Name && tr.Bytes > 0 {
			s.LastBytes, s.LastSeconds = tr.Bytes, tr.Seconds
			s.grow(tr)
		}
	}
	r.remember(&s, t, now)
	r.state.Destinations[t.cfg.URL] = s
}

// grow notes how much a snapshot takes, half of it by the last one: one that was sent in full tells nothing of the next.
func (s *DestinationState) grow(tr Transfer) {
	size := tr.ResumedBytes + tr.Bytes
	switch {
	case tr.Result != ResultOK || tr.Parent == "":
	case s.Increment == 0:
		s.Increment = size
	default:
		s.Increment = (s.Increment + size) / 2
	}
}

// notePaused writes down that a destination was left out. What is known of it stays as it was.
func (r *run) notePaused(d config.Destination, p Paused) {
	if r.pruning {
		return
	}
	text := p.Text(r.Config.Timezone)
	r.log.Info(d.Name+": "+text, KeyDestination, d.Name)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rec.Transfers = append(r.rec.Transfers, Transfer{Destination: d.Name, Snapshot: r.rec.Snapshot, Result: ResultPaused, Error: text})
	s := r.state.Destinations[d.URL]
	s.Name, s.Backlog = d.Name, newerThan(r.source.snapshots, s.NewestTaken)
	r.state.Destinations[d.URL] = s
}

// maxDiskAge is for how long the last common snapshot of a disk that never comes back is kept for it.
const maxDiskAge = 400 * 24 * time.Hour

// remember writes what the source and the disk that is present have in common.
func (r *run) remember(s *DestinationState, t *target, now time.Time) {
	if t.dest != nil && t.backups != nil {
		id := t.dest.Identity()
		s.sawSpace(id, now)
		s.FileSystem, s.MountPoint, s.Backups = id.FileSystem, id.MountPoint, countComplete(t.backups)
		if b, ok := newest(t.backups, now); ok {
			s.Newest, s.NewestTaken = b.Name, b.Taken
		}
		if s.Disks == nil {
			s.Disks = map[string]CommonState{}
		}
		disk, known := s.Disks[id.FileSystem.String()]
		snap, _, common := lastCommon(r.source.snapshots, t.backups)
		if common {
			disk.Snapshot, disk.Name = snap.StreamUUID(), snap.Name // which a twin has as well, after a restoration
		}
		disk.Resume = nil
		for _, needed := range t.resume {
			disk.Resume = append(disk.Resume, needed...)
		}
		if common || disk.Resume != nil {
			disk.Seen, known = now, true
		}
		if known {
			s.Disks[id.FileSystem.String()] = disk
		}
	}
	if r.holdPrune {
		return
	}
	for id, d := range s.Disks {
		if now.Sub(d.Seen) > maxDiskAge {
			delete(s.Disks, id)
			r.log.Warn(fmt.Sprintf("%s: not seen since %s: its snapshot %s is no longer kept for it, and it will need a full send", t.cfg.Name, d.Seen.Format(time.DateOnly), d.Name),
				KeyDestination, t.cfg.Name, KeyEvent, EventWarning)
		}
	}
}
