// Package squeeze brings a stream over a line in less bytes, where that makes it faster.
//
// The stream goes in blocks, each of them as it is or compressed with zstd, and ends with a mark: what was cut off is never taken for the end. Whether a block is compressed is chosen by
// what the stream holds and by how fast the line is, see [Reader]; [Decoder] takes either.
package squeeze

import "errors"

// A block is a header of four bytes, its kind and the length of what follows, least significant byte first, and what it holds: at most maxBlock bytes of the stream. Each compressed block
// is a zstd frame of its own, so that neither end needs more memory than for one of them.
const (
	headerSize = 4
	maxBlock   = 1 << 20
)

type kind byte

const (
	raw    kind = 0x01
	zipped kind = 0x02
	end    kind = 0x03 // nothing follows
	pause  kind = 0x04 // nothing: there will be more
)

// Pause is what may be written before the form of a stream, again and again, while it is not there yet: it tells the other end to wait.
func Pause() []byte {
	b := make([]byte, headerSize)
	putHeader(b, pause, 0)
	return b
}

func putHeader(b []byte, k kind, length int) {
	b[0], b[1], b[2], b[3] = byte(k), byte(length), byte(length>>8), byte(length>>16)
}

func header(b []byte) (k kind, length int) {
	return kind(b[0]), int(b[1]) | int(b[2])<<8 | int(b[3])<<16
}

// ErrCorrupt is wrapped by the errors of a [Decoder] that was given what no [Reader] makes.
var ErrCorrupt = errors.New("damaged on its way")
