package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/osthread"
)

// Send describes one send stream. Subvolumes are named by id: the parent and clone sources need not be reachable by any path.
type Send struct {
	Subvolume    string   // path of the read-only subvolume to send
	Parent       uint64   // id of the parent; 0 = full
	CloneSources []uint64 // ids of further common subvolumes; the parent is added by Start
	Version      int      // protocol; 0 = 1
	Compressed   bool     // send compressed extents as they are; needs version 2
	NoData       bool     // no file contents, extents as UPDATE_EXTENT
	IOPriority   int      // ioprio_set(2) value for the sending thread; 0 = inherit
	ReadAhead    int64    // bytes of file data to have in the page cache ahead of what was read from the stream, at most; 0 = none
}

// Stream is a send under way: reading gives the stream.
//
// Close ends it at any point: the reading end of the pipe is closed, the ioctl returns EPIPE, Close waits for it.
// After io.EOF the send has ended well only if Close returns nil; a Close before EOF returns context.Canceled or the send's own error.
// The end of the context given to Start ends it likewise; Read and Close then return the context's error.
type Stream struct {
	r         *os.File
	ctx       context.Context
	stopWatch func() bool
	eof       atomic.Bool
	lent      atomic.Bool // others may read from the pipe: its end is not seen here
	ahead     *readAhead  // nil if there is none
	done      chan struct{}
	err       error // of the ioctl; after done
}

// Start begins the send on a locked OS thread of its own with a 1 MiB pipe. Errors of the ioctl come from Close.
// BTRFS_IOC_SEND; needs CAP_SYS_ADMIN.
func (s Send) Start(ctx context.Context) (*Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if s.Compressed && s.Version < 2 {
		return nil, fmt.Errorf("send %s: compressed data needs version 2 of the protocol", s.Subvolume)
	}
	subvolume, err := openSubvolume(s.Subvolume)
	if err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	info, err := describe(subvolume, s.Subvolume)
	if err == nil && !info.ReadOnly {
		err = fmt.Errorf("%s is writable: only a read-only subvolume can be sent", s.Subvolume)
	}
	if err != nil {
		unix.Close(subvolume)
		return nil, fmt.Errorf("send: %w", err)
	}
	rfd, wfd, err := newPipe()
	if err != nil {
		unix.Close(subvolume)
		return nil, fmt.Errorf("send %s: %w", s.Subvolume, err)
	}
	r, err := pollable(rfd, "send stream of "+s.Subvolume)
	if err != nil {
		unix.Close(wfd)
		unix.Close(subvolume)
		return nil, fmt.Errorf("send %s: %w", s.Subvolume, err)
	}
	stream := &Stream{r: r, ctx: ctx, done: make(chan struct{})}
	if s.ReadAhead > 0 && !s.NoData {
		stream.ahead = s.startReadAhead(ctx, subvolume, info.ID)
	}
	stream.stopWatch = context.AfterFunc(ctx, func() { r.Close() })
	osthread.Run(func() (changed bool) {
		defer close(stream.done)
		osthread.SetIOPriority(s.IOPriority)
		// A signal that meets the ioctl while it waits for room in the pipe makes the kernel start it again from the beginning (ERESTARTSYS), in the
		// middle of the stream. Those of the process are for other threads. SIGSTOP, and the freezing of a machine that goes to sleep, cannot be
		// kept away: the stream then fails its checksums.
		osthread.BlockSignals()
		// The kernel writes to the pipe and must block there: wfd never meets Go's poller. Its end is also the reader's EOF.
		stream.err = s.run(subvolume, wfd)
		unix.Close(subvolume)
		unix.Close(wfd)
		stream.ahead.close()
		return true
	})
	return stream, nil
}

func (s Send) run(subvolume, pipe int) error {
	// A parent that is not a clone source as well costs a full copy of whatever was moved or reflinked.
	sources := slices.Clone(s.CloneSources)
	if s.Parent != 0 {
		sources = append(sources, s.Parent)
	}
	slices.Sort(sources)
	sources = slices.Compact(sources)

	args := sendArgs{sendFd: int64(pipe), parentRoot: s.Parent, cloneSourcesCount: uint64(len(sources))}
	var pin runtime.Pinner
	defer pin.Unpin()
	if len(sources) > 0 {
		pin.Pin(&sources[0])
		args.cloneSources = unsafe.Pointer(&sources[0])
	}
	if s.NoData {
		args.flags |= sendNoFileData
	}
	if s.Version >= 2 { // without the flag, kernels that know no other version take it too
		args.flags |= sendVersion
		args.version = uint32(s.Version)
	}
	if s.Compressed {
		args.flags |= sendCompressed
	}
	if err := ioctl(subvolume, iocSend, unsafe.Pointer(&args)); err != nil {
		return fmt.Errorf("send %s: %w", s.Subvolume, s.explain(err))
	}
	return nil
}

func (s Send) explain(err error) error {
	why := ""
	switch {
	case errors.Is(err, unix.EPERM):
		why = "the parent or a clone source is writable or being deleted, or CAP_SYS_ADMIN is missing"
	case errors.Is(err, unix.EAGAIN):
		why = "a deduplication or a balance works on this file system; try again later"
	case errors.Is(err, unix.EPROTO):
		why = fmt.Sprintf("this kernel does not speak version %d of the protocol", s.Version)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		why = "this kernel does not know a flag of the request"
	case errors.Is(err, unix.ENOENT):
		why = "the parent or a clone source does not exist"
	default:
		return err
	}
	return fmt.Errorf("%s: %w", why, err)
}

// Read reads from the stream.
func (s *Stream) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.ahead.passed(p[:n])
	switch {
	case errors.Is(err, io.EOF):
		s.eof.Store(true)
	case errors.Is(err, os.ErrClosed) && s.ctx.Err() != nil:
		err = context.Cause(s.ctx)
	}
	return n, err
}

// Close ends the send and gives its result. It may be called more than once.
func (s *Stream) Close() error {
	s.stopWatch()
	s.r.Close()
	<-s.done
	switch {
	case s.err != nil && !errors.Is(s.err, unix.EPIPE):
		return s.err
	case s.err == nil && (s.eof.Load() || s.lent.Load()):
		return nil
	case s.ctx.Err() != nil:
		return context.Cause(s.ctx)
	}
	return context.Canceled
}

// File is the reading end of the pipe, for splice or to hand to a child. Whoever reads from it sees the end of the stream
// in place of the Stream, whose Close then cannot tell a stream read to its end from one whose rest was thrown away.
//
// Nothing more is read ahead then, since nobody tells how far the stream has come.
func (s *Stream) File() *os.File {
	s.lent.Store(true)
	s.ahead.abandon()
	return s.r
}
