package sendstream

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// The values of AttrCompression: BTRFS_ENCODED_IO_COMPRESSION_*.
const (
	compressionNone = iota
	compressionZlib
	compressionZstd
	compressionLZO4K  // and on in powers of two up to
	compressionLZO64K = compressionLZO4K + 4
)

// decoders are kept from one extent to the next.
type decoders struct {
	zlib io.ReadCloser
	zstd *zstd.Decoder
}

// decode decompresses an extent as btrfs stores it and gives the number of bytes, at most len(out). What lies behind the compressed data, to the end of
// its last sector, does not count.
func (d *decoders) decode(compression uint32, out, data []byte) (n int, err error) {
	switch {
	case compression == compressionNone:
		return copy(out, data), nil
	case compression == compressionZlib:
		n, err = d.decodeZlib(out, data)
	case compression == compressionZstd:
		n, err = d.decodeZstd(out, data)
	case compression >= compressionLZO4K && compression <= compressionLZO64K:
		n, err = decodeLZO(out, data, 4096<<(compression-compressionLZO4K))
	default:
		return 0, fmt.Errorf("compression %d is not known", compression)
	}
	if err != nil {
		return 0, fmt.Errorf("%w: decompress: %w", ErrCorrupt, err)
	}
	return n, nil
}

func (d *decoders) decodeZlib(out, data []byte) (n int, err error) {
	in := bytes.NewReader(data)
	if d.zlib == nil {
		d.zlib, err = zlib.NewReader(in)
	} else {
		err = d.zlib.(zlib.Resetter).Reset(in, nil)
	}
	if err != nil {
		return 0, err
	}
	n, err = io.ReadFull(d.zlib, out)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && in.Len() > 0 {
		err = nil
	}
	return n, err
}

func (d *decoders) decodeZstd(out, data []byte) (n int, err error) {
	if d.zstd == nil {
		d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(8*maxUnencoded))
		if err != nil {
			return 0, err
		}
	}
	size, err := zstdFrame(data)
	if err != nil {
		return 0, err
	}
	plain, err := d.zstd.DecodeAll(data[:size], out[:0:len(out)])
	// More than there should be is cut, as the kernel does; it is then in an array of its own.
	return copy(out, plain), err
}

// zstdFrame gives the size of the frame at the start of data; a decoder would take the padding behind it for another frame.
func zstdFrame(data []byte) (int, error) {
	var header zstd.Header
	if err := header.Decode(data); err != nil {
		return 0, err
	}
	if header.Skippable {
		return 0, zstd.ErrMagicMismatch
	}
	pos := header.HeaderSize
	for last := false; !last; {
		if len(data)-pos < 3 {
			return 0, io.ErrUnexpectedEOF
		}
		block := uint32(data[pos]) | uint32(binary.LittleEndian.Uint16(data[pos+1:]))<<8
		size := int(block >> 3)
		if block>>1&3 == 1 { // one byte, repeated
			size = 1
		}
		last = block&1 != 0
		if pos += 3 + size; pos > len(data) {
			return 0, io.ErrUnexpectedEOF
		}
	}
	if header.HasCheckSum {
		pos += 4
	}
	if pos > len(data) {
		return 0, io.ErrUnexpectedEOF
	}
	return pos, nil
}
