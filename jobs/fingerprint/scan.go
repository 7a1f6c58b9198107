package fingerprint

import (
	"cmp"
	"context"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/osthread"
)

// jobChunks is how many chunks a worker reads of a file before it takes another.
const jobChunks = 8

// scan makes the records of a subvolume, or of what has changed in it, in order.
type scan struct {
	tree       *btrfs.Tree
	walk       btrfs.Walk
	workers    int
	ioPriority int
	cold       bool                           // what the page cache has does not count
	wanted     func(inode, index uint64) bool // chunks that are to be read; nil: all
	progress   func(bytes int64)              // after each chunk, from several goroutines at a time; or nil
	chunks     atomic.Int64                   // that were read
	bytes      atomic.Int64
}

// result is a record, or why there is none of a chunk.
type result struct {
	record
	err error
}

// job is a result, or some chunks of a file for a worker.
type job struct {
	result
	attributes *attributes // of the file
	done       chan struct{}
	results    []result
}

// records runs the scan. A chunk that cannot be read is a result with an error; any other error ends it.
func (s *scan) records(ctx context.Context) iter.Seq2[result, error] {
	return func(yield func(result, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		workers := cmp.Or(s.workers, max(2, runtime.GOMAXPROCS(0)))
		ordered, work := make(chan *job, 8*workers), make(chan *job, 8*workers)
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel(nil)
		for range workers {
			s.spawn(&running, func() { s.work(ctx, work) })
		}
		var failed error
		s.spawn(&running, func() {
			failed = s.read(ctx, ordered, work)
			close(work)
			close(ordered)
		})
		for j := range ordered {
			if j.done == nil {
				if !yield(j.result, nil) {
					return
				}
				continue
			}
			<-j.done
			for _, r := range j.results {
				if !yield(r, nil) {
					return
				}
			}
			if uint64(len(j.results)) < j.count {
				yield(result{}, context.Cause(ctx))
				return
			}
		}
		if failed != nil { // set before the channel was closed
			yield(result{}, failed)
		}
	}
}

func (s *scan) spawn(running *sync.WaitGroup, f func()) {
	running.Add(1)
	osthread.Run(func() (changed bool) {
		defer running.Done()
		changed = osthread.SetIOPriority(s.ioPriority)
		f()
		return changed
	})
}

// read goes through the tree.
func (s *scan) read(ctx context.Context, ordered, work chan<- *job) error {
	a := assembly{wanted: s.wanted, emit: func(j *job) error {
		if j.done != nil {
			select {
			case work <- j:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		select {
		case ordered <- j:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		return nil
	}}
	for p, err := range s.tree.Walk(ctx, s.walk) {
		if err == nil {
			err = a.part(p)
		}
		if err != nil {
			return err
		}
	}
	return a.end()
}

func (s *scan) work(ctx context.Context, work <-chan *job) {
	buffer := make([]byte, chunkSize)
	for j := range work {
		s.hash(ctx, j, buffer)
		close(j.done)
	}
}

// hash reads the chunks of a job, until ctx ends.
func (s *scan) hash(ctx context.Context, j *job, buffer []byte) {
	f, err := s.tree.OpenFile(j.inode)
	if err == nil {
		defer f.Close()
	}
	for index := j.index; index < j.index+j.count && ctx.Err() == nil; index++ {
		r := result{record: record{inode: j.inode, index: index, kind: isChunk, count: 1}, err: err}
		if err == nil {
			start := (index - 1) * chunkSize
			b := buffer[:min(chunkSize, j.attributes.size-start)]
			if s.cold {
				_ = unix.Fadvise(int(f.Fd()), int64(start), chunkSize, unix.FADV_DONTNEED)
			}
			var n int
			n, r.err = f.ReadAt(b, int64(start))
			s.chunks.Add(1)
			if total := s.bytes.Add(int64(n)); s.progress != nil {
				s.progress(total)
			}
			// Nobody else reads a backup, and what is read here is not read again.
			_ = unix.Fadvise(int(f.Fd()), int64(start), chunkSize, unix.FADV_DONTNEED)
			if r.err == nil && isZero(b) {
				r.kind = isZeros
			} else if r.err == nil {
				r.sum = sumOf(b)
			}
		}
		j.results = append(j.results, r)
	}
}

// isZero compares b with itself, one byte further.
func isZero(b []byte) bool { return b[0] == 0 && string(b[1:]) == string(b[:len(b)-1]) }
