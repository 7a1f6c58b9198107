package btrfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

func TestSameContent(t *testing.T) {
	const readOnly, writable = true, false
	subvolume := func(uuid, received byte, readOnly bool) btrfs.Subvolume {
		return btrfs.Subvolume{UUID: btrfs.UUID{uuid}, ReceivedUUID: btrfs.UUID{received}, ReadOnly: readOnly}
	}
	for name, tc := range map[string]struct {
		a, b btrfs.Subvolume
		want bool
	}{
		"received from the other":      {subvolume(1, 0, readOnly), subvolume(2, 1, readOnly), true},
		"both from the same origin":    {subvolume(2, 1, readOnly), subvolume(3, 1, readOnly), true},
		"the same one":                 {subvolume(1, 0, readOnly), subvolume(1, 0, readOnly), true},
		"unrelated":                    {subvolume(1, 0, readOnly), subvolume(2, 0, readOnly), false},
		"unrelated and received":       {subvolume(1, 3, readOnly), subvolume(2, 4, readOnly), false},
		"without any uuid":             {subvolume(0, 0, readOnly), subvolume(0, 0, readOnly), false},
		"without uuid, not received":   {subvolume(0, 0, readOnly), subvolume(2, 0, readOnly), false},
		"copy made writable":           {subvolume(1, 0, readOnly), subvolume(2, 1, writable), false},
		"origin writable":              {subvolume(1, 0, writable), subvolume(2, 1, readOnly), false},
		"parent and received differ":   {subvolume(1, 9, readOnly), subvolume(2, 3, readOnly), false},
		"received copy of a copy":      {subvolume(2, 1, readOnly), subvolume(3, 2, readOnly), true},
		"crossed, each from the other": {subvolume(1, 2, readOnly), subvolume(2, 1, readOnly), true},
	} {
		if got := btrfs.SameContent(tc.a, tc.b); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
		if got := btrfs.SameContent(tc.b, tc.a); got != tc.want {
			t.Errorf("%s, exchanged: %v", name, got)
		}
	}
}

func TestStreamUUID(t *testing.T) {
	if got := (btrfs.Subvolume{UUID: btrfs.UUID{1}}).StreamUUID(); got != (btrfs.UUID{1}) {
		t.Errorf("not received: %v", got)
	}
	if got := (btrfs.Subvolume{UUID: btrfs.UUID{1}, ReceivedUUID: btrfs.UUID{2}}).StreamUUID(); got != (btrfs.UUID{2}) {
		t.Errorf("received: %v", got)
	}
}

func TestInfo(t *testing.T) {
	d := newDisk(t)
	live := create(t, d, "live")
	top := info(t, d)
	if top.ID != 5 || top.ParentID != 0 || top.Name != "" || top.ReadOnly {
		t.Errorf("top level %+v", top)
	}
	s := info(t, live)
	if s.ID < 256 || s.ParentID != 5 || s.DirID != 256 || s.Name != "live" || s.UUID.IsZero() || s.ReadOnly ||
		!s.ParentUUID.IsZero() || !s.ReceivedUUID.IsZero() || time.Since(s.Created).Abs() > time.Minute {
		t.Errorf("subvolume %+v", s)
	}
	snap := info(t, snapshot(t, live, d, "snapshot"))
	if !snap.ReadOnly || snap.ParentUUID != s.UUID || snap.Ctransid < s.Otransid || snap.Otransid < s.Otransid {
		t.Errorf("snapshot %+v of %+v", snap, s)
	}

	dir := filepath.Join(live, "dir")
	ok(t, os.Mkdir(dir, 0o755))
	inside, err := btrfs.Containing(dir)
	ok(t, err)
	if inside.UUID != s.UUID {
		t.Errorf("Containing(%s) = %+v", dir, inside)
	}
	link := filepath.Join(t.TempDir(), "link")
	ok(t, os.Symlink(live, link))
	if got := info(t, link); got.UUID != s.UUID {
		t.Errorf("through a symbolic link: %+v", got)
	}

	file := filepath.Join(live, "file")
	write(t, file, nil)
	create(t, live, "nested")
	stub := filepath.Join(snapshot(t, live, d, "with stub"), "nested")
	ext4 := testdisk.New(t, testdisk.Options{Format: "ext4"}).Path
	for path, want := range map[string]error{
		dir: btrfs.ErrNotSubvolume, stub: btrfs.ErrNotSubvolume, file: syscall.ENOTDIR,
		ext4: btrfs.ErrNotBtrfs, "/proc": btrfs.ErrNotBtrfs, d + "/absent": os.ErrNotExist,
	} {
		if _, err := btrfs.Info(path); !errors.Is(err, want) {
			t.Errorf("Info(%s): %v, want %v", path, err, want)
		}
	}
}

// To look at a subvolume is not to change it.
func TestInfoLeavesSourceUnchanged(t *testing.T) {
	d := testdisk.New(t, testdisk.Options{MountOptions: "strictatime"}).Path
	live := create(t, d, "live")
	ok(t, os.Mkdir(filepath.Join(live, "snapshots"), 0o755))
	ok(t, btrfs.Sync(d))
	before := info(t, live)
	time.Sleep(20 * time.Millisecond)
	list(t, live)
	_, err := btrfs.LocateDir(filepath.Join(live, "snapshots"))
	ok(t, err)
	_, err = btrfs.Stat(live)
	ok(t, err)
	ok(t, btrfs.Sync(d))
	if after := info(t, live); after != before {
		t.Errorf("%+v, before %+v", after, before)
	}
}
