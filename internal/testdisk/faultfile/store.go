package faultfile

import (
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// piece is what a disk writes whole or not at all, in bytes.
const piece = 4096

// store is a disk's medium and its volatile cache.
type store struct {
	size    int64
	current *os.File // what reads see
	durable *os.File // what a power cut leaves for certain

	mu            sync.Mutex
	pending       []change // in current, not yet in durable
	failures      map[Op]*Failure
	hung          chan struct{} // closed at the end of the hang; nil without one
	limit         *time.Timer   // of the hang
	ignoreFlushes bool
	rnd           *rand.Rand
	requests      map[Op]int
	failed        map[Op]int
}

// change is a write, or a discard if data is nil.
type change struct {
	offset, length int64
	data           []byte
}

func openStore(image string) (*store, error) {
	current, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := current.Stat()
	if err != nil {
		return nil, err
	}
	durable, err := copySparse(image+".durable", current)
	if err != nil {
		return nil, err
	}
	return &store{
		size: info.Size(), current: current, durable: durable, rnd: rand.New(rand.NewPCG(1, 0)),
		failures: map[Op]*Failure{}, requests: map[Op]int{}, failed: map[Op]int{},
	}, nil
}

func (s *store) stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := Stats{Requests: maps.Clone(s.requests), Failed: maps.Clone(s.failed)}
	for _, c := range s.pending {
		stats.Pending += int64(len(c.data))
	}
	return stats
}

func (s *store) read(b []byte, offset int64) (int, syscall.Errno) {
	if errno := s.admit(Read, offset, int64(len(b))); errno != 0 {
		return 0, errno
	}
	n, err := s.current.ReadAt(b, offset)
	if err != nil && err != io.EOF {
		return 0, unix.EIO
	}
	return n, 0
}

func (s *store) change(op Op, c change) syscall.Errno {
	if errno := s.admit(op, c.offset, c.length); errno != 0 {
		return errno
	}
	if c.data != nil {
		c.data = append([]byte(nil), c.data...) // the caller's is used again
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := c.apply(s.current); err != nil {
		return unix.EIO
	}
	s.pending = append(s.pending, c)
	return 0
}

func (s *store) flush() syscall.Errno {
	if errno := s.admit(Flush, 0, 0); errno != 0 {
		return errno
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ignoreFlushes {
		return 0
	}
	for _, c := range s.pending {
		if err := c.apply(s.durable); err != nil {
			return unix.EIO
		}
	}
	s.pending = nil
	return 0
}

// powerCut writes the image that a power cut would leave now.
func (s *store) powerCut(out string, seed uint64, keep float64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	image, err := copySparse(out, s.durable)
	if err != nil {
		return err
	}
	defer image.Close()
	rnd := rand.New(rand.NewPCG(seed, 0))
	for _, c := range s.pending {
		for part := range c.pieces {
			if rnd.Float64() >= keep {
				continue
			}
			if err := part.apply(image); err != nil {
				return err
			}
		}
	}
	return image.Close()
}

func (c change) apply(f *os.File) error {
	if c.data == nil {
		return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, c.offset, c.length)
	}
	_, err := f.WriteAt(c.data, c.offset)
	return err
}

// pieces cuts a change at the disk's boundaries.
func (c change) pieces(yield func(change) bool) {
	for start := int64(0); start < c.length; {
		end := min(c.length, start+piece-(c.offset+start)%piece)
		part := change{offset: c.offset + start, length: end - start}
		if c.data != nil {
			part.data = c.data[start:end]
		}
		if !yield(part) {
			return
		}
		start = end
	}
}
