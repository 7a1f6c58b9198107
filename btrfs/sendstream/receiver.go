package sendstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/osthread"
)

// Receiver applies streams of protocol 1 to 3 by system calls, without the btrfs program.
//
// Unlike that, it resolves every path beneath the new subvolume and through no symbolic link, so that no stream can reach anything outside;
// it finds parents and clone sources wherever on the file system they are, whatever is mounted; and it needs half the time for small files.
// As there, the flags of chattr(1) and the time of creation are not restored. It needs root, and Linux 5.6.
type Receiver struct {
	IOPriority int  // ioprio_set(2) value for the receiving thread; 0 = inherit
	Decompress bool // write compressed data as if it were not, so that the destination's own settings decide
	MaxVersion int  // the newest protocol that is taken; 0 = MaxVersion

	// Parents and clone sources are looked for in the destination directory and among Also alone, not on the whole file system: what others keep there is not to be had by knowing its UUID.
	Confined bool
	Also     []btrfs.UUID // own ones, of subvolumes wherever they are

	Checkpoints *Checkpoints // nil: none

	// Sync, if there is one, is called when all of the stream is applied and before the subvolume becomes a received one, to write it to the disk: after a power cut, what
	// bears a received UUID is then whole, and what is not whole bears none. Without it nothing is written out.
	Sync func() error
}

var _ btrfs.Receiver = Receiver{}

// Receive reads one stream to its end, applies it to a new subvolume called name in dir, whatever the stream calls it, and
// makes that received and read-only when END and then the end of the input were read. Both are durable when it returns; what they stand for is if it was by Sync.
//
// On error, a writable subvolume without a received UUID may be left. Errors wrap ErrCorrupt or ErrVersion where the stream is at fault,
// ErrApply where a command could not be carried out, btrfs.ErrParentMissing or btrfs.ErrCloneSource where other parents could help, and the errno of the system call.
func (r Receiver) Receive(ctx context.Context, dir, name string, stream io.Reader) error {
	return r.receive(ctx, dir, name, stream, func(s *session) error { return s.checkpoints(r.Checkpoints, Position{}) })
}

// Resume is Receive for a stream whose beginning an earlier one has applied: stream gives what comes after the place of the checkpoint, and the subvolume called name in dir is a
// writable snapshot of what was kept there. That the stream is the same as then is for the caller to check, with [Skip].
func (r Receiver) Resume(ctx context.Context, dir, name string, from Checkpoint, stream io.Reader) error {
	return r.receive(ctx, dir, name, stream, func(s *session) error {
		if err := from.resumable(); err != nil {
			return err
		}
		if err := s.checkpoints(r.Checkpoints, from.Position); err != nil {
			return err
		}
		return s.resume(from)
	})
}

func (r Receiver) receive(ctx context.Context, dir, name string, stream io.Reader, prepare func(*session) error) error {
	done := make(chan error, 1)
	osthread.Run(func() (changed bool) {
		changed = osthread.SetIOPriority(r.IOPriority)
		defer func() {
			if p := recover(); p != nil { // nobody else can, and a stream may come from anybody
				done <- &PanicError{p, debug.Stack()}
			}
		}()
		done <- r.run(ctx, dir, name, stream, prepare)
		return changed
	})
	if err := <-done; err != nil {
		return fmt.Errorf("receive %s: %w", filepath.Join(dir, name), err)
	}
	return nil
}

