package fingerprint

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math"

	"golang.org/x/sys/unix"
)

// A record says one thing of an inode. Records are ordered by inode, then by index.
type record struct {
	inode      uint64
	index      uint64 // 0, or the number of the chunk, which are counted from 1
	kind       kind
	attributes *attributes // of kind isInode
	fresh      bool        // of kind isInode, in a delta: a file that the base has not, though perhaps another inode that had its number
	sum        sum         // of kind isChunk
	count      uint64      // of chunks, from this one on: kind isZeros and isUnread
}

type kind byte

// The kinds of records. They are stored as these numbers.
const (
	isInode  kind = 1 + iota
	isGone        // in a delta: the base has the inode, the backup does not
	isChunk       // some data
	isZeros       // in a delta: so many chunks have none any more
	isUnread      // never stored: so many chunks were not looked at
)

// attributes are what a fingerprint says of an inode besides data.
type attributes struct {
	mode, uid, gid, links uint32
	size                  uint64 // of files and symbolic links
	rdev                  uint64 // of devices
	sec                   int64  // the time of modification
	nsec                  uint32
	xattrs                sum
	content               sum    // a directory's entries, a symbolic link's target
	dir                   uint64 // of its first name: the directory
	name                  string
}

func (a *attributes) is(kind uint32) bool { return a.mode&unix.S_IFMT == kind }

// chunks is how many chunks a file has.
func (a *attributes) chunks() uint64 {
	if !a.is(unix.S_IFREG) {
		return 0
	}
	return chunksOf(a.size)
}

func chunksOf(size uint64) uint64 { return size/chunkSize + min(size%chunkSize, 1) }

// before orders records.
func (r record) before(inode, index uint64) bool {
	return r.inode < inode || r.inode == inode && r.index < index
}

// last is the last index that r speaks of.
func (r record) last() uint64 { return r.index + max(r.count, 1) - 1 }

const (
	hasXattrs = 1 << iota
	hasContent
	isFresh
)

// An encoder turns records, in their order, into bytes. The same records always give the same.
type encoder struct {
	inode, last uint64
}

func (e *encoder) append(b []byte, r record) []byte {
	b = append(b, byte(r.kind))
	if r.index == 0 {
		b = binary.AppendUvarint(b, r.inode-e.inode)
	} else {
		b = binary.AppendUvarint(b, r.index-e.last-1)
	}
	e.inode, e.last = r.inode, r.last()
	switch r.kind {
	case isInode:
		b = r.attributes.append(b, r.fresh)
	case isChunk:
		b = append(b, r.sum[:]...)
	case isZeros:
		b = binary.AppendUvarint(b, r.count)
	}
	return b
}

func (a *attributes) append(b []byte, fresh bool) []byte {
	for _, n := range []uint64{uint64(a.mode), uint64(a.uid), uint64(a.gid), uint64(a.links), a.size, a.rdev, uint64(a.sec), uint64(a.nsec), a.dir} {
		b = binary.AppendUvarint(b, n)
	}
	flags := byte(0)
	if a.xattrs != (sum{}) {
		flags |= hasXattrs
	}
	if a.content != (sum{}) {
		flags |= hasContent
	}
	if fresh {
		flags |= isFresh
	}
	b = append(b, flags)
	if flags&hasXattrs != 0 {
		b = append(b, a.xattrs[:]...)
	}
	if flags&hasContent != 0 {
		b = append(b, a.content[:]...)
	}
	return append(append(b, byte(len(a.name))), a.name...)
}

var (
	errOrder = errors.New("the records are not in order")
	errKind  = errors.New("a record of no known kind")
	errRange = errors.New("a number is too large")
)

// A decoder reads what an encoder wrote, or anything else, of which it makes records in good order or an error.
type decoder struct {
	in         *bufio.Reader
	inode      uint64
	last, most uint64 // index
	err        error
}

// next gives io.EOF at the end.
func (d *decoder) next() (record, error) {
	first, err := d.in.ReadByte()
	if err != nil {
		return record{}, err
	}
	r := record{kind: kind(first)}
	step := d.uvarint(math.MaxUint64)
	switch r.kind {
	case isInode, isGone:
		r.inode = d.inode + step
		if step == 0 || r.inode < d.inode {
			d.fail(errOrder)
		}
		d.inode, d.last, d.most = r.inode, 0, 0
		if r.kind == isInode {
			r.attributes, r.fresh = d.attributes()
			d.most = r.attributes.chunks()
		}
	case isChunk, isZeros:
		r.inode, r.index, r.count = d.inode, d.last+1+step, 1
		if r.kind == isChunk {
			d.read(r.sum[:])
		} else {
			r.count = d.uvarint(d.most)
		}
		// Neither sum can be so large that it comes out small.
		if step >= d.most || r.count == 0 || d.last+step+r.count > d.most {
			d.fail(errOrder)
		}
		d.last += step + r.count
	default:
		d.fail(errKind)
	}
	if d.err == io.EOF {
		d.err = io.ErrUnexpectedEOF
	}
	return r, d.err
}

func (d *decoder) attributes() (a *attributes, fresh bool) {
	a = &attributes{}
	for _, n := range []*uint32{&a.mode, &a.uid, &a.gid, &a.links} {
		*n = uint32(d.uvarint(math.MaxUint32))
	}
	a.size, a.rdev, a.sec = d.uvarint(math.MaxInt64), d.uvarint(math.MaxUint64), int64(d.uvarint(math.MaxUint64))
	a.nsec, a.dir = uint32(d.uvarint(math.MaxUint32)), d.uvarint(math.MaxUint64)
	var b [1]byte
	d.read(b[:])
	flags := b[0]
	if flags&hasXattrs != 0 {
		d.read(a.xattrs[:])
	}
	if flags&hasContent != 0 {
		d.read(a.content[:])
	}
	d.read(b[:])
	name := make([]byte, b[0])
	d.read(name)
	a.name = string(name)
	return a, flags&isFresh != 0
}

func (d *decoder) uvarint(most uint64) uint64 {
	if d.err != nil {
		return 0
	}
	n, err := binary.ReadUvarint(d.in)
	if err == nil && n > most {
		err = errRange
	}
	d.fail(err)
	return n
}

func (d *decoder) read(b []byte) {
	if d.err == nil {
		_, err := io.ReadFull(d.in, b)
		d.fail(err)
	}
}

// fail keeps the first error.
func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}
