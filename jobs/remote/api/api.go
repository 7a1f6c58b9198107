// Package api is what the two ends of an ssh connection say to each other: HTTP requests with JSON bodies, and streams.
//
// Fields are only ever added, as both ends may be of different ages; what neither may ignore needs another protocol version (see wire).
package api

import (
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/jobs"
)

// The requests. All are POST.
const (
	Hello = "/v1/hello" // → Greeting

	Open    = "/v1/destination/open"    // Place → Opened
	Lock    = "/v1/destination/lock"    // Locking in the header → a body that is open as long as the lock is held, which ends with the request's body
	List    = "/v1/destination/list"    // Place → jobs.Contents
	Clean   = "/v1/destination/clean"   // Cleaning → Cleaned
	Delete  = "/v1/destination/delete"  // Deletion → Deleted
	Pin     = "/v1/destination/pin"     // Pinning → Pinned
	Receive = "/v1/destination/receive" // Incoming in the header, the stream → Events
	Send    = "/v1/destination/send"    // Sending → the stream
	Changes = "/v1/destination/changes" // Changing → btrfs.Changes

	SourceLock    = "/v1/source/lock"    // SourceLocking in the header → as Lock
	SourceLook    = "/v1/source/look"    // Source → Looked
	SourceTake    = "/v1/source/take"    // Taking → Taken
	SourceClean   = "/v1/source/clean"   // Source → Cleaned
	SourceDelete  = "/v1/source/delete"  // SourceDeletion → Deleted
	SourceChanged = "/v1/source/changed" // SourceChange → Changed
	SourcePin     = "/v1/source/pin"     // SourcePinning → Pinned
	SourceSend    = "/v1/source/send"    // SourceSending → the stream
	SourceChanges = "/v1/source/changes" // SourceChanging → btrfs.Changes
)

// IncomingHeader holds the JSON of an Incoming.
const IncomingHeader = "Btrkeep-Incoming"

// StreamTrailer says how a stream ended: "ok", or the JSON of an Error. Without it, it was cut off.
const StreamTrailer = "Btrkeep-Stream"

// StreamOK is the trailer of a stream that ended well.
const StreamOK = "ok"

// Greeting is what the far end is and what it lets this client do.
type Greeting struct {
	Version string // of btrkeep
	Machine string // machine-id(5)
	Can     Role
	Within  []string // the directories that it is confined to; none: all
	Sources []string // that it lets be snapshot and sent; with Can.Source and none: all
	Stream  int      // newest send protocol of its kernel
}

// Role is what a client may do.
type Role struct {
	Add    bool // list, receive
	Delete bool // delete and pin
	Read   bool // send back
	Source bool // snapshot and send sources
}

// Place is a destination directory at the far end.
type Place struct {
	Path       Path
	Owner      Owner
	NameFormat string // of the job, for backups that no catalog knows
	Zone       string
	Last       jobs.Identity // where it was when it was written last
	Mount      Path          // something must be mounted there, or the destination is absent; "" = nothing
	Look       bool          // as it is, to read: also if it is not there or cannot be written
}

// Opened is what a Place turned out to be.
type Opened struct {
	Identity jobs.Identity
	Greeting
}

// Locking asks for the lock of a destination.
type Locking struct {
	Place
	Holder  jobs.Holder
	Session string // of the run: what an own connection holds that died unnoticed is taken over
}

// Cleaning asks to delete leftovers.
type Cleaning struct {
	Place
	Leftovers []jobs.Leftover
}

// Cleaned names what is gone.
type Cleaned struct {
	Removed []string
	Error   *Error
}

// Deletion asks to delete backups.
type Deletion struct {
	Place
	Backups []Named
}

// Named is a subvolume in a directory: deleted only if name and UUID agree.
type Named struct {
	Name Path
	UUID btrfs.UUID
}

// Deleted tells what is gone, and what was not to be.
type Deleted struct {
	Gone  []btrfs.UUID
	Error *Error
}

// Pinning asks to note a pin.
type Pinning struct {
	Place
	Named
	Reason string
}

// Pinned says whether the subvolume is in the catalog.
type Pinned struct{ Known bool }

// Incoming describes the stream in a request's body.
type Incoming struct {
	Place
	sendstream.Identity
	Name       string
	Taken      time.Time
	From       *jobs.Leftover
	Checkpoint Checkpoint
	IOPriority int
}

// Checkpoint says how often a transfer is to be resumed from.
type Checkpoint struct {
	Bytes int64
	Time  time.Duration
}

// Event is a line of the answer to a stream. The last one has Made or Error.
type Event struct {
	Saved bool         `json:",omitempty"` // a checkpoint is on the disk
	Made  *jobs.Backup `json:",omitempty"`
	Error *Error       `json:",omitempty"`
}

// Sending asks for a stream of backups.
type Sending struct {
	Place
	Outgoing
}

// Outgoing is a jobs.Outgoing whose subvolumes are named by UUID alone.
type Outgoing struct {
	Subvolume  btrfs.UUID
	Parent     btrfs.UUID
	Clones     []btrfs.UUID
	Version    int
	Compressed bool
	From       *sendstream.Position
	IOPriority int
}

// Changing asks what has changed in a backup.
type Changing struct {
	Place
	Of    btrfs.UUID
	Since uint64
}

// Source is a source at the far end.
type Source struct {
	Path          Path
	SnapshotDir   Path
	NameFormat    string
	Zone          string
	OnlyIfChanged bool
	Adhoc         bool
}

// Looked is what is at a source.
type Looked struct {
	jobs.Look
	Greeting
}

// SourceLocking asks for the lock of a source's snapshots.
type SourceLocking struct {
	Source
	Holder  jobs.Holder
	Session string
}

// Taking asks for a snapshot.
type Taking struct {
	Source
	Now time.Time
}

// Taken is the snapshot; zero if nothing has changed.
type Taken struct{ UUID btrfs.UUID }

// SourceDeletion asks to delete snapshots.
type SourceDeletion struct {
	Source
	Snapshots []Named
}

// SourceChange asks whether the source was changed.
type SourceChange struct {
	Source
	Since btrfs.UUID
}

// Changed is the answer.
type Changed struct{ Changed bool }

// SourcePinning asks to note a pin.
type SourcePinning struct {
	Source
	UUID   btrfs.UUID
	Reason string
}

// SourceSending asks for a stream of snapshots.
type SourceSending struct {
	Source
	Outgoing
}

// SourceChanging asks what has changed in a snapshot.
type SourceChanging struct {
	Source
	Of    btrfs.UUID
	Since uint64
}
