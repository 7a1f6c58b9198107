package sendstream

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
)

// digest tells whether a stream that is made again is the one before, up to some place: a running SHA-256 of all of it but the data of files. For that stands the CRC32C in the header of
// its command, which is of the data too: by nothing else could be told whether what was applied then was what had been sent, and to hash all data as well takes as long as to write it.
type digest struct{ hash.Hash }

func newDigest() digest { return digest{sha256.New()} }

// command adds one, as it is in the stream, whose checksum was found right.
func (d digest) command(c *Command, raw []byte) {
	if data := c.at[AttrData]; c.have.has(AttrData) && int(data.to) == len(c.payload) { // it is last, as the kernel has it
		raw = raw[:len(raw)-int(data.to-data.from)]
	}
	d.Write(raw)
}

// state is what a digest goes on from.
func (d digest) state() ([]byte, error) { return d.Hash.(encoding.BinaryMarshaler).MarshalBinary() }

// digestFrom goes on from a state.
func digestFrom(state []byte) (digest, error) {
	d := newDigest()
	if err := d.Hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(state); err != nil {
		return d, fmt.Errorf("go on with the digest: %w", err)
	}
	return d, nil
}

// ErrDiffers means that a stream made again is not the one that was interrupted: the kernel is another one, or what it was made of is.
var ErrDiffers = errors.New("the stream is not the same as before it was interrupted")

// Skip reads a stream up to a position that an earlier one has reached, and not beyond. The error wraps [ErrDiffers] if it is not the same until there or ends before, ErrCorrupt if it is not a
// well-formed one, and that of the reader if it fails.
func Skip(stream io.Reader, to Position) error {
	if len(to.Digest) != sha256.Size {
		return ErrDiffers
	}
	beginning := &failing{Reader: io.LimitReader(stream, to.Offset)}
	d := NewDecoder(beginning)
	digest := newDigest()
	d.in.digest = &digest
	for d.Offset() < to.Offset {
		_, err := d.Next()
		switch {
		case err == nil:
		case beginning.err != nil:
			return beginning.err
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // it ends before, or the place is in the middle of a command
			return ErrDiffers
		default:
			return err
		}
	}
	if d.Count() != to.Commands || !bytes.Equal(digest.Sum(nil), to.Digest) {
		return ErrDiffers
	}
	return nil
}

// failing remembers how its reader failed.
type failing struct {
	io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}
