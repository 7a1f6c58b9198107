package btrfs_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"golang.org/x/sys/unix"
)

// send gives the whole stream.
func send(t testing.TB, s btrfs.Send) []byte {
	t.Helper()
	stream, err := s.Start(t.Context())
	ok(t, err)
	text, err := io.ReadAll(stream)
	ok(t, err)
	ok(t, stream.Close())
	return text
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// A full tree, then many changes, arrive as they were, in each protocol.
func TestSendReceive(t *testing.T) {
	for name, version := range map[string]btrfs.Send{
		"version 1":            {},
		"version 2":            {Version: 2},
		"version 2 compressed": {Version: 2, Compressed: true},
	} {
		t.Run(name, func(t *testing.T) {
			if version.Version > btrfs.StreamVersion() {
				t.Skipf("this kernel speaks version %d", btrfs.StreamVersion())
			}
			here := testdisk.New(t, testdisk.Options{MountOptions: "compress=zstd"}).Path
			there := newDisk(t)
			live := create(t, here, "live")
			testdisk.Tree(t, live, testdisk.Spec{})
			var parent btrfs.Subvolume
			for i, name := range []string{"one", "-two", "three \n ü"} {
				path := snapshot(t, live, here, name)
				s := version
				s.Subvolume = path
				s.Parent = parent.ID
				stream, err := s.Start(t.Context())
				ok(t, err)
				ok(t, btrfs.Progs{}.Receive(t.Context(), there, name, stream))
				ok(t, stream.Close())
				ok(t, btrfs.Sync(there))
				copied := info(t, filepath.Join(there, name))
				parent = info(t, path)
				if !btrfs.SameContent(parent, copied) || copied.ReceivedUUID != parent.UUID {
					t.Errorf("%+v is not a copy of %+v", copied, parent)
				}
				diffs, err := testdisk.Compare(path, filepath.Join(there, name))
				ok(t, err)
				for _, diff := range diffs {
					t.Error(diff)
				}
				ok(t, testdisk.Mutate(live, uint64(i), 200))
			}
		})
	}
}

// A subvolume of reflinks of another one costs almost nothing to send when that is named as a clone source,
// with no parent at all; and a parent is a clone source unasked.
func TestSendCloneSources(t *testing.T) {
	d := newDisk(t)
	content := randomBytes(20 << 20)
	a := create(t, d, "a")
	write(t, filepath.Join(a, "file"), content)
	first := info(t, snapshot(t, a, d, "first"))

	b := create(t, d, "b")
	reflink(t, filepath.Join(a, "file"), filepath.Join(b, "file"))
	other := snapshot(t, b, d, "other")
	full := len(send(t, btrfs.Send{Subvolume: other}))
	cloned := len(send(t, btrfs.Send{Subvolume: other, CloneSources: []uint64{first.ID}}))
	if full < len(content) || cloned > 2000 {
		t.Errorf("full send %d bytes, with clone source %d", full, cloned)
	}

	reflink(t, filepath.Join(a, "file"), filepath.Join(a, "kept"))
	ok(t, os.Remove(filepath.Join(a, "file")))
	second := snapshot(t, a, d, "second")
	if n := len(send(t, btrfs.Send{Subvolume: second, Parent: first.ID})); n > 2000 {
		t.Errorf("incremental send of a reflink %d bytes", n)
	}
	if n := len(send(t, btrfs.Send{Subvolume: second, NoData: true})); n > 20000 {
		t.Errorf("send without data %d bytes", n)
	}
}

func reflink(t testing.TB, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	ok(t, err)
	defer src.Close()
	dst, err := os.Create(to)
	ok(t, err)
	defer dst.Close()
	ok(t, unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())))
}

