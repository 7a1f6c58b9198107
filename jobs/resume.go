package jobs

import (
	"cmp"
	"errors"
	"slices"
	"syscall"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/config"
)

// UnderWay is the most that a line to another machine holds, in bytes: what was sent, and the receiver has not come to. With the line, or with the receiver, it is lost.
const UnderWay = 8 << 20

// OverLine is how often to make a checkpoint of what comes over a line, so that no more is sent again than c allows: what was applied since the last one, and what was under way. Of less than 16 MiB, half
// is allowed for the first, though no less than config.MinCheckpointBytes, and the second comes on top.
func OverLine(c config.Checkpoint) config.Checkpoint {
	if c.Bytes > 0 {
		c.Bytes = max(c.Bytes-UnderWay, c.Bytes/2, config.MinCheckpointBytes)
	}
	return c
}

// resumable are the leftovers from which transfers go on, by the UUID that the snapshot has in streams: the farthest one of each snapshot that is at the source and
// not yet complete at the destination. The others are useless.
func resumable(snapshots []Snapshot, there Contents) (from map[btrfs.UUID]Leftover, useless []Leftover) {
	from = map[btrfs.UUID]Leftover{}
	if len(there.Leftovers) == 0 {
		return from, nil
	}
	at := newIndex(there.Backups)
	farthest := slices.SortedStableFunc(slices.Values(there.Leftovers), func(a, b Leftover) int { return cmp.Compare(b.offset(), a.offset()) })
	for _, l := range farthest {
		wanted := l.Checkpoint != nil && slices.ContainsFunc(snapshots, func(s Snapshot) bool {
			_, complete := at.find(s.Subvolume)
			return s.Own && !complete && s.StreamUUID() == l.Checkpoint.UUID
		})
		if wanted {
			if _, farther := from[l.Checkpoint.UUID]; !farther {
				from[l.Checkpoint.UUID] = l
				continue
			}
		}
		useless = append(useless, l)
	}
	return from, useless
}

// offset is how many bytes of the stream are in a leftover that can be taken up, or -1.
func (l *Leftover) offset() int64 {
	if l == nil || l.Checkpoint == nil {
		return -1
	}
	return l.Checkpoint.Offset
}

// identity is that of the stream of snap against b.
func (b basis) identity(snap Snapshot, version int, compressed bool) sendstream.Identity {
	id := sendstream.Identity{UUID: snap.StreamUUID(), Ctransid: snap.Ctransid, Version: version, Compressed: compressed}
	if !b.full() {
		id.Parent = b.parent.StreamUUID()
	}
	for _, c := range b.clones {
		id.Clones = append(id.Clones, c.StreamUUID())
	}
	return id
}

// basisOf finds what a stream was computed against; false if some of it is gone at either end.
func basisOf(id sendstream.Identity, common []candidate) (basis, bool) {
	find := func(id btrfs.UUID) (candidate, bool) {
		i := slices.IndexFunc(common, func(c candidate) bool { return c.StreamUUID() == id })
		if i < 0 {
			return candidate{}, false
		}
		return common[i], true
	}
	var b basis
	ok := true
	if !id.Parent.IsZero() {
		b.parent, ok = find(id.Parent)
	}
	for _, c := range id.Clones {
		clone, there := find(c)
		b.clones, ok = append(b.clones, clone), ok && there
	}
	return b, ok
}

// goOn is what the stream that was interrupted is computed against; false if it cannot be made again.
func (s *source) goOn(id sendstream.Identity, snap Snapshot, all []btrfs.Subvolume, backups []Backup) (basis, bool) {
	b, ok := basisOf(id, parents(snap.Subvolume, all, s.isOwn, s.family, backups))
	return b, ok && b.identity(snap, id.Version, id.Compressed).Equal(id)
}

// needed are the subvolumes of the source without which the stream cannot be made again, by their own UUIDs.
func (s *source) needed(id sendstream.Identity) []btrfs.UUID {
	var ids []btrfs.UUID
	for _, v := range s.All {
		if v.ReadOnly && (v.StreamUUID() == id.UUID || id.Needs(v.StreamUUID())) {
			ids = append(ids, v.UUID)
		}
	}
	return ids
}

// cannotGoOn reports whether an error comes from what was kept of an interrupted transfer, so that beginning anew may help: the stream is another one, or what
// it says does not fit to what is there. A disk that is full or torn off is no reason.
func cannotGoOn(err error) bool {
	if errors.Is(err, sendstream.ErrDiffers) || errors.Is(err, sendstream.ErrCheckpoint) {
		return true
	}
	passing := []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO, syscall.ENODEV, syscall.ENXIO, syscall.ENOMEM, sendstream.ErrCorrupt}
	return errors.Is(err, sendstream.ErrApply) && !slices.ContainsFunc(passing, func(e error) bool { return errors.Is(err, e) })
}

// sendError is one of the sender, not of who receives.
type sendError struct{ err error }

func (e *sendError) Error() string { return e.err.Error() }
func (e *sendError) Unwrap() error { return e.err }
