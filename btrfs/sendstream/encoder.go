package sendstream

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/btrkeep/btrkeep/btrfs"
)

// Encoder writes a stream, one Write per command.
type Encoder struct {
	dst     io.Writer
	version int
	buf     []byte
}

// NewEncoder writes the header of a stream of protocol 1 to 3.
func NewEncoder(dst io.Writer, version int) (*Encoder, error) {
	if version < 1 || version > MaxVersion {
		return nil, fmt.Errorf("%w: version %d", ErrVersion, version)
	}
	if _, err := dst.Write(appendHeader(nil, version)); err != nil {
		return nil, err
	}
	return &Encoder{dst: dst, version: version}, nil
}

// Encode writes one command. In protocol 2, AttrData must come last. Nothing else of its sense is checked: hostile streams can be made.
func (e *Encoder) Encode(cmd Cmd, values ...Value) error {
	var err error
	if e.buf, err = appendCommand(e.buf[:0], e.version, cmd, values...); err != nil {
		return err
	}
	_, err = e.dst.Write(e.buf)
	return err
}

// Value is an attribute for [Encoder.Encode].
type Value struct {
	Attr  Attr
	Bytes []byte
}

// Uint makes a value of 1, 4 or 8 bytes, as the attribute has.
func Uint(a Attr, v uint64) Value {
	raw := binary.LittleEndian.AppendUint64(nil, v)
	if int(a) < len(attributes) && attributes[a].size > 0 && attributes[a].size < len(raw) {
		raw = raw[:attributes[a].size]
	}
	return Value{a, raw}
}

// Text makes a path, name or link target.
func Text(a Attr, v string) Value { return Value{a, []byte(v)} }

// UUID makes a UUID.
func UUID(a Attr, v btrfs.UUID) Value { return Value{a, v[:]} }

// Time makes one of the four times.
func Time(a Attr, v Timespec) Value {
	b := binary.LittleEndian.AppendUint64(nil, uint64(v.Sec))
	return Value{a, binary.LittleEndian.AppendUint32(b, v.Nsec)}
}

func appendHeader(b []byte, version int) []byte {
	return binary.LittleEndian.AppendUint32(append(b, magic...), uint32(version))
}

func appendCommand(b []byte, version int, cmd Cmd, values ...Value) ([]byte, error) {
	start := len(b)
	b = append(b, make([]byte, commandHeaderSize)...)
	for i, v := range values {
		b = binary.LittleEndian.AppendUint16(b, uint16(v.Attr))
		switch {
		case v.Attr == AttrData && version > 1:
			if i != len(values)-1 {
				return b, fmt.Errorf("encode %s: %s is not last", cmd, v.Attr)
			}
		case len(v.Bytes) > math.MaxUint16:
			return b, fmt.Errorf("encode %s: %s of %d bytes is too long", cmd, v.Attr, len(v.Bytes))
		default:
			b = binary.LittleEndian.AppendUint16(b, uint16(len(v.Bytes)))
		}
		b = append(b, v.Bytes...)
	}
	raw := b[start:]
	if len(raw)-commandHeaderSize > MaxCommand {
		return b, fmt.Errorf("encode %s: %d bytes are too long", cmd, len(raw))
	}
	binary.LittleEndian.PutUint32(raw, uint32(len(raw)-commandHeaderSize))
	binary.LittleEndian.PutUint16(raw[4:], uint16(cmd))
	binary.LittleEndian.PutUint32(raw[crcOffset:], checksum(raw))
	return b, nil
}