func (r Receiver) run(ctx context.Context, dir, name string, stream io.Reader, prepare func(*session) error) error {
	if checkName([]byte(name)) != nil {
		return fmt.Errorf("%q cannot be the name of a subvolume", name)
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	s := session{
		ctx:         ctx,
		in:          NewDecoder(stream),
		destination: destination{fd: fd, name: name},
		subvolumes:  subvolumes{dir: fd, confined: r.Confined, also: r.Also},
		file:        file{fd: -1},
		decompress:  r.Decompress,
		encoded:     encoded{write: encodedWrite},
		sync:        r.Sync,
	}
	defer s.close()
	if err := prepare(&s); err != nil {
		return err
	}
	if version, err := s.in.Version(); err != nil {
		return err
	} else if r.MaxVersion > 0 && version > r.MaxVersion {
		return fmt.Errorf("%w: version %d, at most %d was agreed on", ErrVersion, version, r.MaxVersion)
	}
	return s.run()
}

// session is the receiving of one stream.
type session struct {
	ctx         context.Context
	in          *Decoder
	ahead       *Command // was read but not yet applied
	destination destination
	subvolumes  subvolumes
	id          btrfs.UUID // of the subvolume, in the stream
	ctransid    uint64
	tree        *tree                // the new subvolume
	sources     map[btrfs.UUID]*tree // others that were cloned from
	file        file                 // the one that is being written
	decompress  bool
	encoded     encoded
	sync        func() error // nil: nobody wants it
	yielded     time.Time    // last

	checkpointer *checkpointer // nil: none are wanted
}

// yieldEvery is less than the 10 ms after which Go's scheduler takes the processor away from a goroutine, and goes on to do so in each system call until the
// goroutine has been scheduled anew. That costs a tenth of the CPU time of a receive, since this one has a thread of its own.
const yieldEvery = 5 * time.Millisecond

func (s *session) run() error {
	for {
		if err := context.Cause(s.ctx); err != nil {
			return err
		}
		c, err := s.next()
		if err != nil {
			s.interrupted(err)
			return err
		}
		if now := time.Now(); now.Sub(s.yielded) > yieldEvery {
			runtime.Gosched()
			s.yielded = now
		}
		number, cmd := s.in.Count(), c.Cmd
		if cmd == CmdEnd {
			break
		}
		if err := s.apply(c); err != nil {
			return &applyError{number, cmd, err}
		}
		if err := s.checkpoint(); err != nil {
			return err
		}
	}
	if _, err := s.in.Next(); err != io.EOF {
		return err
	}
	return s.finish()
}

// PanicError is a mistake in a receiver, or in what it calls.
type PanicError struct {
	Value any
	Stack []byte // for the log: debug.Stack
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// applyError is the error of one command. It is ErrApply too.
type applyError struct {
	number int64
	cmd    Cmd
	err    error
}

func (e *applyError) Error() string        { return fmt.Sprintf("command %d: %s: %v", e.number, e.cmd, e.err) }
func (e *applyError) Unwrap() error        { return e.err }
func (e *applyError) Is(target error) bool { return target == ErrApply }

func (s *session) next() (*Command, error) {
	if c := s.ahead; c != nil {
		s.ahead = nil
		return c, nil
	}
	return s.in.Next()
}

// finish makes what is there now a received subvolume. Until here it is writable and has no received UUID.
func (s *session) finish() error {
	s.file.close()
	if s.sync != nil {
		if err := s.sync(); err != nil {
			return err
		}
	}
	root := fdPath(s.tree.root.fd)
	if err := btrfs.SetReceived(root, s.id, s.ctransid); err != nil {
		return fmt.Errorf("set received UUID: %w", errnoOf(err))
	}
	if err := btrfs.SetReadOnly(root); err != nil {
		// A writable subvolume with a received UUID would pass it on to its snapshots. What matters is the first error.
		_ = btrfs.SetReceived(root, btrfs.UUID{}, 0)
		return fmt.Errorf("set read-only: %w", errnoOf(err))
	}
	return nil
}

func (s *session) close() {
	s.file.close()
	for _, t := range s.sources {
		t.close()
	}
	if s.tree != nil {
		s.tree.close()
	}
}

// fdPath is a path to what is open, for calls that take no descriptor.
func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// errnoOf takes the bare errno out of an error whose text would name a descriptor.
func errnoOf(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
