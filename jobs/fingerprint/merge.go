package fingerprint

import (
	"crypto/sha256"
	"io"
	"math"
)

// merged gives what a chain of fingerprints comes to: records of kind isInode and isChunk, in order. It holds one record of each.
type merged struct {
	layers []*layer // the newest first
	inode  uint64   // whose records come
	index  uint64   // of the last one
}

// layer is one fingerprint of a chain.
type layer struct {
	in   *reader
	head record // the next one
	done bool

	// What it says of the inode whose records come, against older layers.
	most              uint64 // chunks of the inode that may be theirs
	zeros, zerosUntil uint64 // indexes
}

func merge(c chain) (*merged, error) {
	m := &merged{}
	for _, r := range c {
		l := &layer{in: r}
		if err := l.advance(); err != nil {
			return nil, err
		}
		m.layers = append(m.layers, l)
	}
	return m, nil
}

func (l *layer) advance() error {
	r, err := l.in.next()
	l.head, l.done = r, err == io.EOF
	if l.done {
		return nil
	}
	return err
}

// next gives io.EOF at the end.
func (m *merged) next() (record, error) {
	for {
		n := m.first()
		if n < 0 {
			return record{}, io.EOF
		}
		l := m.layers[n]
		r := l.head
		if r.inode != m.inode {
			m.begin(r.inode)
		}
		// Of those that speak of the same, the newest layer comes first.
		hidden := r.index == m.index || m.hidden(n, r)
		l.note(r)
		if err := l.advance(); err != nil {
			return record{}, err
		}
		m.index = r.index
		if !hidden && (r.kind == isInode || r.kind == isChunk) {
			r.fresh = false
			return r, nil
		}
	}
}

// first is the layer whose record is next; -1 at the end of all.
func (m *merged) first() int {
	best := -1
	for n, l := range m.layers {
		if !l.done && (best < 0 || l.head.before(m.layers[best].head.inode, m.layers[best].head.index)) {
			best = n
		}
	}
	return best
}

// begin takes the next inode, of which no layer has said anything yet.
func (m *merged) begin(inode uint64) {
	m.inode, m.index = inode, math.MaxUint64
	for _, l := range m.layers {
		l.most, l.zeros, l.zerosUntil = math.MaxUint64, 0, 0
	}
}

// hidden reports whether what layer n says is no longer so in a newer one.
func (m *merged) hidden(n int, r record) bool {
	for _, newer := range m.layers[:n] {
		if r.index > newer.most || newer.zeros <= r.index && r.index < newer.zerosUntil {
			return true
		}
	}
	return false
}

// note keeps what a record says against older layers.
func (l *layer) note(r record) {
	switch {
	case r.kind == isGone, r.fresh:
		l.most = 0
	case r.kind == isInode:
		l.most = r.attributes.chunks()
	case r.kind == isZeros:
		l.zeros, l.zerosUntil = r.index, r.index+r.count
	}
}

// root is one hash over all records.
func (m *merged) root() ([sha256.Size]byte, error) {
	var e encoder
	var b []byte
	all := sha256.New()
	for {
		r, err := m.next()
		if err != nil && err != io.EOF {
			return [sha256.Size]byte{}, err
		}
		if err == io.EOF || len(b) > bufferSize {
			all.Write(b)
			b = b[:0]
		}
		if err == io.EOF {
			return [sha256.Size]byte(all.Sum(nil)), nil
		}
		b = e.append(b, r)
	}
}
