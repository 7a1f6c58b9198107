package btrfs_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
	"golang.org/x/sys/unix"
)

func TestChangedSince(t *testing.T) {
	d := newDisk(t)
	live := create(t, d, "live")
	in := func(name string) string { return filepath.Join(live, name) }
	for i := range 500 {
		write(t, in(fmt.Sprint(i)), randomBytes(8192))
	}
	ok(t, os.Mkdir(in("snapshots"), 0o755))
	var st unix.Stat_t
	ok(t, unix.Stat(in("snapshots"), &st))
	changes := func(gen uint64) btrfs.Changes {
		t.Helper()
		ok(t, btrfs.Sync(d))
		c, err := btrfs.ChangedSince(t.Context(), live, gen, st.Ino)
		ok(t, err)
		return c
	}
	if c := changes(0); c.Inodes != 501 || c.Bytes != 500*8192 { // the files and the root directory, without the ignored one
		t.Errorf("everything: %+v", c)
	}
	if c := changes(math.MaxUint64); c != (btrfs.Changes{}) {
		t.Errorf("since the end of time: %+v", c)
	}

	n := 0
	for name, tc := range map[string]struct {
		do   func()
		want btrfs.Changes
	}{
		"nothing":         {func() {}, btrfs.Changes{}},
		"delete":          {func() { ok(t, os.Remove(in("0"))) }, btrfs.Changes{Inodes: 1}},                // the directory
		"rename":          {func() { ok(t, os.Rename(in("1"), in("renamed"))) }, btrfs.Changes{Inodes: 2}}, // and the file
		"xattr":           {func() { ok(t, unix.Setxattr(in("2"), "user.a", nil, 0)) }, btrfs.Changes{Inodes: 1}},
		"mode":            {func() { ok(t, os.Chmod(in("3"), 0o600)) }, btrfs.Changes{Inodes: 1}},
		"data":            {func() { write(t, in("4"), randomBytes(1<<20)) }, btrfs.Changes{Inodes: 1, Bytes: 1 << 20}},
		"inline data":     {func() { write(t, in("5"), []byte("short")) }, btrfs.Changes{Inodes: 1, Bytes: 5}},
		"hole":            {func() { ok(t, os.Truncate(in("6"), 1<<30)) }, btrfs.Changes{Inodes: 1}},
		"in the snapshot": {func() { ok(t, os.RemoveAll(filepath.Join(live, "snapshots", "0"))) }, btrfs.Changes{}},
		"preallocation": {func() {
			f, err := os.OpenFile(in("7"), os.O_WRONLY, 0)
			ok(t, err)
			defer f.Close()
			ok(t, unix.Fallocate(int(f.Fd()), 0, 1<<20, 1<<20))
		}, btrfs.Changes{Inodes: 1}},
	} {
		n++
		last := snapshot(t, live, in("snapshots"), fmt.Sprint(n))
		tc.do()
		if got := changes(info(t, last).Ctransid); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
		// A snapshot made now tells the same, with the ids of the live subvolume's inodes.
		if got := changes(info(t, snapshot(t, live, in("snapshots"), fmt.Sprint(n, " after"))).Ctransid); got != (btrfs.Changes{}) {
			t.Errorf("%s, afterwards: %+v", name, got)
		}
	}
}

func TestChangedSinceRefuses(t *testing.T) {
	d := newDisk(t)
	live := create(t, d, "live")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := btrfs.ChangedSince(ctx, live, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	dir := filepath.Join(live, "dir")
	ok(t, os.Mkdir(dir, 0o755))
	if _, err := btrfs.ChangedSince(t.Context(), dir, 0); !errors.Is(err, btrfs.ErrNotSubvolume) {
		t.Errorf("directory: %v", err)
	}
}
