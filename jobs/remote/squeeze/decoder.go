package squeeze

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// A Decoder gives the stream that a [Reader] was made of. Whatever it is given, it needs no more memory than for a block.
type Decoder struct {
	r    io.Reader
	zstd *zstd.Decoder
	raw  int    // bytes of a raw block that were not read yet
	out  []byte // what of a compressed block was not given yet
	err  error

	packed, plain []byte
}

// NewDecoder gives the stream whose form on the wire r is.
//
// It ends with io.EOF only at the mark that stands for the end of the stream, behind which nothing is read from r. If r ends before, the error is io.ErrUnexpectedEOF; it wraps
// [ErrCorrupt] if r gives what no Reader makes. Any other error is that of r.
func NewDecoder(r io.Reader) *Decoder { return &Decoder{r: r} }

// Read gives bytes of the stream.
func (d *Decoder) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for d.err == nil && d.raw == 0 && len(d.out) == 0 {
		d.err = d.next()
	}
	switch {
	case d.raw > 0 && d.err == nil: // without a buffer in between
		n, err := d.r.Read(p[:min(len(p), d.raw)])
		if d.raw -= n; err != io.EOF {
			d.err = err
		} else if d.raw > 0 {
			d.err = io.ErrUnexpectedEOF
		}
		if n > 0 {
			return n, nil
		}
		return 0, d.err
	case len(d.out) > 0:
		n := copy(p, d.out)
		d.out = d.out[n:]
		return n, nil
	}
	return 0, d.err
}

// next begins a block.
func (d *Decoder) next() error {
	var h [headerSize]byte
	if err := d.full(h[:]); err != nil {
		return err
	}
	k, length := header(h[:])
	switch {
	case k == end && length == 0:
		return io.EOF
	case k == pause && length == 0:
		return nil
	case k != raw && k != zipped || length == 0 || length > maxBlock:
		return fmt.Errorf("%w: a block of kind %d with %d bytes", ErrCorrupt, k, length)
	case k == raw:
		d.raw = length
		return nil
	}
	return d.unzip(length)
}

func (d *Decoder) unzip(length int) (err error) {
	if d.zstd == nil {
		if d.zstd, err = newDecoder(); err != nil {
			return err
		}
		d.packed, d.plain = make([]byte, maxBlock), make([]byte, maxBlock)
	}
	if err := d.full(d.packed[:length]); err != nil {
		return err
	}
	if d.out, err = d.zstd.DecodeAll(d.packed[:length], d.plain[:0:maxBlock]); err != nil {
		d.out = nil
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if len(d.out) == 0 { // or there would be no end of them
		return fmt.Errorf("%w: a block of nothing", ErrCorrupt)
	}
	return nil
}

// full reads all of b: there is no end of the stream in it.
func (d *Decoder) full(b []byte) error {
	_, err := io.ReadFull(d.r, b)
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// newDecoder bounds what a block may come to, whatever it says of itself.
func newDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxBlock), zstd.WithDecoderMaxWindow(maxBlock), zstd.WithDecodeAllCapLimit(true))
}
