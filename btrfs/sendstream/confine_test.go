package sendstream

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// Whatever a stream says, nothing outside the new subvolume is made, changed, read or opened; and nothing in it by way of a symbolic link.
func TestReceiverStaysInside(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{}).Path
	outside, dir := filepath.Join(disk, "outside"), filepath.Join(disk, "dir")
	ok(t, os.Mkdir(outside, 0o755))
	ok(t, os.Mkdir(dir, 0o700))
	ok(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600))
	ok(t, os.Mkdir(filepath.Join(outside, "empty"), 0o700))
	before, err := testdisk.Digest(outside)
	ok(t, err)

	for _, row := range escapes(outside) {
		wantRefused(t, dir, row.name, streamOf(t, 2, row.commands...))
		after, err := testdisk.Digest(outside)
		ok(t, err)
		if after != before {
			t.Fatalf("%s: something outside has changed", row.name)
		}
	}

	// These succeed on the link itself.
	ino, zero := Uint(AttrIno, 300), Timespec{}
	raw := streamOf(t, 1, subvol, command(CmdSymlink, path("l"), ino, Text(AttrPathLink, outside)),
		command(CmdChown, path("l"), Uint(AttrUID, 1000), Uint(AttrGID, 1000)),
		command(CmdUtimes, path("l"), Time(AttrAtime, zero), Time(AttrMtime, zero), Time(AttrCtime, zero)),
		command(CmdSetXattr, path("l"), Text(AttrXattrName, "trusted.x"), Value{AttrXattrData, []byte("x")}), command(CmdRename, path("l"), Text(AttrPathTo, "m")), end)
	ok(t, Receiver{}.Receive(context.Background(), dir, "received", bytes.NewReader(raw)))
	after, err := testdisk.Digest(outside)
	ok(t, err)
	if after != before {
		t.Error("something outside has changed")
	}
}

// Before Linux 6.6 the mode is changed by way of a descriptor, and never that of what a symbolic link leads to.
func TestChmodBeforeLinux6_6(t *testing.T) {
	root := t.TempDir()
	file, link := filepath.Join(root, "file"), filepath.Join(root, "link")
	ok(t, os.WriteFile(file, nil, 0o600))
	ok(t, os.Symlink("file", link))
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	ok(t, err)
	tree, err := newTree(fd)
	ok(t, err)
	defer tree.close()
	if err := tree.chmodAt("link", 0o666); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("a symbolic link: %v", err)
	}
	mode := func() os.FileMode {
		fi, err := os.Stat(file)
		ok(t, err)
		return fi.Mode()
	}
	if got := mode(); got != 0o600 {
		t.Errorf("%v, by way of a link", got)
	}
	ok(t, tree.chmodAt("file", 0o4755))
	if got := mode(); got != 0o755|os.ModeSetuid {
		t.Errorf("%v", got)
	}
}

