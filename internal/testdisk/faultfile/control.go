package faultfile

import (
	"time"

	"golang.org/x/sys/unix"
)

// HangLimit is how long the file hangs at most: a program that forgets it, and
// cannot be killed while it waits for the disk, ends nevertheless.
const HangLimit = time.Minute

// Op is a kind of request to a disk.
type Op string

const (
	Read    Op = "read"
	Write   Op = "write"
	Flush   Op = "flush"
	Discard Op = "discard"
)

// Failure says which requests of a kind fail, and how. The zero value is: all,
// with EIO.
type Failure struct {
	After  int           // requests that pass first
	Rate   float64       // share of the later ones that fails; 0 is all
	Offset int64         // of the bad range, if Length is not 0
	Length int64         // bytes; 0 is the whole disk
	Errno  unix.Errno    // 0 is EIO
	Delay  time.Duration // before every request of the kind
	Pass   bool          // none fails: they are only slow
}

// Stats counts what was asked of a file.
type Stats struct {
	Requests map[Op]int
	Failed   map[Op]int
	Pending  int64 // bytes written and not flushed
}

// Control is the server's side of [File], for net/rpc.
type Control struct{ store *store }

// Nothing stands for no arguments or no reply.
type Nothing struct{ Nothing bool } // gob wants a field

// FailArgs are the arguments of [File.Fail].
type FailArgs struct {
	Op      Op
	Failure Failure
}

// PowerCutArgs are the arguments of [File.PowerCut].
type PowerCutArgs struct {
	Out  string
	Seed uint64
	Keep float64
}

// Ready returns as soon as requests are answered.
func (c *Control) Ready(Nothing, *Nothing) error { return nil }

// Fail is [File.Fail].
func (c *Control) Fail(args FailArgs, _ *Nothing) error {
	c.store.fail(args.Op, args.Failure)
	return nil
}

// Hang is [File.Hang].
func (c *Control) Hang(Nothing, *Nothing) error {
	c.store.hang()
	return nil
}

// Unhang is [File.Unhang].
func (c *Control) Unhang(Nothing, *Nothing) error {
	c.store.unhang()
	return nil
}

// IgnoreFlushes is [File.IgnoreFlushes].
func (c *Control) IgnoreFlushes(Nothing, *Nothing) error {
	c.store.ignore()
	return nil
}

// Clear is [File.Clear].
func (c *Control) Clear(Nothing, *Nothing) error {
	c.store.clear()
	return nil
}

// Stats is [File.Stats].
func (c *Control) Stats(_ Nothing, out *Stats) error {
	*out = c.store.stats()
	return nil
}

// PowerCut is [File.PowerCut].
func (c *Control) PowerCut(args PowerCutArgs, _ *Nothing) error {
	return c.store.powerCut(args.Out, args.Seed, args.Keep)
}
