package content_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs/content"
)

// newTwins makes a subvolume and a writable snapshot of it.
func newTwins(t *testing.T, fill func(live string)) (live, twin string) {
	t.Helper()
	here := testdisk.New(t, testdisk.Options{}).Path
	ok(t, btrfs.Create(here, "live"))
	live = filepath.Join(here, "live")
	fill(live)
	ok(t, btrfs.Snapshot(live, here, "twin", false))
	return live, filepath.Join(here, "twin")
}

// Paths have no limit, and links are not followed.
func TestDeep(t *testing.T) {
	name := strings.Repeat("x", 100)
	const levels = 100 // together more than PATH_MAX
	bottom := func(root string) int {
		fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		ok(t, err)
		for range levels {
			_ = unix.Mkdirat(fd, name, 0o755)
			next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
			ok(t, err)
			ok(t, unix.Close(fd))
			fd = next
		}
		return fd
	}
	live, twin := newTwins(t, func(live string) {
		fd := bottom(live)
		defer unix.Close(fd)
		ok(t, unix.Symlinkat("/", fd, "link"))
		ok(t, unix.Mkfifoat(fd, "fifo", 0o600))
	})
	fd := bottom(twin)
	defer unix.Close(fd)
	ok(t, unix.Fchownat(fd, "fifo", 7, 7, 0))
	want := strings.Repeat(name+"/", levels) + "fifo: owner 7:7 instead of 0:0"
	if found, r := compare(t, live, twin, content.Options{Parts: 1}); !slices.Equal(found, []string{want}) || r.Entries != levels+3 {
		t.Errorf("%+v, %q", r, found)
	}
}

// Holes of both sides are not read, however large.
func TestSparse(t *testing.T) {
	const size, far = 1 << 50, 1<<49 + 12345
	write := func(root string, at int64, text string) {
		f, err := os.OpenFile(filepath.Join(root, "sparse"), os.O_WRONLY|os.O_CREATE, 0o600)
		ok(t, err)
		defer f.Close()
		_, err = f.WriteAt([]byte(text), at)
		ok(t, err)
		ok(t, f.Truncate(size))
	}
	live, twin := newTwins(t, func(live string) { write(live, far, "text") })
	found, r := compare(t, live, twin, content.Options{Parts: 1})
	if len(found) > 0 || r.Bytes > 32<<20 || r.Bytes == 0 {
		t.Errorf("%+v, %q", r, found)
	}
	write(twin, far-1<<40, "\x00") // zeros in place of a hole are none
	write(twin, far+1<<40, "!")
	found, _ = compare(t, live, twin, content.Options{Parts: 1})
	if want := fmt.Sprintf("sparse: content differs from byte %d on", int64(far+1<<40)); !slices.Contains(found, want) {
		t.Errorf("%q, want %q", found, want)
	}
}

// What is read of large files does not stay in the page cache, unless it was there.
func TestCache(t *testing.T) {
	live, twin := newTwins(t, func(live string) {
		for _, name := range []string{"cold", "warm"} {
			ok(t, os.WriteFile(filepath.Join(live, name), slices.Repeat([]byte("0123456789abcdef"), 2<<20), 0o600))
		}
	})
	ok(t, btrfs.Sync(live))
	pages := func(path string) uint64 { return testdisk.CachedPages(t, path) }
	for _, root := range []string{live, twin} {
		f, err := os.Open(filepath.Join(root, "cold"))
		ok(t, err)
		ok(t, errors.Join(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close()))
		_, err = os.ReadFile(filepath.Join(root, "warm"))
		ok(t, err)
	}
	if found, _ := compare(t, live, twin, content.Options{Parts: 1}); len(found) > 0 {
		t.Errorf("%q", found)
	}
	for _, root := range []string{live, twin} {
		cold, warm := pages(filepath.Join(root, "cold")), pages(filepath.Join(root, "warm"))
		if all := uint64(32<<20) / uint64(os.Getpagesize()); cold > all/10 || warm != all {
			t.Errorf("%s: %d and %d pages of %d are in the cache", root, cold, warm, all)
		}
	}
}

// Memory grows by a few bytes for each name of a directory, and by none for the trees.
func TestMemory(t *testing.T) {
	const names, dirs = 24_000, 4
	root := testdisk.New(t, testdisk.Options{InMemory: true}).Path
	for _, side := range []string{"a", "b"} {
		for d := range dirs {
			dir := filepath.Join(root, side, fmt.Sprint(d))
			ok(t, os.MkdirAll(dir, 0o755))
			for i := range names / dirs {
				ok(t, unix.Mknod(filepath.Join(dir, fmt.Sprintf("a name of some length %d", i)), unix.S_IFREG|0o600, 0))
			}
		}
	}
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // what counts is what is held, not what is yet to be collected
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var most uint64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		var m runtime.MemStats
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
	}()
	r, err := content.Compare(t.Context(), filepath.Join(root, "a"), filepath.Join(root, "b"), content.Options{}, func(content.Difference) {})
	close(stop)
	<-stopped
	ok(t, err)
	t.Logf("%d bytes more", int64(most)-int64(before.HeapAlloc))
	if grown := int64(most) - int64(before.HeapAlloc); r.Entries < names || grown > 5<<20 {
		t.Errorf("%d bytes more for %+v", grown, r)
	}
}
