package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/child"
)

// copyPatience is how long after the child's end and that of the context a reader of the stream may take to heed it.
const copyPatience = 5 * time.Second

// Progs receives with the `btrfs` program.
type Progs struct {
	IOPriority int // ioprio_set(2) value for the child; 0 = inherit
}

var _ Receiver = Progs{}

// Receive runs `btrfs receive -e DIR`, LC_ALL=C, in its own process group, killed as a group. Into a bind mount, which the
// program alone cannot do for incremental streams, it receives by way of a private mount namespace.
//
// It returns when it reads no more from stream, whose Read should therefore end with ctx. An *os.File or a *[Stream]
// becomes the child's standard input as it is.
func (p Progs) Receive(ctx context.Context, dir, name string, stream io.Reader) error {
	target := filepath.Join(dir, name)
	dir, err := filepath.Abs(dir) // a leading dash would be an option
	if err != nil {
		return fmt.Errorf("receive %s: %w", target, err)
	}
	// What is found under the name afterwards is then what was received.
	if err := p.unused(dir, name); err != nil {
		return fmt.Errorf("receive %s: %w", target, err)
	}
	err = p.run(ctx, dir, stream)
	complete, id := p.received(dir, name)
	switch {
	case err == nil && complete:
		return nil
	case err == nil:
		err = fmt.Errorf("btrfs receive left no complete subvolume of that name")
	case complete:
		// It was finished when the stream or the context ended badly: it must not pass for a good one.
		if deleteErr := Delete(dir, name, id); deleteErr != nil {
			err = fmt.Errorf("%w; and then: %w", err, deleteErr)
		}
	}
	return fmt.Errorf("receive %s: %w", target, err)
}

func (p Progs) unused(dir, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	dirfd, _, err := openDir(dir)
	if err != nil {
		return err
	}
	defer unix.Close(dirfd)
	var st unix.Stat_t
	switch err := unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err == nil:
		return unix.EEXIST
	case errors.Is(err, unix.ENOENT):
		return nil
	default:
		return err
	}
}

// received reports whether the subvolume name in dir is read-only and stamped as received, as it is after END only.
func (p Progs) received(dir, name string) (complete bool, id UUID) {
	dirfd, _, err := openDir(dir)
	if err != nil {
		return false, UUID{}
	}
	defer unix.Close(dirfd)
	fd, err := openChild(dirfd, name)
	if err != nil {
		return false, UUID{}
	}
	defer unix.Close(fd)
	s, err := describe(fd, name)
	return err == nil && s.ReadOnly && !s.ReceivedUUID.IsZero(), s.UUID
}

func (p Progs) run(ctx context.Context, dir string, stream io.Reader) error {
	c := child.Command{IOPriority: p.IOPriority}
	detour, err := findDetour(dir)
	if err != nil {
		return err
	}
	if detour != nil {
		dir, c.Prepare = detour.dir, detour.enter
	}
	c.Argv = []string{"btrfs", "receive", "-e", dir}
	if s, ok := stream.(*Stream); ok {
		stream = s.File()
	}
	if file, ok := stream.(*os.File); ok {
		// The program does not expect that a read would not block.
		if err := unix.SetNonblock(int(file.Fd()), false); err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		c.Stdin = file
		return explainReceive(c.Run(ctx))
	}
	return p.feed(ctx, c, stream)
}

// feed runs the child and copies the stream to it.
func (p Progs) feed(ctx context.Context, c child.Command, stream io.Reader) error {
	rfd, wfd, err := newPipe()
	if err != nil {
		return err
	}
	c.Stdin = os.NewFile(uintptr(rfd), "stream")
	w, err := pollable(wfd, "stream")
	if err != nil {
		c.Stdin.Close()
		return err
	}
	// Once the child has its own, ours is closed: its death is then seen as EPIPE by the copy.
	wait := c.Start(ctx, func() { c.Stdin.Close() })
	copied := make(chan error, 1)
	go func() {
		from := &source{r: stream}
		_, _ = io.CopyBuffer(struct{ io.Writer }{w}, from, make([]byte, pipeBytes/4))
		w.Close() // the child's end of file
		copied <- from.err
	}()
	childErr := explainReceive(wait())
	// A copy that waits to write has ended with the child; one that waits to read ends when the sender writes or gives up.
	var streamErr error
	select {
	case streamErr = <-copied:
	case <-ctx.Done():
		select {
		case streamErr = <-copied:
		case <-time.After(copyPatience): // its reader does not heed ctx
		}
	}
	switch {
	case ctx.Err() != nil && (childErr != nil || streamErr != nil):
		return context.Cause(ctx)
	case streamErr != nil: // the child could only miss the rest
		return streamErr
	}
	return childErr
}

// source keeps what went wrong with reading, as opposed to writing.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// explainReceive adds what the program says of the choice of parents. Nothing but the next choice hangs on its wording.
func explainReceive(err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w; install btrfs-progs", err)
	}
	var failed *child.Error
	if !errors.As(err, &failed) {
		return err
	}
	switch said := failed.Stderr; {
	case strings.Contains(said, "cannot find parent subvolume"),
		strings.Contains(said, "parent subvol is not reachable"):
		return fmt.Errorf("%w: %w", ErrParentMissing, err)
	case strings.Contains(said, "did not find source subvol"),
		strings.Contains(said, "clone: source subvol path"),
		strings.Contains(said, "failed to clone extents"):
		return fmt.Errorf("%w: %w", ErrCloneSource, err)
	}
	return err
}

// StreamVersion is the newest protocol the installed btrfs program may be given: 2 from btrfs-progs 6.2 on (before that it corrupts data in fallbacks), else 1.
func (p Progs) StreamVersion(ctx context.Context) (int, error) {
	var out strings.Builder
	c := child.Command{Argv: []string{"btrfs", "--version"}, Stdout: &out}
	if err := explainReceive(c.Run(ctx)); err != nil {
		return 1, err
	}
	return progsStreamVersion(out.String()), nil
}

// progsStreamVersion reads "btrfs-progs v6.2"; whatever else it may find gets the version that every program speaks.
func progsStreamVersion(text string) int {
	match := regexp.MustCompile(`^btrfs-progs v(\d{1,4})\.(\d{1,4})(?:\D|$)`).FindStringSubmatch(text)
	if match == nil {
		return 1
	}
	major, _ := strconv.Atoi(match[1])
	minor, _ := strconv.Atoi(match[2])
	if major > 6 || major == 6 && minor >= 2 {
		return 2
	}
	return 1
}
