package btrfs_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"golang.org/x/sys/unix"
)

// afterPowerCut gives the mount point of the disk as it would be after a power cut now.
func afterPowerCut(t testing.TB, d *testdisk.Disk) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	if out, err := exec.Command("cp", "--sparse=always", d.Image, image).CombinedOutput(); err != nil {
		t.Fatalf("copy image: %v\n%s", err, out)
	}
	return testdisk.MountImage(t, image).Path
}

// What the comments promise to be durable is there after a power cut.
func TestDurability(t *testing.T) {
	content := randomBytes(1 << 20)
	for name, tc := range map[string]struct {
		do     func(t *testing.T, d string)
		absent string
		file   string
	}{
		"snapshot": {func(t *testing.T, d string) { snapshot(t, d+"/live", d, "snapshot") }, "", "snapshot/file"},
		"sync":     {func(t *testing.T, d string) { ok(t, btrfs.Sync(d)) }, "", "live/file"},
		"rename and commit": {func(t *testing.T, d string) {
			ok(t, btrfs.Rename(d, "old", "new"))
			ok(t, btrfs.Commit(d))
		}, "old", "new/file"},
		"delete and commit": {func(t *testing.T, d string) {
			ok(t, btrfs.Delete(d, "old", info(t, d+"/old").UUID))
			ok(t, btrfs.Commit(d))
		}, "old", ""},
		"read-only": {func(t *testing.T, d string) {
			ok(t, btrfs.Sync(d))
			ok(t, btrfs.SetReadOnly(d+"/live"))
		}, "", "live/file"},
	} {
		t.Run(name, func(t *testing.T) {
			disk := testdisk.New(t, testdisk.Options{Size: 256 << 20})
			d := disk.Path
			live := create(t, d, "live")
			write(t, filepath.Join(live, "file"), content)
			snapshot(t, live, d, "old")
			ok(t, os.Remove(filepath.Join(live, "file")))
			write(t, filepath.Join(live, "file"), content)
			tc.do(t, d)
			after := afterPowerCut(t, disk)
			if tc.absent != "" {
				if _, err := os.Stat(filepath.Join(after, tc.absent)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s came back: %v", tc.absent, err)
				}
			}
			if tc.file != "" {
				got, err := os.ReadFile(filepath.Join(after, tc.file))
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("%s has %d bytes of %d: %v", tc.file, len(got), len(content), err)
				}
			}
		})
	}
}

func TestSyncErrors(t *testing.T) {
	if err := btrfs.Sync("/proc"); !errors.Is(err, btrfs.ErrNotBtrfs) {
		t.Errorf("Sync: %v", err)
	}
	if err := btrfs.Commit(t.TempDir() + "/absent"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Commit: %v", err)
	}
}

// Of a write that failed in the background, each barrier opened before it tells, not only the first one asked.
func TestBarriersBothTellOfLostData(t *testing.T) {
	small := t.TempDir()
	// Thin provisioning: the disk claims more than there is.
	skipUnlessRoot(t)
	ok(t, unix.Mount("none", small, "tmpfs", 0, "size=48m"))
	t.Cleanup(func() { ok(t, unix.Unmount(small, unix.MNT_DETACH)) })
	image := filepath.Join(small, "image")
	ok(t, os.WriteFile(image, nil, 0o600))
	ok(t, os.Truncate(image, 1<<30))
	if out, err := exec.Command("mkfs.btrfs", "-q", "-m", "single", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.btrfs: %v\n%s", err, out)
	}
	d := testdisk.MountImage(t, image).Path
	var barriers []*btrfs.Barrier
	for range 2 {
		b, err := btrfs.OpenBarrier(d)
		ok(t, err)
		defer b.Close()
		barriers = append(barriers, b)
	}
	write(t, filepath.Join(d, "file"), randomBytes(64<<20))
	for i, b := range barriers {
		if err := b.Sync(); err == nil {
			t.Errorf("barrier %d tells of no loss", i)
		}
	}
}

func skipUnlessRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
}

func TestWaitDeleted(t *testing.T) {
	d := newDisk(t)
	ok(t, btrfs.WaitDeleted(t.Context(), d))
	live := create(t, d, "live")
	for i := range 50 {
		write(t, filepath.Join(live, "file"), randomBytes(10000))
		name := string(rune('a' + i))
		id := info(t, snapshot(t, live, d, name)).UUID
		defer func() {
			if _, err := os.Stat(filepath.Join(d, name)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %v", name, err)
			}
		}()
		ok(t, btrfs.Delete(d, name, id))
	}
	start := time.Now()
	ok(t, btrfs.WaitDeleted(t.Context(), d))
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("waited for %v: the cleaner was not woken", took)
	}
	out, err := exec.Command("btrfs", "subvolume", "list", "-d", d).Output()
	ok(t, err)
	if len(out) > 0 {
		t.Errorf("not cleaned yet:\n%s", out)
	}

	// What is still open is not queued for the cleaner, and not waited for.
	id := info(t, snapshot(t, live, d, "held")).UUID
	held, err := os.Open(filepath.Join(d, "held", "file"))
	ok(t, err)
	defer held.Close()
	ok(t, btrfs.Delete(d, "held", id))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ok(t, btrfs.WaitDeleted(ctx, d))
}
