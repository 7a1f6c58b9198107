package squeeze

import "time"

const (
	// stretch is how much of the stream goes by between two looks at the line: more than what pipes and sockets hold, which looks like a fast line until they are full.
	stretch = 16 << 20

	// margin is how much faster than the line zstd must be: closer together, it takes a processor from those that encrypt and read, and gains nothing.
	margin = 1.25

	// worth is how many times as long as it took to find out must be spent on compressing before that is done again.
	worth = 16

	// gain is what a block must come down to so that it is worth the work at the other end.
	gain = 0.9
)

// choice says whether the next block is to be compressed. It goes by durations that it is told, and looks at no clock.
type choice struct {
	never bool

	sent   int64         // bytes of the stream so far
	next   int64         // before this many, no block is tried
	dull   int64         // how far next was put off last
	cost   float64       // of compressing, in ns per byte of the stream; 0: not known
	line   float64       // in ns per byte on the wire
	known  bool          // the line is
	sample bool          // a block is to be tried although it would not pay
	looked int64         // sent, as of the last look at the line
	wire   int64         // bytes that were given to it since
	took   time.Duration // what it took for them

	probed time.Duration // what it took to see that the line is slow, with blocks that were not compressed
	spent  time.Duration // on compressing since
}

// try reports whether the next block is to be compressed.
func (c *choice) try() bool {
	return !c.never && c.sent >= c.next && (c.sample || c.pays())
}

// pays reports whether the line is so slow that compressing is faster. As long as it is not known, it is taken for slow: where it is fast, little is lost.
func (c *choice) pays() bool { return !c.known || c.cost*margin < c.line }

// given is told that the line took so long for so many bytes.
func (c *choice) given(wire int, took time.Duration) {
	c.wire += int64(wire)
	c.took += took
}

// passed is told that so many bytes of the stream go over as they are, untried.
func (c *choice) passed(n int) {
	c.sent += int64(n)
	slow := c.known && !c.pays() && float64(c.took) > margin*c.cost*stretch // the rest of the stretch cannot change that
	if slow || c.sent-c.looked >= stretch {
		c.look()
	}
}

// tried is told what became of n bytes of the stream that were compressed. What does not gain is sent as it is, and then the next try is put off, each time twice as far.
func (c *choice) tried(n int, gained bool, took time.Duration) {
	cost := float64(took) / float64(n)
	if c.cost == 0 {
		c.cost = cost
	}
	c.cost += (cost - c.cost) / 4
	c.spent += took
	c.sample = false
	if gained {
		c.dull = 0
	} else {
		c.dull = min(max(2*c.dull, maxBlock), 2*stretch)
		c.next = c.sent + int64(n) + c.dull
	}
	c.passed(n)
}

// look makes up its mind about the line.
//
// A line that has to wait for the compression seems to be fast. To find out, blocks must go over as they are, and if it is slow indeed that takes long: so this is done only after many
// times as long was well spent.
func (c *choice) look() {
	if c.wire > 0 {
		line := float64(c.took) / float64(c.wire)
		waited := c.known && c.pays() && line < c.line
		if !waited || line > margin*c.cost || c.spent > worth*c.probed {
			found := c.known && !c.pays()
			c.line, c.known = line, true
			if found && c.pays() {
				c.probed, c.spent = c.took, 0
			}
		}
	}
	c.looked, c.wire, c.took = c.sent, 0, 0
	c.sample = !c.pays() && c.cost < 4*margin*c.line // other data may be cheaper
}
