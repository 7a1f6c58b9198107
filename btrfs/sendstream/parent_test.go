package sendstream

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// chain makes two snapshots and gives the streams of the first and of what has changed since. The second has clones from the first.
func chain(t *testing.T) (first, second string, full, incremental []byte) {
	t.Helper()
	disk := testdisk.New(t, testdisk.Options{}).Path
	source := filepath.Join(disk, "source")
	run(t, "btrfs", "subvolume", "create", source)
	corpusTree(t, source)
	ok(t, os.WriteFile(filepath.Join(source, "big"), bytes.Repeat([]byte("big"), 100_000), 0o600))
	first = takeSnapshot(t, source, "first")
	corpusChanges(t, source)
	run(t, "cp", "--reflink=always", filepath.Join(source, "big"), filepath.Join(source, "big clone"))
	second = takeSnapshot(t, source, "second")
	return first, second, send(t, first), send(t, "-p", first, second)
}

func receive(dir, name string, stream []byte) error {
	return Receiver{}.Receive(context.Background(), dir, name, bytes.NewReader(stream))
}

// TROUBLE 22, 23: the parent is found in the directory, elsewhere, outside what is mounted, through a bind mount, by either UUID.
func TestReceiverFindsTheParent(t *testing.T) {
	first, second, full, incremental := chain(t)
	t.Run("in the directory", func(t *testing.T) {
		dir := testdisk.New(t, testdisk.Options{}).Path
		ok(t, receive(dir, "a", full))
		ok(t, receive(dir, "b", incremental))
		wantBackup(t, first, filepath.Join(dir, "a"))
		wantBackup(t, second, filepath.Join(dir, "b"))
		wantStamped(t, second, filepath.Join(dir, "b"))
	})
	t.Run("in another directory", func(t *testing.T) {
		disk := testdisk.New(t, testdisk.Options{}).Path
		one, two := filepath.Join(disk, "one"), filepath.Join(disk, "two")
		ok(t, os.Mkdir(one, 0o700))
		ok(t, os.Mkdir(two, 0o700))
		ok(t, receive(one, "a", full))
		ok(t, receive(two, "b", incremental))
		wantBackup(t, second, filepath.Join(two, "b"))
	})
	t.Run("where no mount leads", func(t *testing.T) {
		disk := testdisk.New(t, testdisk.Options{})
		ok(t, receive(disk.Path, "a", full))
		run(t, "btrfs", "subvolume", "create", filepath.Join(disk.Path, "sub"))
		disk.Remount("subvol=sub")
		ok(t, receive(disk.Path, "b", incremental))
		wantBackup(t, second, filepath.Join(disk.Path, "b"))
	})
	t.Run("in a bind mount", func(t *testing.T) {
		disk, bound := testdisk.New(t, testdisk.Options{}).Path, t.TempDir()
		dir := filepath.Join(disk, "dir")
		ok(t, os.Mkdir(dir, 0o700))
		ok(t, unix.Mount(dir, bound, "", unix.MS_BIND, ""))
		t.Cleanup(func() { ok(t, unix.Unmount(bound, 0)) })
		ok(t, receive(bound, "a", full))
		ok(t, receive(bound, "b", incremental))
		wantBackup(t, second, filepath.Join(bound, "b"))
		ok(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "renamed")))
		ok(t, receive(bound, "c", incremental))
		wantBackup(t, second, filepath.Join(bound, "c"))
	})
	t.Run("where it was made", func(t *testing.T) {
		dir := filepath.Dir(first)
		ok(t, receive(dir, "again", incremental))
		wantBackup(t, second, filepath.Join(dir, "again"))
	})
}

// One in the directory comes before one elsewhere, which anyone may have made; a writable one is never taken.
func TestReceiverChoosesTheParent(t *testing.T) {
	_, second, full, incremental := chain(t)
	disk := testdisk.New(t, testdisk.Options{}).Path
	dir, elsewhere := filepath.Join(disk, "dir"), filepath.Join(disk, "elsewhere")
	ok(t, os.Mkdir(dir, 0o700))
	ok(t, os.Mkdir(elsewhere, 0o777))

	missing := func(what string) {
		t.Helper()
		if err := receive(dir, "b", incremental); !errors.Is(err, btrfs.ErrParentMissing) {
			t.Errorf("%s: %v", what, err)
		}
		if exists(filepath.Join(dir, "b")) {
			t.Errorf("%s: something was made", what)
		}
	}
	missing("nothing there")

	// An older one that claims to be it and is empty.
	d := NewDecoder(bytes.NewReader(full))
	begin, err := d.Next()
	ok(t, err)
	id := begin.UUID(AttrUUID)
	ok(t, btrfs.Create(elsewhere, "forged"))
	ok(t, btrfs.SetReceived(filepath.Join(elsewhere, "forged"), id, 1))
	missing("a writable one")
	ok(t, btrfs.SetReadOnly(filepath.Join(elsewhere, "forged")))

	ok(t, receive(dir, "a", full))
	ok(t, receive(dir, "b", incremental))
	wantBackup(t, second, filepath.Join(dir, "b"))

	// Without the right one, what the forged one gives is an error and not a backup.
	s, err := btrfs.Info(filepath.Join(dir, "a"))
	ok(t, err)
	ok(t, btrfs.Delete(dir, "a", s.UUID))
	if err := receive(dir, "c", incremental); err == nil {
		t.Error("an empty parent was accepted")
	}
}

func TestReceiverCloneSources(t *testing.T) {
	first, second, full, _ := chain(t)
	disk := testdisk.New(t, testdisk.Options{}).Path
	// A full stream that clones from the other: the program cannot make it, the ioctl can.
	info, err := btrfs.Info(first)
	ok(t, err)
	s, err := btrfs.Send{Subvolume: second, CloneSources: []uint64{info.ID}}.Start(t.Context())
	ok(t, err)
	var stream bytes.Buffer
	_, err = stream.ReadFrom(s)
	ok(t, err)
	ok(t, s.Close())
	if stream.Len() > 100_000 {
		t.Fatalf("%d bytes: nothing is cloned", stream.Len())
	}

	if err := receive(disk, "b", stream.Bytes()); !errors.Is(err, btrfs.ErrCloneSource) {
		t.Errorf("no clone source: %v", err)
	}
	wantLeftover(t, disk, "b")

	// One that has the UUID but not the content.
	ok(t, btrfs.Create(disk, "wrong"))
	ok(t, btrfs.SetReceived(filepath.Join(disk, "wrong"), info.UUID, 1))
	ok(t, btrfs.SetReadOnly(filepath.Join(disk, "wrong")))
	if err := receive(disk, "b", stream.Bytes()); !errors.Is(err, btrfs.ErrCloneSource) {
		t.Errorf("wrong clone source: %v", err)
	}
	for _, name := range []string{"wrong", "b"} {
		s, err := btrfs.Info(filepath.Join(disk, name))
		ok(t, err)
		ok(t, btrfs.Delete(disk, name, s.UUID))
	}

	ok(t, receive(disk, "a", full))
	ok(t, receive(disk, "b", stream.Bytes()))
	wantBackup(t, second, filepath.Join(disk, "b"))
}
