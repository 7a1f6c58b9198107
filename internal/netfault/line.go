package netfault

import (
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// backlog is how long a packet may wait for a line that Rate makes slow, as in a router's buffer.
const backlog = 250 * time.Millisecond

// packet is one on its way.
type packet struct {
	due   time.Time
	bytes *[mtu]byte
	size  int
}

// line carries packets in one direction.
type line struct {
	from, to *os.File
	cut      atomic.Bool
	way      chan packet  // in the order in which they arrive
	carried  atomic.Int64 // bytes that arrived
	underway atomic.Int64 // packets in it, or just out of it and not yet written
	done     chan struct{}
	spare    sync.Pool

	mu     sync.Mutex // of what follows
	o      Options
	random *rand.Rand
	free   time.Time // when all that was sent will have left, at Rate
	last   time.Time // when the last packet will arrive
}

func newLine(from, to *os.File) *line {
	return &line{
		from: from, to: to, way: make(chan packet, 1<<18), done: make(chan struct{}),
		spare: sync.Pool{New: func() any { return new([mtu]byte) }},
	}
}

func (l *line) set(o Options, direction uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.o, l.random, l.free = o, rand.New(rand.NewPCG(o.Seed, direction)), time.Time{}
}

// take reads the packets as they are sent, until the end of the device.
func (l *line) take() {
	defer close(l.done)
	for {
		b := l.spare.Get().(*[mtu]byte)
		n, err := l.from.Read(b[:])
		if err != nil {
			return
		}
		now := time.Now()
		due, f := l.decide(now, b[:n])
		// Without delay there is no need to wait for another goroutine.
		direct := f == overtakes || f == follows && !due.After(now) && l.underway.Load() == 0
		switch {
		case f == lost:
		case direct:
			_, _ = l.to.Write(b[:n]) // as if lost
			l.carried.Add(int64(n))
		default:
			l.underway.Add(1)
			l.way <- packet{due, b, n}
			continue
		}
		l.spare.Put(b)
	}
}

type fate int

const (
	follows fate = iota
	overtakes
	lost
)

// decide tells what becomes of a packet, and when it will arrive.
func (l *line) decide(now time.Time, packet []byte) (due time.Time, f fate) {
	if packet[0]>>4 != 4 { // what IPv6 says by itself would make the choices depend on the time
		return now, lost
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// Both are drawn each time, so that the choice of one does not depend on the other.
	drop, overtake := l.random.Float64() < l.o.Loss, l.random.Float64() < l.o.Reorder
	if l.cut.Load() || drop {
		return now, lost
	}
	due = now
	if l.o.Rate > 0 {
		if l.free.Before(now) {
			l.free = now
		}
		if l.free.Sub(now) > backlog {
			return now, lost
		}
		l.free = l.free.Add(time.Duration(int64(len(packet)) * int64(time.Second) / l.o.Rate))
		due = l.free
	}
	if overtake {
		return now, overtakes
	}
	due = due.Add(l.o.Delay)
	if due.Before(l.last) { // the delay has become shorter
		due = l.last
	}
	l.last = due
	return due, follows
}

// deliver writes the packets when they are due.
func (l *line) deliver() {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case p := <-l.way:
			if d := time.Until(p.due); d > 0 {
				wait.Reset(d)
				select {
				case <-wait.C:
				case <-l.done:
					return
				}
			}
			if !l.cut.Load() {
				_, _ = l.to.Write(p.bytes[:p.size]) // as if lost
				l.carried.Add(int64(p.size))
			}
			l.underway.Add(-1)
			l.spare.Put(p.bytes)
		case <-l.done:
			return
		}
	}
}
