package squeeze

import (
	"io"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Options are those of a [Reader].
type Options struct {
	Never bool // compress nothing: the stream holds compressed data already
}

const (
	// patience is how long data waits for more to be compressed with it.
	patience = 100 * time.Millisecond
	// enough data does not wait at all when the line has nothing else to do.
	enough = 64 << 10
	// direct is the least room that is read into without a buffer in between.
	direct = 4 << 10
	// maxIdle is how often in a row the stream may give nothing and no error.
	maxIdle = 100
)

// A Reader gives a stream in its form on the wire.
//
// The time between one Read and the next is taken for what the line needs for the bytes that the first one gave. So it is to be called by what writes to the line, which must not
// be ahead of it by more than a few MiB. A block is compressed if that is faster than to send it as it is, and if blocks of this stream come down to less than nine tenths.
//
// Blocks that are compressed are read ahead: the stream may be in a Read when the Reader is not, and the one that gives a Reader up has to end the stream.
type Reader struct {
	r      io.Reader
	choice choice
	zstd   *zstd.Encoder
	out    []byte // what of the block at hand was not given yet
	blocks [2]*ahead
	turn   int    // the one of them that is to be used next: out may be in the other
	ahead  *ahead // the one that is on its way
	err    error  // what comes when out is empty
	ended  bool   // the end mark was given

	given time.Time // when Read returned last
	wire  int       // and how many bytes that gave
}

// NewReader gives the form on the wire of the stream r. It ends with io.EOF, behind a mark, when r does; any other error of r is passed on, without one.
func NewReader(r io.Reader, o Options) *Reader {
	return &Reader{r: r, choice: choice{never: o.Never}}
}

// Read gives bytes for the wire.
func (z *Reader) Read(p []byte) (int, error) {
	if z.wire > 0 {
		z.choice.given(z.wire, time.Since(z.given))
	}
	n, err := z.read(p)
	z.wire, z.given = n, time.Now()
	return n, err
}

func (z *Reader) read(p []byte) (int, error) {
	for len(z.out) == 0 && len(p) > 0 {
		switch {
		case z.ahead != nil:
			z.await()
		case z.err == io.EOF && !z.ended:
			z.ended = true
			z.out = make([]byte, headerSize)
			putHeader(z.out, end, 0)
		case z.err != nil:
			return 0, z.err
		case z.choice.try():
			z.start()
		case len(p) >= direct:
			if n := z.pass(p); n > 0 {
				return n, nil
			}
		default:
			buf := z.block().buf
			z.out = buf[:z.pass(buf)]
		}
	}
	n := copy(p, z.out)
	z.out = z.out[n:]
	return n, nil
}

// pass reads a block that is not compressed. It is what one Read of the stream gives: to wait for more would gain nothing.
func (z *Reader) pass(p []byte) int {
	for range maxIdle {
		n, err := z.r.Read(p[headerSize:min(len(p), headerSize+maxBlock)])
		z.err = err
		if n > 0 {
			z.choice.passed(n)
			putHeader(p, raw, n)
			return headerSize + n
		}
		if err != nil {
			return 0
		}
	}
	z.err = io.ErrNoProgress
	return 0
}

func (z *Reader) block() *ahead {
	if z.blocks[z.turn] == nil {
		z.blocks[z.turn] = newAhead()
	}
	return z.blocks[z.turn]
}

// start has a block read and compressed.
func (z *Reader) start() {
	if z.zstd == nil {
		if z.zstd, z.err = newEncoder(); z.err != nil {
			return
		}
	}
	z.ahead = z.block()
	z.turn = 1 - z.turn
	z.ahead.start(z.r, z.zstd)
}

// await waits for the block that is on its way, though not for long if the stream has come to a halt in its middle.
func (z *Reader) await() {
	a := z.ahead
	select {
	case <-a.done:
		z.finish()
		return
	default:
	}
	if z.out = a.take(enough); len(z.out) == 0 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-a.done:
			z.finish()
			return
		case <-timer.C:
			z.out = a.take(1)
		}
	}
	if len(z.out) > 0 {
		z.choice.passed(len(z.out) - headerSize)
	}
}

// finish takes the block that was on its way, and has the next one started while the line is busy with this one.
func (z *Reader) finish() {
	a := z.ahead
	z.ahead, z.out, z.err = nil, a.out, a.err
	if a.data > 0 {
		if !a.zip {
			putHeader(a.out, raw, a.data)
		}
		z.choice.tried(a.data, a.zip, a.took)
	}
	if z.err == nil && z.choice.try() {
		z.start()
	}
}

// newEncoder has no checksums: the line has its own, and so has what goes over it.
func newEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithWindowSize(maxBlock))
}
