package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/throttle"
)

// maxAttempts bounds how many choices of parents are tried for one snapshot before it is sent in full.
const maxAttempts = 4

// basis is what one send is computed against. The zero value is a full send.
type basis struct {
	parent candidate
	clones []candidate
}

func (b basis) full() bool { return b.parent.ID == 0 }

func (b basis) parentName() string {
	if b.full() {
		return ""
	}
	return b.parent.at.Name
}

// bases are the choices for one snapshot, best first, a full send last: it is only reached when the receiver cannot find the parents.
func (s *source) bases(snapshot btrfs.Subvolume, all []btrfs.Subvolume, backups []Backup) []basis {
	best := parents(snapshot, all, s.isOwn, s.family, backups)
	var b []basis
	if c := clones(best, s.family); len(c) > 0 {
		b = append(b, basis{best[0], c})
	}
	for _, p := range best[:min(len(best), maxAttempts)] {
		b = append(b, basis{parent: p})
	}
	return append(b, basis{})
}

// sender brings snapshots of one source to one destination.
type sender struct {
	Sender
	source   *source
	dest     Destination
	cfg      config.Destination
	priority int
	slots    *Slots
	backoff  time.Duration
	progress func(Progress)
	warn     func(format string, args ...any)
	fault    func(format string, args ...any)            // tells of a mistake in btrkeep
	saved    func(snap Snapshot, id sendstream.Identity) // a checkpoint of it is on the disk
}

// attempt is one way to bring a snapshot over.
type attempt struct {
	basis
	from *Leftover // where an interrupted transfer is taken up; nil: at the beginning
}

// transfer brings one snapshot over: from where it was interrupted if that can be, and falling back to other parents where the receiver does not find one.
// backups are those that the destination finds.
func (s *sender) transfer(ctx context.Context, snap Snapshot, backups []Backup, from *Leftover) (t Transfer, made *Backup) {
	t = Transfer{Destination: s.cfg.Name, Snapshot: snap.Name, Result: ResultFailed}
	start := time.Now()
	defer func() { t.Seconds = time.Since(start).Seconds() }()
	release, err := s.slots.Acquire(ctx, s.dest.Identity().FileSystem)
	if err != nil {
		t.Error = fmt.Sprintf("wait for the disk: %v", context.Cause(ctx))
		return t, nil
	}
	defer release()
	start = time.Now() // waiting is not transferring
	attempts := s.attempts(ctx, snap, backups, from)
	startedOver := false
	for i := 0; i < len(attempts); i++ {
		a := attempts[i]
		t.Parent, t.ResumedBytes = a.parentName(), max(a.from.offset(), 0)
		backup, bytes, err := s.sendAgain(ctx, snap, &a)
		t.Bytes += bytes
		if err == nil {
			t.Result, t.Error, t.Hint = ResultOK, "", ""
			return t, &backup
		}
		// A parent that is not what it seems, or a kernel's mistake in the stream, shows as a name that is missing or taken.
		mismatch := !a.full() && !errors.Is(err, ErrNameTaken) && (says(err, syscall.ENOENT) || says(err, syscall.EEXIST) || says(err, syscall.ENOTEMPTY))
		otherwise := mismatch || errors.Is(err, btrfs.ErrParentMissing) || errors.Is(err, btrfs.ErrCloneSource)
		if a.from != nil && cannotGoOn(err) {
			same := !otherwise || errors.Is(err, sendstream.ErrDiffers) || errors.Is(err, sendstream.ErrCheckpoint) // it has nothing to do with the parents
			if same && attempts[i].from == nil && !startedOver {                                                    // it went on from a checkpoint of its own
				attempts, startedOver = slices.Insert(attempts, i+1, attempts[i]), true
			}
			otherwise = true
		}
		if otherwise && ctx.Err() == nil {
			s.abandon(ctx, snap, err)
		}
		if p, ok := errors.AsType[*sendstream.PanicError](err); ok {
			s.fault("%v\n%s", err, p.Stack)
		}
		if a.from != nil && !otherwise {
			err = resumeError(err, s.cfg.URL, snap.StreamUUID())
		}
		err = transferError(err)
		t.Error, t.Hint = err.Error(), Hint(err)
		if !otherwise || i == len(attempts)-1 || ctx.Err() != nil {
			return t, nil
		}
	}
	return t, nil
}

