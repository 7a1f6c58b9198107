package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/config"
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
	source   *source
	dest     Destination
	cfg      config.Destination
	priority int
	slots    *Slots
	progress func(Progress)
}

// transfer brings one snapshot over, falling back to other parents where the receiver does not find one. backups are those of the destination.
func (s *sender) transfer(ctx context.Context, snap Snapshot, backups []Backup) (t Transfer, made *Backup) {
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
	choices := s.source.bases(snap.Subvolume, s.source.unaltered(), backups)
	for i, b := range choices {
		t.Parent = b.parentName()
		backup, bytes, err := s.sendAgain(ctx, snap, b)
		t.Bytes += bytes
		if err == nil {
			t.Result, t.Error, t.Hint = ResultOK, "", ""
			return t, &backup
		}
		err = transferError(err)
		t.Error, t.Hint = err.Error(), Hint(err)
		// A parent that is not what it seems, or a kernel's mistake in the stream, shows as a name that is missing or taken.
		mismatch := !b.full() && !errors.Is(err, ErrNameTaken) && (says(err, syscall.ENOENT) || says(err, syscall.EEXIST))
		otherwise := mismatch || errors.Is(err, btrfs.ErrParentMissing) || errors.Is(err, btrfs.ErrCloneSource)
		if !otherwise || i == len(choices)-1 || ctx.Err() != nil {
			return t, nil
		}
	}
	return t, nil
}

// maxTorn is how often one send is tried anew after its stream was torn.
const maxTorn = 3

// sendAgain is send, tried anew if the stream was torn on its way: a process that is stopped, or a machine that goes to sleep, makes the kernel begin
// the stream again in its middle. That never passes the checksums, and the next attempt is as good as any.
func (s *sender) sendAgain(ctx context.Context, snap Snapshot, b basis) (made Backup, bytes int64, err error) {
	for range maxTorn {
		var n int64
		made, n, err = s.send(ctx, snap, b)
		bytes += n
		if !errors.Is(err, sendstream.ErrCorrupt) || ctx.Err() != nil {
			break
		}
	}
	return made, bytes, err
}

// send makes one attempt.
func (s *sender) send(ctx context.Context, snap Snapshot, b basis) (Backup, int64, error) {
	version, err := s.dest.StreamVersion(ctx)
	if err != nil {
		return Backup{}, 0, err
	}
	version = min(version, btrfs.StreamVersion())
	send := btrfs.Send{Subvolume: snap.Path, Version: version, Compressed: version >= 2, IOPriority: s.priority}
	if !b.full() {
		send.Parent = b.parent.ID
	}
	for _, c := range b.clones {
		send.CloneSources = append(send.CloneSources, c.ID)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := send.Start(ctx)
	if err != nil {
		return Backup{}, 0, fmt.Errorf("send %s: %w", snap.Path, err)
	}
	report := s.reporter(ctx, snap, b)
	made, err := s.dest.Receive(ctx, Incoming{
		Name: snap.Name, UUID: snap.StreamUUID(), Ctransid: snap.streamCtransid(), Taken: snap.Taken,
		Stream: limit(ctx, stream, s.cfg.RateLimit), Confirm: stream.Close, Progress: report.add, IOPriority: s.priority,
	})
	ended := stream.Close()
	if err != nil && ended != nil && !errors.Is(ended, context.Canceled) && !errors.Is(ended, syscall.EPIPE) {
		// The sender failed by itself, not because the receiver hung up: that came first.
		err = fmt.Errorf("send %s: %w", snap.Path, ended)
	}
	return made, report.bytes.Load(), err
}

// streamCtransid is the transaction under which a stream of s speaks of it.
func (s Snapshot) streamCtransid() uint64 {
	if !s.ReceivedUUID.IsZero() {
		return s.Stransid
	}
	return s.Ctransid
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
		return &HintError{err, "the destination's file system has turned read-only, perhaps after an error: see the kernel's log"}
	case is(syscall.EIO):
		return &HintError{err, "the disk reports errors: see the kernel's log and `btrfs device stats`"}
	}
	return err
}

// reporter counts the bytes of one transfer and passes on how it goes.
type reporter struct {
	bytes, estimate atomic.Int64
	base            Progress
	progress        func(Progress)
}

// estimateAfter is how long a transfer must have lasted before its size is estimated: short ones need none.
const estimateAfter = 2 * time.Second

func (s *sender) reporter(ctx context.Context, snap Snapshot, b basis) *reporter {
	r := &reporter{progress: s.progress, base: Progress{
		Job: s.source.job.Name, Step: "transfer", Destination: s.cfg.Name, Snapshot: snap.Name, Parent: b.parentName(), Started: time.Now(),
	}}
	r.add(0)
	go func() {
		select {
		case <-ctx.Done():
		case <-time.After(estimateAfter):
			if c, err := btrfs.ChangedSince(ctx, snap.Path, b.since()); err == nil {
				r.estimate.Store(int64(c.Bytes))
			}
		}
	}()
	return r
}

// since is the transaction from which on a send against b has something to say: that of its parent's creation if that is older, else 0.
func (b basis) since() uint64 { return b.parent.Otransid }

func (r *reporter) add(bytes int64) {
	r.bytes.Store(bytes)
	p := r.base
	p.Bytes, p.Estimate = bytes, r.estimate.Load()
	r.progress(p)
}

// burst is the largest piece that passes a rate limit at once.
const burst = 1 << 20

// limit slows a reader down to bytes per second; 0 means not at all.
func limit(ctx context.Context, r io.Reader, bytes config.Size) io.Reader {
	if bytes <= 0 {
		return r
	}
	return &limited{ctx, r, rate.NewLimiter(rate.Limit(bytes), burst)}
}

type limited struct {
	ctx     context.Context
	r       io.Reader
	limiter *rate.Limiter
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(len(p), burst)]) // WaitN refuses more than the burst
	if n > 0 {
		if e := l.limiter.WaitN(l.ctx, n); e != nil {
			return n, e
		}
	}
	return n, err
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
