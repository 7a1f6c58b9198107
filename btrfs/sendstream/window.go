package sendstream

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	windowSize = 1 << 20   // as much as our pipes hold
	chunkSize  = 256 << 10 // the least that one read is asked for
)

// window is the part of a stream that is in memory. It is read in large chunks and its commands are checked where they lie.
type window struct {
	src     io.Reader
	buf     []byte
	err     error   // of src, once the bytes that came with it are taken
	r, w    int     // buf[r:w] was read and not yet taken
	taken   int64   // bytes of the stream before r
	version int     // 0 until the header was taken
	count   int64   // commands taken
	digest  *digest // of what was taken; nil if nobody wants it
}

func newWindow(src io.Reader, size int) *window {
	return &window{src: src, buf: make([]byte, size)}
}

// fill reads once: whatever src has now, at least one byte. It grows buf only when that is full of bytes that have come, so what
// a command claims to be costs nothing.
func (v *window) fill() error {
	if v.r == v.w {
		v.r, v.w = 0, 0
	}
	if len(v.buf)-v.w < chunkSize && v.r > 0 {
		v.w = copy(v.buf, v.buf[v.r:v.w])
		v.r = 0
	}
	if v.w == len(v.buf) {
		grown := make([]byte, 2*len(v.buf))
		copy(grown, v.buf)
		v.buf = grown
	}
	for range 100 {
		if v.err != nil {
			return v.err
		}
		var n int
		n, v.err = v.src.Read(v.buf[v.w:])
		v.w += n
		if n > 0 {
			return nil
		}
	}
	return io.ErrNoProgress
}

// header takes the stream's header; false means that it is not all there yet.
func (v *window) header() (bool, error) {
	b := v.buf[v.r:v.w]
	if n := min(len(b), len(magic)); string(b[:n]) != magic[:n] {
		return false, corrupt("it does not begin as one")
	}
	if len(b) < headerSize {
		return false, nil
	}
	version := binary.LittleEndian.Uint32(b[len(magic):])
	if version == 0 || version > MaxVersion {
		return false, fmt.Errorf("%w: version %d", ErrVersion, version)
	}
	v.version = int(version)
	if v.digest != nil {
		v.digest.Write(b[:headerSize])
	}
	v.take(headerSize)
	return true, nil
}

// command checks and parses the command at r into c and gives its size; 0 means that it is not all there yet. It does not take it.
func (v *window) command(c *Command) (int, error) {
	b := v.buf[v.r:v.w]
	if len(b) < commandHeaderSize {
		return 0, nil
	}
	payload := binary.LittleEndian.Uint32(b)
	if payload > MaxCommand {
		return 0, v.fault(corrupt("it claims %d bytes", payload))
	}
	size := commandHeaderSize + int(payload)
	if len(b) < size {
		return 0, nil
	}
	b = b[:size]
	crc := b[crcOffset:commandHeaderSize]
	want := binary.LittleEndian.Uint32(crc)
	binary.LittleEndian.PutUint32(crc, 0)
	sum := checksum(b)
	binary.LittleEndian.PutUint32(crc, want)
	if sum != want {
		return 0, v.fault(corrupt("checksum is %08x, %08x was sent", sum, want))
	}
	if err := c.parse(v.version, b); err != nil {
		return 0, v.fault(fmt.Errorf("%s: %w", c.Cmd, err))
	}
	return size, nil
}

func (v *window) take(n int) {
	v.r += n
	v.taken += int64(n)
}

// end gives io.EOF if the input ends here, after END.
func (v *window) end() error {
	if v.r == v.w {
		err := v.fill()
		if err == io.EOF {
			return io.EOF
		}
		if err != nil {
			return fmt.Errorf("read send stream: %w", err)
		}
	}
	return v.fault(corrupt("something follows END"))
}

// fault adds where in the stream it is.
func (v *window) fault(err error) error {
	return fmt.Errorf("command %d at byte %d: %w", v.count+1, v.taken, err)
}

// cut tells what the end of the input means here, where a stream cannot end.
func (v *window) cut(err error) error {
	if err != io.EOF {
		return fmt.Errorf("read send stream: %w", err)
	}
	return v.fault(fmt.Errorf("%w: the stream was cut: %w", ErrCorrupt, io.ErrUnexpectedEOF))
}
