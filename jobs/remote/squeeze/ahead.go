package squeeze

import (
	"io"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// ahead is a block that is read and compressed while the line is busy with the one before. What it has can be taken raw in between, if the stream has come to a halt.
type ahead struct {
	buf    []byte // room for a header, then the data
	packed []byte // room for a header, then the data compressed

	mu     sync.Mutex
	have   int // bytes of data
	taken  int // those of them that went on already
	sealed bool

	// These are set once done is closed.
	done chan struct{}
	data int    // bytes of the stream in out
	out  []byte // the block, empty if all of it was taken; if it is raw, still without its header
	zip  bool   // it is compressed
	took time.Duration
	err  error // of the stream, behind the block
}

func newAhead() *ahead {
	return &ahead{buf: make([]byte, headerSize+maxBlock)}
}

// start begins the next block. It ends by itself, if only the stream's Read returns: nothing is left behind by a Reader that is given up.
func (a *ahead) start(r io.Reader, z *zstd.Encoder) {
	a.have, a.taken, a.sealed, a.done = 0, 0, false, make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		a.fill(r)
		a.pack(z)
	}(a.done)
}

// fill reads until the block is full or the stream ends.
func (a *ahead) fill(r io.Reader) {
	a.err = nil
	for have, idle := 0, 0; have < maxBlock && a.err == nil; {
		n, err := r.Read(a.buf[headerSize+have:])
		have += n
		if idle++; n > 0 {
			idle = 0
		} else if err == nil && idle == maxIdle {
			err = io.ErrNoProgress
		}
		a.err = err
		a.mu.Lock()
		a.have = have
		a.mu.Unlock()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sealed = true
}

// pack compresses what was not taken.
func (a *ahead) pack(z *zstd.Encoder) {
	plain := a.buf[a.taken : headerSize+a.have]
	if a.data, a.out, a.zip = a.have-a.taken, nil, false; a.data == 0 {
		return
	}
	if a.packed == nil {
		a.packed = make([]byte, headerSize, headerSize+z.MaxEncodedSize(maxBlock))
	}
	start := time.Now()
	a.packed = z.EncodeAll(plain[headerSize:], a.packed[:headerSize])
	a.took = time.Since(start)
	if n := len(a.packed) - headerSize; float64(n) < gain*float64(a.data) {
		putHeader(a.packed, zipped, n)
		a.out, a.zip = a.packed, true
		return
	}
	a.out = plain // its header must wait: what is there may not have been given yet
}

// take gives what there is of a block that is not full yet, raw, if it is at least so much. Its header goes over the last bytes that were taken before, which are not needed any more.
func (a *ahead) take(least int) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.have - a.taken
	if a.sealed || n < least {
		return nil
	}
	out := a.buf[a.taken : headerSize+a.have]
	putHeader(out, raw, n)
	a.taken = a.have
	return out
}
