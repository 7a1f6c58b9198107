package sendstream

import (
	"encoding/binary"
	"errors"
)

var errLZO = errors.New("lzo data is damaged")

// decodeLZO decompresses an extent as btrfs frames it: the whole length as u32, then for every sector's worth of data the length of a segment
// as u32 and the segment. No such length crosses the end of a sector: where less than four bytes are left, they are skipped.
func decodeLZO(out, data []byte, sector int) (int, error) {
	if len(data) < 4 {
		return 0, errLZO
	}
	total := int64(binary.LittleEndian.Uint32(data))
	if total > int64(len(data)) {
		return 0, errLZO
	}
	data = data[:total]
	n := 0
	for pos := 4; pos < len(data) && n < len(out); {
		if left := sector - pos%sector; left < 4 {
			pos += left
		}
		if len(data)-pos < 4 {
			if pos >= len(data) {
				break
			}
			return 0, errLZO
		}
		size := int64(binary.LittleEndian.Uint32(data[pos:]))
		pos += 4
		if size > int64(len(data)-pos) {
			return 0, errLZO
		}
		m, err := lzo1x(out[n:min(len(out), n+sector)], data[pos:pos+int(size)])
		if err != nil {
			return 0, err
		}
		n, pos = n+m, pos+int(size)
	}
	return n, nil
}

// lzo1x decompresses one segment, after the kernel's Documentation/staging/lzo.rst.
func lzo1x(out, in []byte) (int, error) {
	d := lzoReader{in: in, out: out}
	// state is the number of literals that came last: 0, 1 to 3 behind a match, 4 for a run of its own.
	state := 0
	if len(in) > 0 && in[0] > 17 {
		run := int(d.byte()) - 17
		d.literals(run)
		state = min(run, 4)
	}
	for !d.bad {
		b := int(d.byte())
		var length, distance, trailing int
		switch {
		case b >= 64:
			length, distance, trailing = b>>5+1, int(d.byte())<<3+b>>2&7+1, b&3
		case b >= 32:
			length = 2 + d.length(b&31, 31)
			rest := d.uint16()
			distance, trailing = rest>>2+1, rest&3
		case b >= 16:
			length = 2 + d.length(b&7, 7)
			rest := d.uint16()
			distance, trailing = b&8<<11+rest>>2, rest&3
			if distance == 0 {
				if d.bad {
					return 0, errLZO
				}
				return d.n, nil
			}
			distance += 16384
		case state == 0:
			d.literals(3 + d.length(b, 15))
			state = 4
			continue
		case state == 4:
			length, distance, trailing = 3, int(d.byte())<<2+b>>2+2049, b&3
		default:
			length, distance, trailing = 2, int(d.byte())<<2+b>>2+1, b&3
		}
		d.match(length, distance)
		d.literals(trailing)
		state = trailing
	}
	return 0, errLZO
}

// lzoReader notes what goes beyond its input or output, and goes on with nothing.
type lzoReader struct {
	in, out []byte
	pos, n  int
	bad     bool
}

func (d *lzoReader) byte() byte {
	if d.pos >= len(d.in) {
		d.bad = true
		return 0
	}
	d.pos++
	return d.in[d.pos-1]
}

func (d *lzoReader) uint16() int { return int(d.byte()) | int(d.byte())<<8 }

// length gives a length whose low bits were v; 0 means that they did not suffice, and bytes of zeros stand for 255 each.
func (d *lzoReader) length(v, most int) int {
	if v != 0 {
		return v
	}
	v = most
	for !d.bad {
		b := int(d.byte())
		if b != 0 {
			return v + b
		}
		v += 255
	}
	return 0
}

func (d *lzoReader) literals(n int) {
	if n > len(d.in)-d.pos || n > len(d.out)-d.n {
		d.bad = true
		return
	}
	copy(d.out[d.n:], d.in[d.pos:d.pos+n])
	d.pos, d.n = d.pos+n, d.n+n
}

// match repeats what was written distance bytes ago, byte by byte: it may overlap with what it writes.
func (d *lzoReader) match(length, distance int) {
	if distance > d.n || length > len(d.out)-d.n {
		d.bad = true
		return
	}
	for range length {
		d.out[d.n] = d.out[d.n-distance]
		d.n++
	}
}