// escapes gives streams that are well-formed and reach for outside, a directory with a file called secret in it, through symbolic links or otherwise. Others reach for
// a directory like it of their own, through symbolic links: no kernel sends a path through one.
func escapes(outside string) []row {
	ino, zero := Uint(AttrIno, 300), Timespec{}
	link := func(name, target string) handmade {
		return command(CmdSymlink, path(name), ino, Text(AttrPathLink, target))
	}
	clone := func(from string) handmade { return cloneOf(testUUID, from) }
	rename := func(from, to string) handmade { return command(CmdRename, path(from), Text(AttrPathTo, to)) }
	var rows []row
	for _, acts := range []row{
		{"write", []handmade{write("l/secret", 0, []byte("x"))}},
		{"write link", []handmade{write("s", 0, []byte("x"))}},
		{"mkfile", []handmade{mkfile("l/new")}},
		{"mkfile link", []handmade{mkfile("dangling"), write("dangling", 0, []byte("x"))}},
		{"mkfile renamed", []handmade{mkfile("o1"), rename("o1", "l/new")}},
		{"mkdir", []handmade{command(CmdMkdir, path("l/new"), ino)}},
		{"mknod", []handmade{command(CmdMknod, path("l/new"), ino, Uint(AttrMode, unix.S_IFCHR), Uint(AttrRdev, 1<<8|3))}},
		{"mkfifo", []handmade{command(CmdMkfifo, path("l/new"), ino)}},
		{"mksock", []handmade{command(CmdMksock, path("l/new"), ino)}},
		{"symlink", []handmade{link("l/new", "x")}},
		{"rename into", []handmade{rename("f", "l/new")}},
		{"rename from", []handmade{rename("l/secret", "stolen")}},
		{"link into", []handmade{command(CmdLink, path("l/new"), Text(AttrPathLink, "f"))}},
		{"link from", []handmade{command(CmdLink, path("stolen"), Text(AttrPathLink, "l/secret"))}},
		{"unlink", []handmade{command(CmdUnlink, path("l/secret"))}},
		{"rmdir", []handmade{command(CmdRmdir, path("l/empty"))}},
		{"rmdir link", []handmade{command(CmdRmdir, path("l"))}},
		{"truncate", []handmade{command(CmdTruncate, path("l/secret"), Uint(AttrSize, 0))}},
		{"truncate link", []handmade{command(CmdTruncate, path("s"), Uint(AttrSize, 0))}},
		{"chmod", []handmade{command(CmdChmod, path("l/secret"), Uint(AttrMode, 0o777))}},
		{"chmod link", []handmade{command(CmdChmod, path("s"), Uint(AttrMode, 0o777))}},
		{"chown", []handmade{command(CmdChown, path("l/secret"), Uint(AttrUID, 1000), Uint(AttrGID, 1000))}},
		{"utimes", []handmade{command(CmdUtimes, path("l/secret"), Time(AttrAtime, zero), Time(AttrMtime, zero), Time(AttrCtime, zero))}},
		{"set xattr", []handmade{command(CmdSetXattr, path("l/secret"), Text(AttrXattrName, "user.x"), Value{AttrXattrData, []byte("x")})}},
		{"set xattr link", []handmade{command(CmdSetXattr, path("s"), Text(AttrXattrName, "user.x"), Value{AttrXattrData, []byte("x")})}},
		{"remove xattr", []handmade{command(CmdRemoveXattr, path("l/secret"), Text(AttrXattrName, "user.x"))}},
		{"clone", []handmade{clone("l/secret")}},
		{"clone link", []handmade{clone("s")}},
		{"clone fifo", []handmade{command(CmdMkfifo, path("fifo"), ino), clone("fifo")}},
		{"write fifo", []handmade{command(CmdMkfifo, path("fifo"), ino), write("fifo", 0, []byte("x"))}},
		{"write device", []handmade{command(CmdMknod, path("null"), ino, Uint(AttrMode, unix.S_IFCHR), Uint(AttrRdev, 1<<8|3)),
			write("null", 0, []byte("x"))}},
		{"write dir", []handmade{command(CmdMkdir, path("d"), ino), write("d", 0, []byte("x"))}},
		{"file as dir", []handmade{mkfile("f/x")}},
		{"swapped", []handmade{command(CmdMkdir, path("d"), ino), mkfile("d/f"), rename("d", "e"), rename("l", "d"), mkfile("d/new")}},
		{"swapped over", []handmade{command(CmdMkdir, path("d"), ino), command(CmdRmdir, path("d")), rename("l", "d"), mkfile("d/new")}},
	} {
		own := []handmade{command(CmdMkdir, path("own"), ino), mkfile("own/secret"), command(CmdMkdir, path("own/empty"), ino)}
		for _, to := range []string{outside, "../../outside", "own"} {
			commands := slices.Concat([]handmade{subvol, mkfile("f"), link("l", to), link("s", to+"/secret"), link("dangling", to+"/new")}, own, acts.commands)
			rows = append(rows, row{acts.name + " " + to, append(commands, end)})
		}
	}
	return rows
}

// cloneOf clones the whole of a file of the subvolume id into f.
func cloneOf(id btrfs.UUID, from string) handmade {
	return command(CmdClone, path("f"), Uint(AttrFileOffset, 0), Uint(AttrCloneLen, 0), UUID(AttrCloneUUID, id),
		Uint(AttrCloneCtransid, 77), Text(AttrClonePath, from), Uint(AttrCloneOffset, 0))
}