// attempts are the ways to bring snap over, best first.
func (s *sender) attempts(ctx context.Context, snap Snapshot, backups []Backup, from *Leftover) []attempt {
	all := s.source.unaltered()
	var attempts []attempt
	if from != nil {
		id := from.Checkpoint.Identity
		version, err := s.version(ctx)
		b, ok := s.source.goOn(id, snap, all, backups)
		if ok && err == nil && id.Version <= version {
			attempts = append(attempts, attempt{b, from})
		} else {
			s.abandon(ctx, snap, errors.New("what its stream was made of is gone"))
		}
	}
	for _, b := range s.source.bases(snap.Subvolume, all, backups) {
		attempts = append(attempts, attempt{basis: b})
	}
	return attempts
}

// abandon deletes the checkpoints of snap: its transfer starts over.
func (s *sender) abandon(ctx context.Context, snap Snapshot, why error) {
	there, err := s.dest.List(ctx)
	leftovers := slices.DeleteFunc(there.Leftovers, func(l Leftover) bool { return l.Checkpoint == nil || l.Checkpoint.UUID != snap.StreamUUID() })
	if err == nil && len(leftovers) == 0 {
		return
	}
	if err == nil {
		_, err = s.dest.Clean(ctx, leftovers)
	}
	s.warn("%s: the interrupted transfer of %s cannot go on and starts over: %v", s.cfg.Name, snap.Name, errors.Join(why, err))
}

// version is the newest protocol that both ends speak.
func (s *sender) version(ctx context.Context) (int, error) {
	version, err := s.dest.StreamVersion(ctx)
	return min(version, s.SendVersion()), err
}

// maxTorn is how often one send is tried anew after its stream was torn.
const maxTorn = 3

// sendAgain is send, tried anew if the stream was torn on its way, or the line to another machine lost.
//
// A process that is stopped, or a machine that goes to sleep, makes the kernel begin the stream again in its middle. That never passes the checksums; what was applied before did, and the
// next attempt goes on from there. What a is then is the last one.
func (s *sender) sendAgain(ctx context.Context, snap Snapshot, a *attempt) (made Backup, bytes int64, err error) {
	line := lineRetry{first: s.backoff}
	corrupt, differed := 0, false
	for {
		var n int64
		made, n, err = s.send(ctx, snap, *a)
		bytes += n
		if err == nil || ctx.Err() != nil {
			return made, bytes, err
		}
		lost := errors.Is(err, ErrInterrupted)
		// Where the part that the destination has is not the same, it may have been torn here, too: one more look at it costs less than all of it again.
		again := lost
		switch {
		case lost:
		case errors.Is(err, sendstream.ErrCorrupt):
			corrupt++
			again = corrupt < maxTorn
		case errors.Is(err, sendstream.ErrDiffers):
			again, differed = !differed, true
		}
		if !again {
			return made, bytes, err
		}
		for { // until the far end is there again
			if lost {
				if !line.wait(ctx) {
					return made, bytes, err
				}
				s.warn("%s: %s: %v; trying again", s.cfg.Name, snap.Name, err)
			}
			there, listErr := s.listCleaned(ctx)
			if lost = errors.Is(listErr, ErrInterrupted); lost {
				continue
			} else if listErr != nil {
				return made, bytes, errors.Join(err, listErr)
			}
			if b, ok := newIndex(there.Backups).find(snap.Subvolume); ok && b.Complete && b.Own { // only the word of it was lost
				return b, bytes, nil
			}
			from, _ := resumable([]Snapshot{snap}, there)
			if a.from = nil; len(from) > 0 {
				l := from[snap.StreamUUID()]
				a.from = &l
			}
			break
		}
		line.reached(a.from.offset())
	}
}

