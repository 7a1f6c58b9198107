package sendstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// What the decoder refuses, a Receiver does, and leaves nothing that looks like a backup.
func TestReceiverRefusesMalformedStreams(t *testing.T) {
	dir := testdisk.New(t, testdisk.Options{InMemory: true}).Path
	for _, row := range malformed() {
		for version := 1; version <= MaxVersion; version++ {
			if err := receive(dir, "received", streamOf(t, version, row.commands...)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: %v", row.name, err)
			}
			wantLeftover(t, dir, "received")
		}
	}
}

// small is a stream of a few hundred bytes with commands of many kinds.
func small(t testing.TB) []byte {
	ino := Uint(AttrIno, 257)
	return streamOf(t, 2, subvol,
		command(CmdChown, path(""), Uint(AttrUID, 0), Uint(AttrGID, 0)),
		mkfile("o1"), command(CmdRename, path("o1"), Text(AttrPathTo, "f")), write("f", 0, []byte("data")),
		command(CmdMkdir, path("d"), ino), command(CmdSymlink, path("l"), ino, Text(AttrPathLink, "f")),
		mkfile("c"), write("c", 0, []byte("cloned")), cloneOf(testUUID, "c"), command(CmdLink, path("d/g"), Text(AttrPathLink, "f")),
		command(CmdSetXattr, path("f"), Text(AttrXattrName, "user.a"), Value{AttrXattrData, []byte("b")}),
		command(CmdEncodedWrite, path("f"), Uint(AttrFileOffset, 4096), Uint(AttrUnencodedFileLen, 4), Uint(AttrUnencodedLen, 4),
			Uint(AttrUnencodedOffset, 0), Uint(AttrCompression, 0), Value{AttrData, []byte("more")}),
		command(CmdFallocate, path("f"), Uint(AttrFallocateMode, unix.FALLOC_FL_KEEP_SIZE), Uint(AttrFileOffset, 0), Uint(AttrSize, 9000)),
		command(CmdChmod, path("f"), Uint(AttrMode, 0o600)), end)
}

// TROUBLE 3: a stream that is cut at any byte is an error.
func TestReceiverCutAnywhere(t *testing.T) {
	dir, raw := testdisk.New(t, testdisk.Options{InMemory: true}).Path, small(t)
	for n := range raw {
		if err := receive(dir, "received", raw[:n]); !errors.Is(err, ErrCorrupt) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v", n, err)
		}
		wantLeftover(t, dir, "received")
	}
	ok(t, receive(dir, "received", raw))
}

// A stream with any byte changed is an error: its checksum is wrong, or it is no stream at all.
func TestReceiverAnyByteChanged(t *testing.T) {
	dir, raw := testdisk.New(t, testdisk.Options{InMemory: true}).Path, small(t)
	for n := range raw {
		raw[n] ^= 1 << (n % 8)
		if err := receive(dir, "received", raw); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Errorf("byte %d changed: %v", n, err)
		}
		wantLeftover(t, dir, "received")
		raw[n] ^= 1 << (n % 8)
	}
}

// A stream clones from what is read-only and has a UUID that it knows, as the parent is found; from nothing else, and by no other way: not through a link, even to what is in there as well, and
// not from what is mounted in there.
func TestReceiverClonesFromNowhereElse(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{InMemory: true}).Path
	dir := filepath.Join(disk, "dir")
	ok(t, os.Mkdir(dir, 0o700))
	data := bytes.Repeat([]byte("secret"), 4096)
	ok(t, os.WriteFile(filepath.Join(disk, "outside"), data, 0o600))
	mounted := filepath.Join(disk, "mounted")
	ok(t, os.Mkdir(mounted, 0o700))
	ok(t, os.WriteFile(filepath.Join(mounted, "file"), data, 0o600))
	// Both hold a file, links to it and to one outside, mounts of the same file system, and a subvolume with another.
	ids := map[string]btrfs.UUID{"unknown": {1}, "none": {}}
	for _, name := range []string{"live", "kept"} {
		ok(t, btrfs.Create(disk, name))
		root := filepath.Join(disk, name)
		ok(t, os.WriteFile(filepath.Join(root, "file"), data, 0o600))
		ok(t, os.Symlink("../outside", filepath.Join(root, "link")))
		ok(t, os.Symlink("..", filepath.Join(root, "up")))
		ok(t, os.Symlink("file", filepath.Join(root, "own")))
		ok(t, os.Symlink(".", filepath.Join(root, "here")))
		ok(t, os.Mkdir(filepath.Join(root, "mount"), 0o700))
		ok(t, unix.Mount(mounted, filepath.Join(root, "mount"), "", unix.MS_BIND, ""))
		t.Cleanup(func() { ok(t, unix.Unmount(filepath.Join(root, "mount"), 0)) })
		ok(t, os.WriteFile(filepath.Join(root, "hidden"), nil, 0o600))
		ok(t, unix.Mount(filepath.Join(mounted, "file"), filepath.Join(root, "hidden"), "", unix.MS_BIND, ""))
		t.Cleanup(func() { ok(t, unix.Unmount(filepath.Join(root, "hidden"), 0)) })
		ok(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o600))
		ok(t, btrfs.Create(root, "nested"))
		ok(t, os.WriteFile(filepath.Join(root, "nested", "file"), data, 0o600))
		s, err := btrfs.Info(root)
		ok(t, err)
		ids[name] = s.UUID
	}
	ok(t, btrfs.SetReadOnly(filepath.Join(disk, "kept")))
	top, err := btrfs.Info(disk)
	ok(t, err)
	ids["top"] = top.UUID
	for _, test := range []struct{ from, path string }{
		{"live", "file"}, {"unknown", "file"}, {"none", "file"}, {"top", "outside"},
		{"kept", "link"}, {"kept", "up/outside"}, {"kept", "up"}, {"kept", "fifo"}, {"kept", "nothing"},
		{"kept", "own"}, {"kept", "here/file"}, {"kept", "mount/file"}, {"kept", "hidden"}, {"kept", "nested/file"},
	} {
		err := receive(dir, "received", streamOf(t, 1, subvol, mkfile("f"), cloneOf(ids[test.from], test.path), end))
		if !errors.Is(err, btrfs.ErrCloneSource) {
			t.Errorf("clone of %s from %s: %v", test.path, test.from, err)
		}
		wantLeftover(t, dir, "received")
	}
	ok(t, receive(dir, "received", streamOf(t, 1, subvol, mkfile("f"), cloneOf(ids["kept"], "file"), end)))
}

// What a stream claims without sending it costs an error, and no more room on the disk than was sent.
func TestReceiverHugeClaims(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{InMemory: true}).Path
	for _, h := range claims() {
		err := Receiver{Decompress: h.decompress}.Receive(context.Background(), disk, "received", h.stream())
		if err == nil {
			t.Errorf("%s: accepted", h.name)
		}
		wantLeftover(t, disk, "received")
	}
}