// wantRefused demands an error soon, and nothing that looks like a backup.
func wantRefused(t *testing.T, dir, name string, stream []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := (Receiver{}).Receive(ctx, dir, "received", bytes.NewReader(stream)); err == nil || ctx.Err() != nil {
		t.Errorf("%s: %v", name, err)
	}
	wantLeftover(t, dir, "received")
}

// wantLeftover demands that what is in dir cannot be taken for a backup, and deletes it.
func wantLeftover(t testing.TB, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	ok(t, err)
	for _, e := range entries {
		s, err := btrfs.Info(filepath.Join(dir, e.Name()))
		ok(t, err)
		if e.Name() != name || s.ReadOnly || !s.ReceivedUUID.IsZero() {
			t.Errorf("%s: %+v", e.Name(), s)
		}
		ok(t, btrfs.Delete(dir, e.Name(), s.UUID))
	}
}

// Streams that are malformed leave nothing that looks complete.
func TestReceiverRefusesBrokenStreams(t *testing.T) {
	dir := testdisk.New(t, testdisk.Options{}).Path
	c := corpora(t)[slices.IndexFunc(corpora(t), func(c corpus) bool { return c.name == "v2-compressed.stream" })]
	receive := func(raw []byte) error {
		return Receiver{}.Receive(context.Background(), dir, "received", bytes.NewReader(raw))
	}
	var ends []int64
	d := NewDecoder(bytes.NewReader(c.stream))
	for _, err := d.Next(); err == nil; _, err = d.Next() {
		ends = append(ends, d.Offset())
	}
	for _, at := range ends {
		for _, n := range []int64{at - 1, at} {
			if n == int64(len(c.stream)) {
				continue
			}
			if err := receive(c.stream[:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("cut at %d: %v", n, err)
			}
			wantLeftover(t, dir, "received")
		}
		flipped := bytes.Clone(c.stream)
		flipped[at-1] ^= 4
		if err := receive(flipped); !errors.Is(err, ErrCorrupt) {
			t.Errorf("changed at %d: %v", at, err)
		}
		wantLeftover(t, dir, "received")
	}
	for name, raw := range map[string][]byte{
		"garbage after END": append(bytes.Clone(c.stream), 0),
		"two streams":       append(bytes.Clone(c.stream), c.stream...),
		"no UUID":           streamOf(t, 1, command(CmdSubvol, path("x"), UUID(AttrUUID, btrfs.UUID{}), Uint(AttrCtransid, 1)), end),
		"no data":           streamOf(t, 1, subvol, mkfile("f"), command(CmdUpdateExtent, path("f"), Uint(AttrFileOffset, 0), Uint(AttrSize, 5)), end),
		"encrypted": streamOf(t, 2, subvol, mkfile("f"), command(CmdEncodedWrite, path("f"), Uint(AttrFileOffset, 0), Uint(AttrUnencodedFileLen, 5),
			Uint(AttrUnencodedLen, 5), Uint(AttrUnencodedOffset, 0), Uint(AttrEncryption, 1), Value{AttrData, []byte("12345")}), end),
		"too long": streamOf(t, 2, subvol, mkfile("f"), command(CmdEncodedWrite, path("f"), Uint(AttrFileOffset, 0), Uint(AttrUnencodedFileLen, 1<<40),
			Uint(AttrUnencodedLen, 1<<40), Uint(AttrUnencodedOffset, 0), Uint(AttrCompression, 1), Value{AttrData, []byte("12345")}), end),
		"beyond": streamOf(t, 2, subvol, mkfile("f"), command(CmdEncodedWrite, path("f"), Uint(AttrFileOffset, 0), Uint(AttrUnencodedFileLen, 4096),
			Uint(AttrUnencodedLen, 4096), Uint(AttrUnencodedOffset, 1<<64-4096), Uint(AttrCompression, 1), Value{AttrData, []byte("12345")}), end),
	} {
		if err := receive(raw); err == nil {
			t.Errorf("%s: accepted", name)
		}
		wantLeftover(t, dir, "received")
	}
	ok(t, receive(c.stream))
}
