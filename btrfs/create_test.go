package btrfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
	"golang.org/x/sys/unix"
)

func TestSnapshot(t *testing.T) {
	d, other := newDisk(t), newDisk(t)
	live := create(t, d, "live")
	write(t, filepath.Join(live, "file"), []byte("before"))
	path := snapshot(t, live, d, "read-only")
	ok(t, btrfs.Snapshot(live, d, "writable", false))
	write(t, filepath.Join(live, "file"), []byte("after"))
	content, err := os.ReadFile(filepath.Join(path, "file"))
	ok(t, err)
	if string(content) != "before" {
		t.Errorf("the snapshot has %q", content)
	}
	if err := os.WriteFile(filepath.Join(path, "file"), nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("writing to a read-only snapshot: %v", err)
	}
	if info(t, filepath.Join(d, "writable")).ReadOnly {
		t.Error("the writable snapshot is read-only")
	}

	dir := filepath.Join(d, "dir")
	ok(t, os.Mkdir(dir, 0o755))
	for name, tc := range map[string]struct {
		source, dir, name string
		want              string
		is                error
	}{
		"taken":         {live, d, "read-only", "", os.ErrExist},
		"taken by dir":  {live, d, "dir", "", os.ErrExist},
		"elsewhere":     {live, other, "snapshot", "not on the same file system", unix.EXDEV},
		"no subvolume":  {dir, d, "snapshot", "", btrfs.ErrNotSubvolume},
		"absent dir":    {live, d + "/absent", "snapshot", "", os.ErrNotExist},
		"absent source": {d + "/absent", d, "snapshot", "", os.ErrNotExist},
		"not btrfs":     {live, "/proc", "snapshot", "", btrfs.ErrNotBtrfs},
		"read-only dir": {live, path, "snapshot", "", unix.EROFS},
		"long":          {live, d, strings.Repeat("x", 256), "", unix.ENAMETOOLONG},
		"slash":         {live, d, "a/b", "slash", nil},
		"zero byte":     {live, d, "a\x00b", "zero byte", nil},
		"empty":         {live, d, "", "cannot name", nil},
	} {
		err := btrfs.Snapshot(tc.source, tc.dir, tc.name, true)
		if err == nil || !strings.Contains(err.Error(), tc.want) || tc.is != nil && !errors.Is(err, tc.is) {
			t.Errorf("%s: %v, want %v with %q", name, err, tc.is, tc.want)
		}
	}
}

func TestRename(t *testing.T) {
	d := newDisk(t)
	live := create(t, d, "live")
	id := info(t, snapshot(t, live, d, "one")).UUID
	for _, name := range oddNames() {
		ok(t, btrfs.Rename(d, "one", name))
		if got := info(t, filepath.Join(d, name)); got.UUID != id || got.Name != name {
			t.Fatalf("%+v under the name %q", got, name)
		}
		ok(t, btrfs.Rename(d, name, "one"))
	}

	ok(t, os.Mkdir(filepath.Join(d, "dir"), 0o755))
	write(t, filepath.Join(d, "file"), nil)
	ok(t, os.Symlink("one", filepath.Join(d, "link")))
	for _, tc := range []struct {
		from, to string
		is       error
	}{
		{"one", "live", os.ErrExist},
		{"one", "dir", os.ErrExist},
		{"one", "file", os.ErrExist},
		{"absent", "free", os.ErrNotExist},
		{"dir", "free", btrfs.ErrNotSubvolume},
		{"link", "free", btrfs.ErrNotSubvolume},
		{"one", "a/b", nil},
		{"../one", "free", nil},
	} {
		if err := btrfs.Rename(d, tc.from, tc.to); err == nil || tc.is != nil && !errors.Is(err, tc.is) {
			t.Errorf("%s to %s: %v, want %v", tc.from, tc.to, err, tc.is)
		}
	}
	if got := info(t, filepath.Join(d, "one")); got.UUID != id {
		t.Errorf("%+v is not the snapshot", got)
	}
}

func TestSetReceivedAndReadOnly(t *testing.T) {
	d := newDisk(t)
	path := create(t, d, "received")
	origin := btrfs.UUID{1, 2, 3}
	ok(t, btrfs.SetReceived(path, origin, 42))
	ok(t, btrfs.SetReadOnly(path))
	ok(t, btrfs.SetReadOnly(path))
	if s := info(t, path); s.ReceivedUUID != origin || s.Stransid != 42 || s.Rtransid == 0 || !s.ReadOnly {
		t.Errorf("%+v", s)
	}
	if err := btrfs.SetReceived(path, origin, 43); !errors.Is(err, unix.EROFS) {
		t.Errorf("SetReceived of a read-only subvolume: %v", err)
	}
}
