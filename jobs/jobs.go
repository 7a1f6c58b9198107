// Package jobs is what one job does: snapshot, transfer, prune, and the account of it.
//
// A [Runner] executes a run: lock, check, snapshot, transfer to every destination, prune, report. What it decides is
// decided by pure functions ([retention.Plan], the choice of parents, the list of transfers), so that [Runner.Plan]
// shows the decision that [Runner.Run] executes. The truth is in btrfs; [State] holds only what may be lost.
//
// Kinds of destinations live in sub-packages and implement [Destination].
package jobs

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/config"
)

// ErrAbsent means that a destination cannot be reached now: a disk that is unplugged, a host that is down. A state, not an error.
var ErrAbsent = errors.New("absent")

// ErrNameTaken means that something else, of another UUID, has the name that a backup should get. It is never deleted.
var ErrNameTaken = errors.New("the name is taken by another subvolume")

// ErrInterrupted means that the line to another machine was lost, or that nothing came through it any more. What was transferred until then may be taken up.
var ErrInterrupted = errors.New("the line was interrupted")

// ErrForeign means that btrkeep did not make a subvolume: it is never deleted, and nothing is noted of it.
var ErrForeign = errors.New("not made by btrkeep")

// A Destination is an open place that receives backups of one job.
//
// Implementations must be safe for use by one run at a time; the read-only calls need no lock.
type Destination interface {
	// Identity tells which disk (or store) this is: two disks that take turns at one mount point differ.
	Identity() Identity

	// Lock takes the destination's own lock, so that nobody else writes or prunes here. Errors wrap *HeldError.
	Lock(ctx context.Context, holder Holder) (unlock func(), err error)

	// List lists what is there.
	List(ctx context.Context) (Contents, error)

	// Clean deletes leftovers that List returned, and names those that are gone. Needs the lock. Errors join an *InUseError for each that is being read.
	Clean(ctx context.Context, leftovers []Leftover) (removed []string, err error)

	// StreamVersion is the newest send protocol that may be sent here.
	StreamVersion(ctx context.Context) (int, error)

	// Receive stores one backup. When it returns nil the backup is complete, durable and at its name; when it does not, nothing that
	// looks like a backup has been left, and perhaps a checkpoint. Needs the lock. Errors wrap ErrNameTaken, btrfs.ErrParentMissing, btrfs.ErrCloneSource.
	Receive(ctx context.Context, in Incoming) (Backup, error)

	// Delete deletes backups that List returned, each only if its UUID is still the same, and gives those that are gone: one that cannot be
	// deleted does not keep the others. Needs the lock. Errors join an *InUseError for each that is being read.
	Delete(ctx context.Context, backups []Backup) (gone []Backup, err error)

	// Pin notes with a backup that List returned why it is never pruned; "" unpins it. Durable when it returns. Needs the lock. Errors wrap ErrForeign.
	Pin(ctx context.Context, b Backup, reason string) error

	Close() error
}

// Identity is where a destination really is.
type Identity struct {
	FileSystem  btrfs.UUID // of the destination's disk
	MountPoint  string
	Free, Total uint64 // bytes
	ReadOnly    bool

	AddOnly bool // nothing may be deleted from here: who has the disk prunes it
}

// Incoming is one stream for Destination.Receive.
type Incoming struct {
	sendstream.Identity
	Name       string // the snapshot's and so the backup's
	Taken      time.Time
	Stream     io.Reader
	From       *Leftover         // the stream is given from its checkpoint on; nil: from the beginning
	Confirm    func() error      // to be called at the end of the stream: the sender's verdict; an error withholds completion
	Progress   func(bytes int64) // called now and then with the bytes of Stream so far; may be nil
	Saved      func()            // called when a checkpoint is on the disk; may be nil
	IOPriority int
}

// Contents is what a destination holds.
type Contents struct {
	Backups   []Backup   // complete or not, in the order of time taken
	Leftovers []Leftover // of transfers under way or interrupted
	Above     []Backup   // complete ones in the directories above, whoever made them: parents, and nothing else. Their Name begins with ../
}

// parents are the backups that a send may be computed against. Of the same content, one in the directory itself is taken.
//
// The receiver finds a parent by its UUID alone: where somebody has written into one that has it, all that have it are left out, since it could take that one.
func (c Contents) parents() []Backup {
	all := slices.Concat(c.Above, c.Backups)
	doubtful := map[btrfs.UUID]bool{}
	for _, b := range all {
		if b.Altered {
			doubtful[b.UUID], doubtful[b.ReceivedUUID] = true, true
		}
	}
	return slices.DeleteFunc(all, func(b Backup) bool { return doubtful[b.UUID] || !b.ReceivedUUID.IsZero() && doubtful[b.ReceivedUUID] })
}

// Leftover is a subvolume of a transfer that is not complete.
type Leftover struct {
	Name       string
	Created    time.Time
	UUID       btrfs.UUID             // of the subvolume at the destination
	Checkpoint *sendstream.Checkpoint // from where the transfer can go on; nil if it cannot
}

// Backup is one subvolume at a destination.
type Backup struct {
	btrfs.Subvolume
	Path     string
	Taken    time.Time // when the snapshot was taken at the source
	Complete bool      // at its final name, read-only, with a received UUID
	Own      bool      // made (or adopted) by btrkeep; all others are never deleted
	Altered  bool      // somebody has written into it since it was received: no parent for anything
	Pinned   bool

	PinReason string // not empty if Pinned
	Origin    string // machine and path of the source, as noted by who made it; may be empty
}

// Snapshot is one read-only snapshot beside the source.
type Snapshot struct {
	btrfs.Subvolume
	Path   string
	Taken  time.Time
	Own    bool // made (or adopted) by btrkeep
	Adhoc  bool // by `btrkeep backup`, which deletes no others
	Pinned bool

	PinReason string // not empty if Pinned
}

// Opener opens a destination of a job for the backups of owner, or says that it is absent (ErrAbsent) or misconfigured.
// last is where the destination was when it was last written (zero: never).
type Opener func(ctx context.Context, job config.Job, d config.Destination, owner Owner, last Identity) (Destination, error)
