package squeeze

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// A model is a line and a stream as the choice sees them. Times are in ns per byte.
type model struct {
	line   float64
	buffer float64 // bytes that the line takes at once
	cost   float64 // of compressing
	ratio  float64 // what it comes down to
	source float64

	now, queue float64
}

// write is how long the line takes for so many bytes.
func (m *model) write(n float64) time.Duration {
	wait := max(0, m.queue+n-m.buffer) * m.line
	m.pass(wait)
	m.queue += n
	return time.Duration(wait)
}

// pass lets time pass, in which the line works.
func (m *model) pass(d float64) {
	m.now += d
	m.queue = max(0, m.queue-d/max(m.line, 1e-9))
}

// run sends blocks as a Reader does, and gives how many of them were compressed.
func (m *model) run(blocks int, c interface {
	try() bool
	tried(int, bool, time.Duration)
	passed(int)
	given(int, time.Duration)
},
) (zip int) {
	began := 0.0 // when the block that is compressed was begun: while the line had the one before
	ahead := false
	for range blocks {
		try := ahead || c.try()
		wire := 1.0 * maxBlock
		if try {
			if !ahead {
				began = m.now
			}
			m.pass(max(0, began+(m.source+m.cost)*maxBlock-m.now))
			gained := m.ratio < gain
			if c.tried(maxBlock, gained, time.Duration(m.cost*maxBlock)); gained {
				wire *= m.ratio
				zip++
			}
			ahead = c.try()
			began = m.now
		} else {
			m.pass(m.source * maxBlock)
			c.passed(maxBlock)
		}
		c.given(int(wire), m.write(wire))
	}
	m.pass(m.queue * m.line)
	return zip
}

// fixed is what does not choose.
type fixed bool

func (f fixed) try() bool                    { return bool(f) }
func (fixed) tried(int, bool, time.Duration) {}
func (fixed) passed(int)                     {}
func (fixed) given(int, time.Duration)       {}

// nsPerByte of a speed in MB/s.
func nsPerByte(speed float64) float64 { return 1000 / speed }

func TestChoice(t *testing.T) {
	for name, test := range map[string]struct {
		line, ratio, source float64
		least, most         int // blocks out of a thousand
	}{
		"a slow line":                    {line: 10, ratio: 0.4, least: 950, most: 1000},
		"a very slow line":               {line: 0.2, ratio: 0.4, least: 950, most: 1000},
		"a gigabit":                      {line: 118, ratio: 0.6, least: 900, most: 1000},
		"a fast line":                    {line: 2000, ratio: 0.4, most: 40},
		"a slow line with noise":         {line: 10, ratio: 1, most: 0},
		"a line that waits for a disk":   {line: 100, ratio: 0.4, source: 30, most: 80},
		"a slow line behind a disk":      {line: 20, ratio: 0.6, source: 80, least: 900, most: 1000},
		"slower than zstd, but not much": {line: 200, ratio: 0.2, least: 600, most: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			m := model{line: nsPerByte(test.line), buffer: 3 << 20, cost: nsPerByte(300), ratio: test.ratio}
			if test.source > 0 {
				m.source = nsPerByte(test.source)
			}
			if n := m.run(1000, &choice{}); n < test.least || n > test.most {
				t.Errorf("%d of 1000 blocks were compressed, not %d to %d", n, test.least, test.most)
			}
		})
	}
}

// However fast the line is and whatever comes of the compression, the choice costs little against the better one of always and never: and, to find out, a few times what the line holds.
func TestChoiceIsNeverMuchSlowerThanTheBest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := model{
			line:   nsPerByte(rapid.Float64Range(0.1, 3000).Draw(t, "line in MB/s")),
			buffer: rapid.Float64Range(1<<20, 4<<20).Draw(t, "buffer"),
			cost:   nsPerByte(rapid.Float64Range(100, 1000).Draw(t, "zstd in MB/s")),
			ratio:  rapid.Float64Range(0.01, 1).Draw(t, "ratio"),
			source: nsPerByte(rapid.Float64Range(50, 2000).Draw(t, "source in MB/s")),
		}
		chosen, always, never := m, m, m
		chosen.run(1000, &choice{})
		always.run(1000, fixed(true))
		never.run(1000, fixed(false))
		if best := min(always.now, never.now); chosen.now > 1.35*best+3*(m.buffer+maxBlock)*m.line {
			t.Errorf("%.2f times as long as the best", chosen.now/best)
		}
	})
}

