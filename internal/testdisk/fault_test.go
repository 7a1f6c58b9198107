package testdisk_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/internal/testdisk"
	"golang.org/x/sys/unix"
)

// What was synced is in the image of a power cut, what was not need not be.
func TestPowerCut(t *testing.T) {
	d := testdisk.NewFaulty(t, testdisk.Options{})
	testdisk.Tree(t, mkdir(t, d.Path, "synced"), testdisk.Spec{Files: 30})
	syncfs(t, d.Path)
	testdisk.Tree(t, mkdir(t, d.Path, "unsynced"), testdisk.Spec{Files: 30})
	for seed, keep := range []float64{0, 0.5, 0.5, 0.5, 1} {
		t.Run(fmt.Sprintf("%d keep %g", seed, keep), func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "cut.img")
			d.PowerCut(out, uint64(seed), keep)
			after := testdisk.MountImage(t, out)
			wantDiffs(t, filepath.Join(d.Path, "synced"), filepath.Join(after.Path, "synced"), 0)
			_, err := os.Lstat(filepath.Join(after.Path, "unsynced"))
			if keep == 0 && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the image of flushed writes has what was never flushed: %v", err)
			}
		})
	}
}

// Under load, whatever fsync acknowledged is there, on an honest disk. On one
// that ignores flushes it is not, and the same check sees it.
func TestPowerCutUnderLoad(t *testing.T) {
	for name, lies := range map[string]bool{"honest": false, "ignores flushes": true} {
		t.Run(name, func(t *testing.T) {
			d := testdisk.NewFaulty(t, testdisk.Options{})
			acknowledged, stop := load(t, d.Path)
			if lies {
				waitFor(t, acknowledged, 3)
				d.IgnoreFlushes()
			}
			var failures int
			for seed := range uint64(8) {
				waitFor(t, acknowledged, acknowledged.Load()+3)
				want := acknowledged.Load()
				out := filepath.Join(t.TempDir(), "cut.img")
				d.PowerCut(out, seed, 0.5)
				if err := checkCut(t, out, want); err != nil {
					failures++
					t.Logf("seed %d: %v", seed, err)
				}
			}
			stop()
			if lies != (failures > 0) {
				t.Errorf("%d of 8 images failed", failures)
			}
		})
	}
}

// load writes to a disk until stopped, and counts what fsync acknowledged.
func load(t *testing.T, dir string) (acknowledged *atomic.Int64, stop func()) {
	acknowledged = new(atomic.Int64)
	done, ended := make(chan struct{}), make(chan error, 1)
	work := mkdir(t, dir, "work")
	go func() {
		var err error
		for i := int64(1); err == nil; i++ {
			select {
			case <-done:
				ended <- nil
				return
			default:
			}
			if err = testdisk.Mutate(work, uint64(i), 20); err == nil {
				err = writeSynced(filepath.Join(dir, "count"), fmt.Sprintf("%20d", i))
			}
			if err == nil {
				acknowledged.Store(i)
			}
		}
		ended <- err
	}()
	return acknowledged, func() {
		t.Helper()
		close(done)
		ok(t, <-ended)
	}
}

// checkCut mounts an image and tells what is wrong with it.
func checkCut(t *testing.T, image string, want int64) error {
	t.Helper()
	d := testdisk.OpenImage(t, image)
	defer d.Close()
	if err := d.TryMount(""); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(d.Path, "count"))
	if err != nil {
		return err
	}
	count, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return fmt.Errorf("count is %q", b)
	}
	if count < want {
		return fmt.Errorf("count is %d, after %d was synced", count, want)
	}
	_, err = testdisk.Digest(d.Path) // reads everything, against its checksums
	return err
}

func TestFaults(t *testing.T) {
	d := testdisk.NewFaulty(t, testdisk.Options{})
	file := filepath.Join(d.Path, "file")
	write := func() error { return writeSynced(file, time.Now().String()) }
	ok(t, write())

	d.Slow(30 * time.Millisecond)
	start := time.Now()
	ok(t, write())
	if took := time.Since(start); took < 30*time.Millisecond {
		t.Errorf("a synced write on a slow disk took %v", took)
	}

	d.Clear()
	d.Hang()
	result := make(chan error, 1)
	go func() { result <- write() }()
	select {
	case err := <-result:
		t.Errorf("a synced write on a hung disk returned %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	d.Unhang()
	ok(t, <-result)

	d.Fail(testdisk.Read, testdisk.Failure{})
	d.Unmount()
	if err := d.TryMount(""); err == nil {
		t.Error("mounted a disk that cannot be read")
	}
	d.Clear()
	d.Mount("")

	d.Fail(testdisk.Write, testdisk.Failure{After: 2, Rate: 1, Errno: unix.ENOSPC})
	var err error
	for range 10 {
		if err = write(); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("synced writes succeed on a disk that fails all")
	}
	stats := d.Stats()
	if stats.Failed[testdisk.Write] == 0 || stats.Requests[testdisk.Flush] == 0 {
		t.Errorf("stats = %+v", stats)
	}
}

func TestFailFlush(t *testing.T) {
	d := testdisk.NewFaulty(t, testdisk.Options{})
	d.Fail(testdisk.Flush, testdisk.Failure{})
	if err := writeSynced(filepath.Join(d.Path, "file"), "x"); err == nil {
		t.Error("a synced write succeeds without a flush")
	}
}

func TestYank(t *testing.T) {
	d := testdisk.NewFaulty(t, testdisk.Options{})
	file := filepath.Join(d.Path, "file")
	ok(t, writeSynced(file, "x"))
	d.Yank()
	if err := writeSynced(file, "y"); err == nil {
		t.Error("a synced write succeeds without a disk")
	}
	backing := backingFile(d.Device)
	d.Close()
	if backing == "" || backingFile(d.Device) == backing {
		t.Errorf("%s is still attached to %q", d.Device, backing)
	}
}

// A test that ends while its disk hangs still ends, and soon.
func TestHungAtEnd(t *testing.T) {
	start := time.Now()
	t.Run("hung", func(t *testing.T) {
		d := testdisk.NewFaulty(t, testdisk.Options{})
		ok(t, os.WriteFile(filepath.Join(d.Path, "file"), make([]byte, 1<<20), 0o600))
		d.Hang()
	})
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func writeSynced(path, content string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(content)
	return errors.Join(err, file.Sync(), file.Close())
}

func syncfs(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	ok(t, err)
	defer f.Close()
	ok(t, unix.Syncfs(int(f.Fd())))
}

func waitFor(t *testing.T, counter *atomic.Int64, atLeast int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("counter at %d", atLeast), func() bool { return counter.Load() >= atLeast })
}
