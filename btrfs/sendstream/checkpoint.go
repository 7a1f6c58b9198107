package sendstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
)

// Identity is what decides over the bytes of a send stream: as long as the subvolumes exist, and the kernel is the same, they come out the same each time. Whoever takes
// a stream up in its middle checks that with [Skip].
type Identity struct {
	UUID       btrfs.UUID   `json:"uuid"` // of the subvolume sent, as the stream has it
	Ctransid   uint64       `json:"ctransid"`
	Parent     btrfs.UUID   `json:"parent,omitzero"` // as the stream has it; zero for a full stream
	Clones     []btrfs.UUID `json:"clones,omitempty"`
	Version    int          `json:"version"` // protocol
	Compressed bool         `json:"compressed,omitempty"`
}

// Equal does not look at the order of the clone sources.
func (i Identity) Equal(j Identity) bool {
	sorted := func(ids []btrfs.UUID) []btrfs.UUID {
		return slices.SortedFunc(slices.Values(ids), func(a, b btrfs.UUID) int { return bytes.Compare(a[:], b[:]) })
	}
	return i.UUID == j.UUID && i.Ctransid == j.Ctransid && i.Parent == j.Parent && i.Version == j.Version && i.Compressed == j.Compressed &&
		slices.Equal(sorted(i.Clones), sorted(j.Clones))
}

// Needs reports whether the stream is computed against the subvolume with that UUID: its parent or one of its clone sources.
func (i Identity) Needs(id btrfs.UUID) bool {
	return !id.IsZero() && (id == i.Parent || slices.Contains(i.Clones, id))
}

// Position is a place between two commands of a stream.
type Position struct {
	Offset   int64  `json:"offset"` // bytes of the stream before it, its header included
	Commands int64  `json:"commands"`
	Digest   []byte `json:"digest"` // of those bytes, see [Skip]
	State    []byte `json:"state"`  // of the digest, to go on with it
}

// Checkpoint is how far a stream was applied.
type Checkpoint struct {
	Identity
	Position
}

// Checkpoints has a Receiver stop now and then between two commands, so that the subvolume can be kept as it is then (by a snapshot):
// from there [Receiver.Resume] goes on.
type Checkpoints struct {
	Bytes int64         // at most so many bytes of the stream are read beyond the last place; below 2 MiB it is not kept exactly
	Time  time.Duration // or this long after it; both are needed
	Save  func(Position) error
}

// checkpointer counts what was applied.
type checkpointer struct {
	Checkpoints
	last Position
	at   time.Time // of the last one
}

// checkpoints has a digest made of the stream from here on.
func (s *session) checkpoints(c *Checkpoints, from Position) error {
	if c == nil {
		return nil
	}
	d := newDigest()
	if from.Offset > 0 {
		var err error
		if d, err = digestFrom(from.State); err != nil {
			return err
		}
	}
	s.in.in.digest = &d
	s.checkpointer = &checkpointer{Checkpoints: *c, last: from, at: time.Now()}
	return nil
}

// due reports whether it is time, as far as bytes were read: those are gone from the line if the receiver is killed now.
func (c *checkpointer) due(in *window) bool {
	if in.taken == c.last.Offset {
		return false
	}
	limit := max(c.Bytes-windowSize, c.Bytes/2)
	applied := in.taken - c.last.Offset // what was read ahead of the last one would make the next one due at once
	return applied+int64(in.w-in.r) >= limit && applied >= limit/2 || time.Since(c.at) >= c.Time
}

// checkpoint saves the place between the command applied last and the next one, when it is time.
func (s *session) checkpoint() error {
	// A command that was read ahead is in the digest and was not applied.
	if c := s.checkpointer; c == nil || s.ahead != nil || !c.due(s.in.in) {
		return nil
	}
	return s.save()
}

// interrupted saves the place that was reached when no more of the stream comes: a line that drops more often than checkpoints are due would never bring it over. Where the stream
// itself is at fault, or the receiver is to end, that has to do with the last one.
func (s *session) interrupted(err error) {
	c, in := s.checkpointer, s.in.in
	torn := errors.Is(err, ErrCorrupt) && !errors.Is(err, io.ErrUnexpectedEOF)
	if c == nil || s.ahead != nil || s.tree == nil || torn || s.ctx.Err() != nil || in.taken-c.last.Offset < min(c.Bytes/8, worthSaving) {
		return
	}
	_ = s.save() // what matters is why no more comes
}

// worthSaving is how many bytes are sent again rather than saved.
const worthSaving = 1 << 20

func (s *session) save() error {
	c, in := s.checkpointer, s.in.in
	p, err := position(in.taken, in.count, *in.digest)
	if err != nil {
		return err
	}
	if err := c.Save(p); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	c.last, c.at = p, time.Now()
	return nil
}

func position(offset, commands int64, d digest) (Position, error) {
	state, err := d.state()
	return Position{Offset: offset, Commands: commands, Digest: d.Sum(nil), State: state}, err
}

// resumable checks what came from a file.
func (c Checkpoint) resumable() error {
	switch d, err := digestFrom(c.State); {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrCheckpoint, err)
	case !bytes.Equal(d.Sum(nil), c.Digest):
		return fmt.Errorf("%w: the digest and its state do not fit together", ErrCheckpoint)
	case c.Version < 1 || c.Version > MaxVersion:
		return fmt.Errorf("%w: %w: version %d", ErrCheckpoint, ErrVersion, c.Version)
	case c.Offset <= int64(headerSize) || c.Commands < 1 || c.UUID.IsZero():
		return fmt.Errorf("%w: it is no place in a stream", ErrCheckpoint)
	}
	return nil
}