// Whether it is the context or Close that ends a send in its midst: it ends soon, says so, and leaves nothing behind.
func TestSendCancel(t *testing.T) {
	d := newDisk(t)
	live := create(t, d, "live")
	write(t, filepath.Join(live, "file"), randomBytes(64<<20))
	path := snapshot(t, live, d, "snapshot")
	cause := errors.New("enough")
	for name, tc := range map[string]struct {
		end  func(cancel context.CancelCauseFunc, s *btrfs.Stream)
		want error
	}{
		"context":  {func(cancel context.CancelCauseFunc, s *btrfs.Stream) { cancel(cause) }, cause},
		"close":    {func(cancel context.CancelCauseFunc, s *btrfs.Stream) {}, context.Canceled},
		"deadline": {func(cancel context.CancelCauseFunc, s *btrfs.Stream) { cancel(context.DeadlineExceeded) }, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			before := usage(t)
			for range 20 {
				ctx, cancel := context.WithCancelCause(t.Context())
				stream, err := btrfs.Send{Subvolume: path, IOPriority: 3 << 13}.Start(ctx)
				ok(t, err)
				_, err = io.CopyN(io.Discard, stream, 1<<20)
				ok(t, err)
				start := time.Now()
				tc.end(cancel, stream)
				if err := stream.Close(); !errors.Is(err, tc.want) {
					t.Errorf("Close() = %v, want %v", err, tc.want)
				}
				if took := time.Since(start); took > 10*time.Second {
					t.Errorf("ended after %v", took)
				}
				if err := stream.Close(); !errors.Is(err, tc.want) {
					t.Errorf("second Close() = %v, want %v", err, tc.want)
				}
				cancel(nil)
			}
			waitForUsage(t, before)
		})
	}

	t.Run("blocked read", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		stream, err := btrfs.Send{Subvolume: path}.Start(ctx)
		ok(t, err)
		defer stream.Close()
		ended := make(chan error)
		go func() {
			_, err := io.Copy(slow{}, stream)
			ended <- err
		}()
		time.Sleep(10 * time.Millisecond)
		cancel(cause)
		if err := <-ended; !errors.Is(err, cause) {
			t.Errorf("Read = %v, want %v", err, cause)
		}
	})

	t.Run("unread", func(t *testing.T) { // all of it fits into the pipe, so the kernel sees nothing wrong
		empty := snapshot(t, create(t, d, "empty"), d, "empty snapshot")
		stream, err := btrfs.Send{Subvolume: empty}.Start(t.Context())
		ok(t, err)
		time.Sleep(50 * time.Millisecond)
		if err := stream.Close(); !errors.Is(err, context.Canceled) {
			t.Errorf("Close() = %v, want %v", err, context.Canceled)
		}
	})

	t.Run("before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := (btrfs.Send{Subvolume: path}).Start(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Start() = %v, want %v", err, context.Canceled)
		}
	})
}

// The pipe is large, and no program started meanwhile inherits an end of it: the stream would never end.
func TestSendPipe(t *testing.T) {
	d := newDisk(t)
	path := snapshot(t, create(t, d, "live"), d, "snapshot")
	before := inheritedPipes(t)
	stream, err := btrfs.Send{Subvolume: path}.Start(t.Context())
	ok(t, err)
	defer stream.Close()
	size, err := unix.FcntlInt(stream.File().Fd(), unix.F_GETPIPE_SZ, 0)
	ok(t, err)
	if size != 1<<20 {
		t.Errorf("the pipe holds %d bytes", size)
	}
	if after := inheritedPipes(t); after != before {
		t.Errorf("a program has %d pipes, %d without the stream", after, before)
	}
}

func inheritedPipes(t testing.TB) int {
	t.Helper()
	out, err := exec.Command("ls", "-l", "/proc/self/fd").Output()
	ok(t, err)
	return bytes.Count(out, []byte("pipe:"))
}

type slow struct{}

func (slow) Write(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return len(p), nil
}

type used struct{ files, threads int }

func usage(t testing.TB) used {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	ok(t, err)
	threads, err := os.ReadDir("/proc/self/task")
	ok(t, err)
	return used{len(files), len(threads)}
}

// waitForUsage waits until as few files are open as before, and about as few threads there: a few come and go with Go's scheduler.
func waitForUsage(t testing.TB, before used) {
	t.Helper()
	var now used
	for range 100 {
		now = usage(t)
		if now.files <= before.files && now.threads <= before.threads+8 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("files and threads: %+v, before %+v", now, before)
}

func TestSendRefuses(t *testing.T) {
	d := newDisk(t)
	live := create(t, d, "live")
	path := snapshot(t, live, d, "snapshot")
	dir := filepath.Join(d, "dir")
	ok(t, os.Mkdir(dir, 0o755))
	for name, tc := range map[string]struct {
		send btrfs.Send
		want string
		is   error
	}{
		"writable":            {btrfs.Send{Subvolume: live}, "writable", nil},
		"directory":           {btrfs.Send{Subvolume: dir}, "", btrfs.ErrNotSubvolume},
		"elsewhere":           {btrfs.Send{Subvolume: "/proc"}, "", btrfs.ErrNotBtrfs},
		"absent":              {btrfs.Send{Subvolume: d + "/absent"}, "", os.ErrNotExist},
		"compressed":          {btrfs.Send{Subvolume: path, Compressed: true}, "needs version 2", nil},
		"writable parent":     {btrfs.Send{Subvolume: path, Parent: info(t, live).ID}, "writable or being deleted", unix.EPERM},
		"absent parent":       {btrfs.Send{Subvolume: path, Parent: 9999}, "does not exist", unix.ENOENT},
		"absent clone source": {btrfs.Send{Subvolume: path, CloneSources: []uint64{9999}}, "does not exist", unix.ENOENT},
		"future version":      {btrfs.Send{Subvolume: path, Version: 99}, "does not speak version 99", unix.EPROTO},
	} {
		t.Run(name, func(t *testing.T) {
			before := usage(t)
			stream, err := tc.send.Start(t.Context())
			if err == nil {
				_, err = io.Copy(io.Discard, stream)
				ok(t, err)
				err = stream.Close()
			}
			if err == nil || !bytes.Contains([]byte(err.Error()), []byte(tc.want)) || tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("error = %v, want %v with %q", err, tc.is, tc.want)
			}
			waitForUsage(t, before)
		})
	}
}
