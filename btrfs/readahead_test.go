package btrfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// The stream is the same with and without reading ahead, whatever the bound, and nothing is left in the cache.
func TestReadAheadStream(t *testing.T) {
	here := testdisk.New(t, testdisk.Options{MountOptions: "compress=zstd"}).Path
	live := create(t, here, "live")
	testdisk.Tree(t, live, testdisk.Spec{})
	var sends []btrfs.Send
	var parent uint64
	for i := range 3 {
		large := filepath.Join(live, "large")
		if _, err := os.Stat(large); err != nil { // new, or moved away
			write(t, large, randomBytes(8<<20))
		}
		editAll(t, large, 8<<20)
		path := snapshot(t, live, here, fmt.Sprint(i))
		sends = append(sends, btrfs.Send{Subvolume: path, Parent: parent})
		parent = info(t, path).ID
		ok(t, testdisk.Mutate(live, uint64(i), 200))
	}
	// Which extents are cloned depends on who else has them: what was changed last must not reach the trees between two sends.
	ok(t, btrfs.Commit(here))
	sends = append(sends, btrfs.Send{Subvolume: sends[2].Subvolume}, btrfs.Send{Subvolume: sends[2].Subvolume, CloneSources: []uint64{parent}})
	for _, s := range sends {
		for version := 1; version <= min(2, btrfs.StreamVersion()); version++ {
			s.Version, s.Compressed, s.ReadAhead = version, version == 2, 0
			want := send(t, s)
			for _, s.ReadAhead = range []int64{1, 4 << 20} {
				left := int64(1)
				for try := 0; left > 0 && try < 3; try++ { // the kernel may be reading on when its pages are given up
					uncache(t, s.Subvolume)
					if got := send(t, s); !bytes.Equal(got, want) {
						t.Errorf("%+v: %d bytes, %d without", s, len(got), len(want))
					}
					left = cached(t, s.Subvolume)
				}
				if left > 0 {
					t.Errorf("%+v: %d bytes are left in the cache", s, left)
				}
			}
		}
	}
}

// editAll changes a little of a file everywhere.
func editAll(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	ok(t, err)
	defer f.Close()
	for at := int64(0); at < size; at += 256 << 10 {
		_, err := f.WriteAt(randomBytes(5000), at)
		ok(t, err)
	}
}

// uncache drops what the page cache has of the files below dir.
func uncache(t testing.TB, dir string) {
	t.Helper()
	ok(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	}))
}

// cached gives how many bytes of the files below dir are in the page cache.
func cached(t testing.TB, dir string) int64 {
	t.Helper()
	var pages uint64
	ok(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			pages += testdisk.CachedPages(t, path)
		}
		return err
	}))
	return int64(pages) * int64(os.Getpagesize())
}

// readAheadDisk has a snapshot of small and large files, none of which is in the cache, in full and with changes in many of its places.
func readAheadDisk(t *testing.T) (first, second string) {
	t.Helper()
	here := testdisk.New(t, testdisk.Options{}).Path
	live := create(t, here, "live")
	for i := range 300 {
		write(t, filepath.Join(live, fmt.Sprint(i)), randomBytes(20_000))
	}
	write(t, filepath.Join(live, "large"), randomBytes(30<<20))
	for i := range 20 {
		write(t, filepath.Join(live, fmt.Sprint("middle", i)), randomBytes(2<<20))
	}
	first = snapshot(t, live, here, "first")
	editAll(t, filepath.Join(live, "large"), 30<<20)
	for i := 0; i < 20; i += 2 {
		write(t, filepath.Join(live, fmt.Sprint("middle", i)), randomBytes(2<<20))
	}
	for i := 0; i < 300; i += 3 {
		write(t, filepath.Join(live, fmt.Sprint(i)), randomBytes(20_000))
	}
	return first, snapshot(t, live, here, "second")
}

// kernelAhead is what the kernel may have read by itself: the files of a btrfs are read ahead by as much.
const kernelAhead = 4 << 20