func TestChoiceFollowsTheLine(t *testing.T) {
	c := &choice{}
	m := model{buffer: 3 << 20, cost: nsPerByte(300), ratio: 0.5}
	for _, at := range []struct {
		line        float64
		least, most int // of 256 blocks, once 256 others went over
	}{{2000, 0, 20}, {10, 250, 256}, {2000, 0, 20}, {50, 250, 256}} {
		m.line = nsPerByte(at.line)
		m.run(256, c)
		if n := m.run(256, c); n < at.least || n > at.most {
			t.Errorf("at %g MB/s %d of 256 blocks were compressed, not %d to %d", at.line, n, at.least, at.most)
		}
	}
}

func TestDullDataIsRarelyTried(t *testing.T) {
	m := model{line: nsPerByte(1), buffer: 3 << 20, cost: nsPerByte(1000), ratio: 1}
	c := &counted{}
	m.run(1000, c)
	if c.n > 40 {
		t.Errorf("%d of 1000 blocks were tried", c.n)
	}
	m.ratio = 0.5
	if n := m.run(100, c); n < 60 {
		t.Errorf("then %d of 100 blocks that compress were compressed", n)
	}
}

type counted struct {
	choice
	n int
}

func (c *counted) tried(n int, gained bool, took time.Duration) {
	c.n++
	c.choice.tried(n, gained, took)
}

// slow is a line that takes a time for each byte.
type slow struct {
	perByte time.Duration
	n       int
}

func (s *slow) Write(p []byte) (int, error) {
	time.Sleep(time.Duration(len(p)) * s.perByte)
	s.n += len(p)
	return len(p), nil
}

// The clock of a bubble stands still while something is compressed, so zstd is faster than any line that takes time at all.
func TestReaderGoesByTheLine(t *testing.T) {
	data := slices.Concat(text(24<<20), noise(24<<20))
	for name, test := range map[string]struct {
		perByte     time.Duration
		never       bool
		least, most int
	}{
		"slow":  {perByte: time.Microsecond, least: 30 << 20, most: 38 << 20},
		"fast":  {least: 32 << 20, most: 46 << 20},
		"never": {perByte: time.Microsecond, never: true, least: 48 << 20, most: 49 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				line := &slow{perByte: test.perByte}
				z := struct{ io.Reader }{NewReader(bytes.NewReader(data), Options{Never: test.never})}
				if _, err := io.CopyBuffer(struct{ io.Writer }{line}, z, make([]byte, 512<<10)); err != nil {
					t.Fatal(err)
				}
				if n := line.n; n < test.least || n > test.most {
					t.Errorf("%d bytes on the wire, not %d to %d", n, test.least, test.most)
				}
			})
		})
	}
}

// drops gives a few bytes at a time, and never ends by itself.
type drops struct {
	pause time.Duration
	drop  []byte
	done  chan struct{}
}

func (d *drops) Read(p []byte) (int, error) {
	select {
	case <-time.After(d.pause):
		return copy(p, d.drop), nil
	case <-d.done:
		return 0, io.ErrClosedPipe
	}
}

func TestDropsAreNotHeldBack(t *testing.T) {
	drop := text(1000)
	for _, pause := range []time.Duration{time.Millisecond, 30 * time.Millisecond, time.Hour} {
		for _, never := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				source := &drops{pause: pause, drop: drop, done: make(chan struct{})}
				z, p := NewReader(source, Options{Never: never}), make([]byte, 1<<20)
				for range 20 {
					start := time.Now()
					if n, err := z.Read(p); n == 0 || err != nil {
						t.Fatal(n, err)
					}
					if d := time.Since(start); d > pause+patience {
						t.Errorf("with drops every %s, a read took %s", pause, d)
					}
				}
				close(source.done) // synctest fails if anything is left behind
			})
		}
	}
}

// What is given up on the way leaves nothing behind once the stream has ended.
func TestAReaderThatIsGivenUpLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		go func() { _, _ = io.Copy(w, bytes.NewReader(text(10<<20))) }() // until the pipe is closed
		z := NewReader(r, Options{})
		for range 5 {
			if _, err := z.Read(make([]byte, 1<<20)); err != nil {
				t.Fatal(err)
			}
		}
		_ = r.Close()
	})
}