// listCleaned lists the destination, without what an attempt has left there that was killed: it would be in the way of the next.
func (s *sender) listCleaned(ctx context.Context) (Contents, error) {
	there, err := s.dest.List(ctx)
	if err != nil {
		return there, err
	}
	torso := slices.DeleteFunc(slices.Clone(there.Leftovers), func(l Leftover) bool { return l.Checkpoint != nil })
	if len(torso) == 0 {
		return there, nil
	}
	if _, err := s.dest.Clean(ctx, torso); err != nil {
		return there, err
	}
	return s.dest.List(ctx)
}

// lineRetry bounds how often a line that was lost is tried again: a few times, longer and longer after one another, and anew whenever something came over.
type lineRetry struct {
	first    time.Duration // the first pause
	tries    int
	farthest int64
}

const (
	lineTries = 6           // without anything coming over
	linePause = time.Second // at first, and twice as long each time
)

func (l *lineRetry) wait(ctx context.Context) bool {
	if l.tries == lineTries {
		return false
	}
	pause := cmp.Or(l.first, linePause) << l.tries
	l.tries++
	return Pause(ctx, pause) == nil
}

func (l *lineRetry) reached(offset int64) {
	if offset > l.farthest {
		l.farthest, l.tries = offset, 0
	}
}

// send makes one attempt. bytes are those that crossed the line.
func (s *sender) send(ctx context.Context, snap Snapshot, a attempt) (made Backup, bytes int64, err error) {
	version, err := s.version(ctx)
	if err != nil {
		return Backup{}, 0, err
	}
	compressed, estimate := false, int64(0)
	if a.from != nil {
		version, compressed = a.from.Checkpoint.Version, a.from.Checkpoint.Compressed
	} else if version >= 2 {
		compressed, estimate = s.compressible(ctx, snap, a.basis)
	}
	id := a.identity(snap, version, compressed)
	out := Outgoing{Subvolume: snap.Subvolume, Path: snap.Path, Parent: a.parent.Subvolume, Version: id.Version, Compressed: id.Compressed, IOPriority: s.priority}
	for _, c := range a.clones {
		out.Clones = append(out.Clones, c.Subvolume)
	}
	if a.from != nil {
		out.From = &a.from.Checkpoint.Position
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	report := s.reporter(ctx, snap, a, estimate)
	stream, err := s.Send(ctx, out)
	if err != nil {
		return Backup{}, 0, &sendError{err}
	}
	made, err = s.dest.Receive(ctx, Incoming{
		Identity: id, Name: snap.Name, Taken: snap.Taken, From: a.from,
		Stream: s.limit(ctx, stream), Confirm: stream.Close,
		Progress: report.add, Saved: sync.OnceFunc(func() { s.saved(snap, id) }), IOPriority: s.priority,
	})
	ended := failure(snap.Path, stream.Close())
	if err != nil && ended != nil {
		err = &sendError{ended} // the sender failed by itself, not because the receiver hung up: that came first
	}
	return made, report.bytes.Load(), err
}

// says reports whether an error is the errno. A receiver that is a program tells it in words only.
func says(err error, e syscall.Errno) bool {
	return errors.Is(err, e) || strings.Contains(strings.ToLower(err.Error()), e.Error())
}

// transferError adds what to do about the errors that people meet.
func transferError(err error) error {
	is := func(e syscall.Errno) bool { return says(err, e) }
	switch {
	case Hint(err) != "":
		return err
	case is(syscall.ENOSPC), is(syscall.EDQUOT):
		return &HintError{err, "the destination is full: make its `keep` smaller and run `btrkeep prune`, or get a larger disk"}
	case is(syscall.EROFS):
		return &HintError{err, "the destination's file system has turned read-only, perhaps after an error: see the kernel's log, then unmount it and mount it again"}
	case is(syscall.EIO):
		return &HintError{err, diskHint}
	}
	if _, ok := errors.AsType[*sendstream.PanicError](err); ok {
		return &HintError{err, PanicHint}
	}
	return err
}

const diskHint = "the disk reports errors: see the kernel's log and `btrfs device stats`"

// resumeError is transferError for what may come from what was kept of the transfer. That is not given up because of an error of the disk: most of those are of one that was torn off, and it can be
// nearly all of a first backup.
func resumeError(err error, destination string, id btrfs.UUID) error {
	if _, sending := errors.AsType[*sendError](err); sending || Hint(err) != "" || !says(err, syscall.EIO) {
		return err
	}
	return &HintError{err, fmt.Sprintf(diskHint+". If the error comes again with the disk in order, a bad sector may lie under what was kept of this transfer: "+
		"delete the hidden subvolume in %s whose name has %s in it, and it starts over", destination, id)}
}

// reporter counts the bytes of one transfer and passes on how it goes.
type reporter struct {
	bytes, estimate atomic.Int64
	base            Progress
	progress        func(Progress)
}

// estimateAfter is how long a transfer must have lasted before its size is estimated: short ones need none.
const estimateAfter = 2 * time.Second

func (s *sender) reporter(ctx context.Context, snap Snapshot, a attempt, estimate int64) *reporter {
	r := &reporter{progress: s.progress, base: Progress{
		Job: s.source.job.Name, Step: "transfer", Destination: s.cfg.Name, Snapshot: snap.Name, Parent: a.parentName(), Resumed: max(a.from.offset(), 0), Started: time.Now(),
	}}
	r.estimate.Store(estimate)
	r.add(0)
	if estimate > 0 {
		return r
	}
	go func() {
		select {
		case <-ctx.Done():
		case <-time.After(estimateAfter):
			if c, err := s.Changes(ctx, snap.Subvolume, snap.Path, a.since()); err == nil {
				r.estimate.Store(int64(c.Bytes))
			}
		}
	}()
	return r
}

// compressible reports whether compressed data may be sent as it is: not where the kernel would lose some. See [btrfs.Changes]. The search for that also gives an
// estimate of the bytes, 0 if there is none.
func (s *sender) compressible(ctx context.Context, snap Snapshot, b basis) (yes bool, estimate int64) {
	since := b.since()
	if since > snap.Otransid { // against a newer one, anything may differ
		since = 0
	}
	c, err := s.Changes(ctx, snap.Subvolume, snap.Path, since)
	return err == nil && !c.BehindInline, int64(c.Bytes)
}

// since is the transaction from which on a send against b has something to say: that of its parent's creation if that is older, else 0.
func (b basis) since() uint64 { return b.parent.Otransid }

func (r *reporter) add(bytes int64) {
	r.bytes.Store(bytes)
	p := r.base
	p.Bytes, p.Estimate = bytes, r.estimate.Load()
	r.progress(p)
}

// limit slows a stream down. One that goes over a line to another machine, from there or to there, is not slowed down here: what counts then are the bytes on the line.
func (s *sender) limit(ctx context.Context, stream io.Reader) io.Reader {
	if s.cfg.RateLimit.IsZero() || s.source.job.Remote() || !s.cfg.Local() {
		return stream
	}
	return throttle.NewReader(ctx, stream, throttle.New(s.cfg.RateLimit.BytesAt))
}

// newest gives the newest backup by the time its snapshot was taken, those dated in the future left out.
func newest(backups []Backup, now time.Time) (Backup, bool) {
	for _, b := range slices.Backward(backups) {
		if b.Complete && !b.Altered && !b.Taken.After(now.Add(24*time.Hour)) {
			return b, true
		}
	}
	return Backup{}, false
}