// There is something in the cache before the stream gets there, never more than allowed, and nothing afterwards.
func TestReadAheadBound(t *testing.T) {
	first, second := readAheadDisk(t)
	for name, s := range map[string]btrfs.Send{
		"full":        {Subvolume: first},
		"incremental": {Subvolume: second, Parent: info(t, first).ID},
	} {
		t.Run(name, func(t *testing.T) {
			s.ReadAhead = 6 << 20
			stream, err := s.Start(t.Context())
			ok(t, err)
			defer stream.Close()
			chunk := make([]byte, 128<<10)
			most, samples := int64(0), 0
			for {
				if samples == 0 {
					// With nothing read at all, the kernel gets no farther than the pipe.
					eventually(t, "something was read ahead", func() bool { return cached(t, s.Subvolume) > s.ReadAhead/2 })
				}
				most = max(most, cached(t, s.Subvolume))
				samples++
				_, err := io.ReadFull(stream, chunk)
				if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
					break
				}
				ok(t, err)
			}
			if most > s.ReadAhead+kernelAhead {
				t.Errorf("%d bytes were in the cache, of %d allowed", most, s.ReadAhead)
			}
			ok(t, stream.Close())
			if n := cached(t, s.Subvolume); n != 0 {
				t.Errorf("%d bytes are left", n)
			}
			t.Logf("at most %d bytes in %d samples", most, samples)
		})
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// What others have in the cache stays there, and only that.
func TestReadAheadLeavesOthers(t *testing.T) {
	first, second := readAheadDisk(t)
	want := map[string]uint64{}
	for _, name := range []string{"3", "150", "299", "middle4", "large"} {
		f, err := os.Open(filepath.Join(second, name))
		ok(t, err)
		_, err = f.ReadAt(make([]byte, 4096), 0)
		ok(t, err)
		ok(t, f.Close())
		time.Sleep(10 * time.Millisecond) // what the kernel has read beyond
		want[name] = testdisk.CachedPages(t, filepath.Join(second, name))
	}
	send(t, btrfs.Send{Subvolume: second, Parent: info(t, first).ID, ReadAhead: 8 << 20})
	send(t, btrfs.Send{Subvolume: second, ReadAhead: 8 << 20})
	ok(t, filepath.WalkDir(second, func(path string, e fs.DirEntry, err error) error {
		if name := filepath.Base(path); err == nil && !e.IsDir() {
			if got := testdisk.CachedPages(t, path); got < want[name] || got > 0 && want[name] == 0 {
				t.Errorf("%s has %d pages in the cache, %d before", name, got, want[name])
			}
		}
		return err
	}))
}

// A stream that is given up leaves nothing in the cache, and nothing open.
func TestReadAheadEnds(t *testing.T) {
	first, _ := readAheadDisk(t)
	for name, end := range map[string]func(context.CancelFunc, *btrfs.Stream){
		"close":   func(_ context.CancelFunc, s *btrfs.Stream) { _ = s.Close() },
		"context": func(cancel context.CancelFunc, s *btrfs.Stream) { cancel() },
		"lent":    func(_ context.CancelFunc, s *btrfs.Stream) { s.File() },
	} {
		t.Run(name, func(t *testing.T) {
			before := usage(t)
			for i := range 10 {
				ctx, cancel := context.WithCancel(t.Context())
				stream, err := btrfs.Send{Subvolume: first, ReadAhead: 16 << 20, IOPriority: 3 << 13}.Start(ctx)
				ok(t, err)
				_, err = io.CopyN(io.Discard, stream, int64(i)*3<<20)
				ok(t, err)
				start := time.Now()
				end(cancel, stream)
				if err := stream.Close(); name != "lent" && !errors.Is(err, context.Canceled) {
					t.Errorf("Close() = %v, want %v", err, context.Canceled)
				}
				if took := time.Since(start); took > 10*time.Second {
					t.Errorf("ended after %v", took)
				}
				cancel()
			}
			waitForUsage(t, before)
			eventually(t, "nothing is left in the cache", func() bool { return cached(t, first) == 0 })
		})
	}
}

// Data that the stream tells to clone is read for the first of its files only.
func TestReadAheadClones(t *testing.T) {
	here := newDisk(t)
	live := create(t, here, "live")
	write(t, filepath.Join(live, "file"), randomBytes(2<<20))
	for i := range 8 {
		reflink(t, filepath.Join(live, "file"), filepath.Join(live, fmt.Sprint("copy", i)))
	}
	path := snapshot(t, live, here, "snapshot")
	stream, err := btrfs.Send{Subvolume: path, ReadAhead: 32 << 20}.Start(t.Context())
	ok(t, err)
	defer stream.Close()
	eventually(t, "the file is read", func() bool { return cached(t, path) >= 2<<20 })
	time.Sleep(20 * time.Millisecond)
	if n := cached(t, path); n > 2<<20 {
		t.Errorf("%d bytes were read ahead", n)
	}
}

// A received parent has more in it than it had when it was made. Nothing of that is read.
func TestReadAheadReceivedParent(t *testing.T) {
	here, there := newDisk(t), newDisk(t)
	live := create(t, here, "live")
	write(t, filepath.Join(live, "large"), randomBytes(8<<20))
	write(t, filepath.Join(live, "small"), randomBytes(1<<20))
	var parent uint64
	for _, name := range []string{"first", "second"} {
		path := snapshot(t, live, here, name)
		stream, err := btrfs.Send{Subvolume: path, Parent: parent}.Start(t.Context())
		ok(t, err)
		ok(t, btrfs.Progs{}.Receive(t.Context(), there, name, stream))
		ok(t, stream.Close())
		ok(t, btrfs.Sync(there))
		parent = info(t, path).ID
		write(t, filepath.Join(live, "small"), randomBytes(1<<20))
	}
	second := filepath.Join(there, "second")
	for _, name := range []string{"large", "small"} {
		f, err := os.Open(filepath.Join(second, name))
		ok(t, err)
		ok(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
		ok(t, f.Close())
	}
	stream, err := btrfs.Send{Subvolume: second, Parent: info(t, filepath.Join(there, "first")).ID, ReadAhead: 32 << 20}.Start(t.Context())
	ok(t, err)
	defer stream.Close()
	eventually(t, "the change is read", func() bool { return cached(t, second) >= 1<<20 })
	time.Sleep(20 * time.Millisecond)
	if n := cached(t, second); n > 1<<20 {
		t.Errorf("%d bytes were read ahead", n)
	}
}
