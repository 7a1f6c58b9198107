package btrfs_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
)

func TestChangedInodes(t *testing.T) {
	d := newDisk(t)
	live := create(t, d, "live")
	in := func(name string) string { return filepath.Join(live, name) }
	ok(t, os.Mkdir(in("dir"), 0o755))
	for i := range 500 {
		write(t, in(fmt.Sprint(i)), randomBytes(100))
	}
	write(t, in("dir/gone"), nil)
	write(t, in("dir/stays"), nil)
	for name, tc := range map[string]struct {
		do   func()
		want map[string]uint32 // names and types of what has changed
	}{
		"nothing": {func() {}, map[string]uint32{}},
		"data":    {func() { write(t, in("4"), randomBytes(1<<20)) }, map[string]uint32{"4": unix.S_IFREG}},
		"owner":   {func() { ok(t, os.Chown(in("5"), 7, 7)) }, map[string]uint32{"5": unix.S_IFREG}},
		"xattr":   {func() { ok(t, unix.Setxattr(in("dir/stays"), "user.a", nil, 0)) }, map[string]uint32{"dir/stays": unix.S_IFREG}},
		"deleted": {func() { ok(t, os.Remove(in("dir/gone"))) }, map[string]uint32{"dir": unix.S_IFDIR}},
		"new":     {func() { ok(t, os.Symlink("x", in("dir/new"))) }, map[string]uint32{"dir": unix.S_IFDIR, "dir/new": unix.S_IFLNK}},
	} {
		since := info(t, snapshot(t, live, d, name+" before")).Otransid
		tc.do()
		after := snapshot(t, live, d, name+" after")
		got := map[string]uint32{}
		for i, err := range btrfs.ChangedInodes(t.Context(), after, since) {
			ok(t, err)
			names, err := btrfs.Names(after, i.Inode)
			ok(t, err)
			if len(names) != 1 {
				t.Fatalf("%s: inode %d has the names %q", name, i.Inode, names)
			}
			got[names[0]] = i.Mode & unix.S_IFMT
			if isNew := i.Generation > since; isNew != (names[0] == "dir/new") || i.Transid <= since {
				t.Errorf("%s: %+v", name, i)
			}
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	all := 0
	for i, err := range btrfs.ChangedInodes(t.Context(), live, 0) {
		ok(t, err)
		if all++; all == 1 && i.Inode != 256 {
			t.Errorf("the root comes first, not %+v", i)
		}
	}
	if all != 504 {
		t.Errorf("%d inodes in all", all)
	}
	if end := slices.Collect(first(btrfs.ChangedInodes(t.Context(), live, math.MaxUint64))); len(end) != 0 {
		t.Errorf("since the end of time: %v", end)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range btrfs.ChangedInodes(ctx, live, 0) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("ended context: %v", err)
		}
	}
}

// first gives the first of each pair.
func first[K, V any](pairs func(func(K, V) bool)) func(func(K) bool) {
	return func(yield func(K) bool) {
		pairs(func(k K, _ V) bool { return yield(k) })
	}
}
