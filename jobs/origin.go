package jobs

import (
	"context"
	"io"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// An Origin is where the source of a job is: what has to be done there, and not where the run is. [Here] is the one of this machine.
//
// What is decided is decided by the run: an Origin only looks and does.
type Origin interface {
	Sender

	// Look gives what is there now, and refuses what could not be backed up right.
	Look(ctx context.Context) (Look, error)

	// Lock keeps others from changing the snapshots, as far as the job's own lock does not. Errors wrap *HeldError.
	Lock(ctx context.Context, holder Holder) (unlock func(), err error)

	// Take makes a snapshot of the source, durably, and gives its UUID; none if only_if_changed is set and nothing has changed since the last one.
	Take(ctx context.Context, now time.Time) (btrfs.UUID, error)

	// Clean deletes what killed runs left in the snapshot directory, and names it.
	Clean(ctx context.Context) (removed []string, err error)

	// Delete deletes snapshots that Look gave and the catalog has, each only if its UUID is still the same, and tells done of each that is gone. Errors join an
	// *InUseError for each that is being read.
	Delete(ctx context.Context, snapshots []btrfs.Subvolume, done func(btrfs.UUID)) error

	// Changed reports whether the source was changed since a snapshot of it, as far as that is on the disk.
	Changed(ctx context.Context, since Snapshot) (bool, error)

	// Pin notes why a snapshot is never pruned; "" unpins it. It is false for one that is not in the catalog.
	Pin(ctx context.Context, id btrfs.UUID, reason string) (bool, error)

	Close() error
}

// A Sender makes streams of read-only subvolumes that it has.
type Sender interface {
	// Send begins a send. Errors of the end of the stream, see [Stream]; sendstream.ErrDiffers if what comes before o.From is not what it was.
	Send(ctx context.Context, o Outgoing) (Stream, error)

	// Changes reports what has changed in a read-only subvolume since a transaction; see [btrfs.ChangedSince].
	Changes(ctx context.Context, s btrfs.Subvolume, path string, since uint64) (btrfs.Changes, error)

	// SendVersion is the newest send protocol of the kernel there.
	SendVersion() int
}

// A Stream is a send under way. After io.EOF it has ended well only if Close returns nil, which may be called at any time and ends it.
type Stream interface {
	io.Reader
	Close() error
}

// Outgoing describes a stream. The subvolumes are of the Sender's file system.
type Outgoing struct {
	Subvolume  btrfs.Subvolume
	Path       string          // of Subvolume
	Parent     btrfs.Subvolume // zero: a full stream
	Clones     []btrfs.Subvolume
	Version    int // protocol
	Compressed bool

	From       *sendstream.Position // what comes before it is left out, after it was found to be the same; nil: nothing is
	IOPriority int
}

// Look is what is there at an Origin at one moment.
type Look struct {
	Machine    string // machine-id(5) of where it is; may be empty
	Volume     btrfs.Subvolume
	FileSystem btrfs.FileSystem
	Dir        btrfs.Dir         // of the snapshots; zero while the directory is missing
	All        []btrfs.Subvolume // of the whole file system, or at least those that matter
	Catalog    catalog.Catalog   // of the snapshot directory

	listing *btrfs.Listing // All, with the ways to find in it; nil where it came from another machine
	kin     relation       // of All; nil: not known yet
}

// Owner is whose backups a destination is opened for.
type Owner struct {
	Machine    string // of the source
	Path       string // of the source there
	Volume     btrfs.UUID
	FileSystem btrfs.UUID
}

// String is how a catalog notes it.
func (o Owner) String() string { return o.Machine + ":" + o.Path }
