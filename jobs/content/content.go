// Package content compares what two subvolumes hold: a snapshot and its backup.
//
// It sees all that a backup must carry: names, types, modes, owners, sizes, times of modification, xattrs with the ACLs and capabilities in them, which names
// are one file, device numbers, link targets, and data. What btrfs send does not carry is no difference: the time of the root directory, holes that arrive as zeros,
// nested subvolumes and what a snapshot has in their place, and the properties of btrfs itself, which new files inherit where they are received.
//
// Nothing is changed by it, no symbolic link is followed, and memory does not grow with files or trees: it holds the names of one directory per level, and the
// numbers of files with several names until all of these were seen, of a million such files at most.
package content

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/osthread"
)

// Options of a comparison. The zero value compares everything but data.
type Options struct {
	Parts uint64 // data is compared of one part of the files in Parts, chosen by their paths; 1: of all; 0: of none
	Part  uint64 // which one

	After      Cursor // where an earlier comparison, with the same parts, was cut
	Workers    int    // that read at the same time; 0: as many as Go uses processors, at least two
	IOPriority int    // ioprio_set(2) value for all that read; 0 = inherit
	Progress   func(bytes int64)
}

// Cursor is a place in a walk: everything up to it was compared.
type Cursor struct {
	Path   string // of the last thing that was; "" before the beginning
	Offset int64  // if not zero, of the data of Path only so much was
}

// before reports whether a path lies before the cursor or at it.
func (c Cursor) before(path string) bool {
	return c.Path != "" && c.Path != root && slices.Compare(strings.Split(path, "/"), strings.Split(c.Path, "/")) <= 0
}

// Result is how far a comparison came.
type Result struct {
	Entries  int64 // names that were compared
	Files    int64 // whose data was
	Bytes    int64 // of data, of one side, holes left out
	After    Cursor
	Complete bool
}

// Difference is one thing in which the second subvolume is not as the first.
type Difference struct {
	Path string // any bytes; "." is the root
	What string // as said of the second: "is missing", "owner 7:0 instead of 0:0"
}

// root is the path of the root in differences and cursors.
const root = "."

// Compare reports in what the subvolume have is not as want is, from one goroutine at a time and in no order. What cannot be read, a block with a wrong
// checksum, is a difference. Both must stand still.
//
// When ctx ends, the comparison is cut within moments, and its result says from where the next one goes on. Each comparison gets further than the one before,
// however soon it is cut. The error is that of the machine: then nothing is known of what was compared.
func Compare(ctx context.Context, want, have string, o Options, report func(Difference)) (Result, error) {
	if o.Parts > 0 && o.Part >= o.Parts {
		return Result{}, fmt.Errorf("part %d of %d", o.Part, o.Parts)
	}
	c := &comparison{o: o, report: report, roots: [2]string{want, have}, after: o.After}
	c.ctx, c.cancel = context.WithCancel(ctx)
	defer c.cancel()
	workers := cmp.Or(o.Workers, max(2, runtime.GOMAXPROCS(0)))
	c.tasks = make(chan task, workers)
	var reading, walking sync.WaitGroup
	for range workers {
		reading.Add(1)
		c.spawn(reading.Done, (&worker{comparison: c}).work)
	}
	complete := false
	walking.Add(1)
	c.spawn(walking.Done, func() {
		w := walker{comparison: c}
		complete = w.walk()
	})
	walking.Wait()
	close(c.tasks)
	reading.Wait()
	r := Result{Entries: c.entries.Load(), Files: c.files.Load(), Bytes: c.bytes.Load(), After: c.after, Complete: complete}
	if c.err != nil {
		r.After, r.Complete = o.After, false
	}
	return r, c.err
}

// comparison is what the walk and the workers share.
type comparison struct {
	ctx    context.Context
	cancel context.CancelFunc
	o      Options
	roots  [2]string // paths
	tasks  chan task
	after  Cursor // the walk's

	entries, files, bytes atomic.Int64

	mu     sync.Mutex
	report func(Difference)
	err    error
}

// The two sides, in this order everywhere.
const (
	want = iota
	have
)

// spawn runs f beside others, with the I/O priority.
func (c *comparison) spawn(done, f func()) {
	guarded := func() {
		defer done()
		defer func() {
			// This is a goroutine of its own: a panic here would end the daemon.
			if p := recover(); p != nil {
				c.fail(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
				go func() {
					for range c.tasks { // so that the walk does not wait for a worker that is gone
					}
				}()
			}
		}()
		f()
	}
	if c.o.IOPriority == 0 {
		go guarded()
		return
	}
	osthread.Run(func() (changed bool) {
		changed = osthread.SetIOPriority(c.o.IOPriority)
		guarded()
		return changed
	})
}

// fail ends the comparison with an error; the first one counts.
func (c *comparison) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	c.cancel()
}

func (c *comparison) failed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// differ reports a difference of name in d.
func (c *comparison) differ(d *dir, name, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report(Difference{d.path(name), fmt.Sprintf(format, args...)})
}

// trouble is what the system said of one side. What is damaged on a disk is a difference; a machine that is short of something ends the comparison.
func (c *comparison) trouble(d *dir, name string, side int, call string, err error) {
	for _, machine := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EPERM, unix.EACCES} {
		if errors.Is(err, machine) {
			c.fail(&fs.PathError{Op: call, Path: c.roots[side] + "/" + d.path(name), Err: err})
			return
		}
	}
	if side == want {
		c.differ(d, name, "is not known to be right: %s of what it is compared with: %v", call, err)
		return
	}
	c.differ(d, name, "cannot be read: %s: %v", call, err)
}
