package sendstream

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// Who owns the destination may wish by a property of its subvolume that what is stored there is compressed, wherever in it: so it is, with btrfs receive and with Receiver, in full, incremental and
// resumed. Other properties than that one files have only if the source's have. From when the wish is another one, so it is for what is new.
func TestCompressionOfDestination(t *testing.T) {
	l := newLab(t, "")
	for _, root := range []string{l.progs, l.native} {
		ok(t, unix.Setxattr(root, xattrCompression, []byte("zstd:3"), 0))
		ok(t, os.MkdirAll(filepath.Join(root, "backups/here"), 0o700))
	}
	l.progs, l.native = filepath.Join(l.progs, "backups/here"), filepath.Join(l.native, "backups/here")
	live := filepath.Join(l.source, "live")
	ok(t, btrfs.Create(l.source, "live"))
	text := bytes.Repeat([]byte("How well this compresses.\n"), 10_000)
	write := func(name string) {
		t.Helper()
		ok(t, os.MkdirAll(filepath.Dir(filepath.Join(live, name)), 0o700))
		ok(t, os.WriteFile(filepath.Join(live, name), text, 0o600))
	}
	write("in the root")
	write("dir/in a directory")
	takeSnapshot(t, live, "0")
	write("dir/later")
	write("later/in a new directory")
	// A file that has lain there before the directory had a property, and one that has it.
	ok(t, os.Mkdir(filepath.Join(live, "lzo"), 0o700))
	write("lzo/without")
	ok(t, unix.Setxattr(filepath.Join(live, "lzo"), xattrCompression, []byte("lzo"), 0))
	write("lzo/with")
	ok(t, os.Mkdir(filepath.Join(live, "long"), 0o700))
	ok(t, unix.Setxattr(filepath.Join(live, "long"), xattrCompression, []byte("zlib"+strings.Repeat(" and so on", 20)), 0)) // the kernel takes it
	write("long/with")
	takeSnapshot(t, live, "1")
	ok(t, l.apply(t, Receiver{}, "0"))
	increment := send(t, "-p", filepath.Join(l.source, "0"), filepath.Join(l.source, "1"))
	places := keepSome(t, l, "1", increment, 5)
	want := map[string]string{
		".": "zstd", "in the root": "zstd", "dir": "zstd", "dir/in a directory": "zstd", "dir/later": "zstd", "later/in a new directory": "zstd",
		"lzo": "lzo", "lzo/with": "lzo", "lzo/without": "zstd",
	}
	check := func(name string) {
		t.Helper()
		diffs, err := testdisk.Compare(filepath.Join(l.source, name), filepath.Join(l.native, name))
		ok(t, err)
		for _, diff := range diffs {
			if !strings.HasSuffix(diff, `xattrs: "", "btrfs.compression=\"zstd\" "`) {
				t.Error(diff)
			}
		}
		for path, property := range want {
			path := filepath.Join(l.native, name, path)
			if _, err := os.Stat(path); os.IsNotExist(err) && name == "0" {
				continue
			}
			got, err := compression(func(name string, value []byte) (int, error) { return unix.Getxattr(path, name, value) })
			ok(t, err)
			if got != property {
				t.Errorf("%s is to be compressed by %q, want %q", path, got, property)
			}
		}
		if !hasEncoded(t, filepath.Join(l.native, name)) {
			t.Errorf("%s is not compressed", name)
		}
	}
	check("0")
	check("1")
	ok(t, btrfs.Snapshot(filepath.Join(l.native, places[0].name), l.native, "again", false))
	from := Checkpoint{identityOf(t, increment), places[0].at}
	ok(t, Receiver{}.Resume(context.Background(), l.native, "again", from, bytes.NewReader(increment[from.Offset:])))
	drop(t, l.native, "1")
	ok(t, btrfs.Rename(l.native, "again", "1"))
	check("1")

	write("dir/at last")
	takeSnapshot(t, live, "2")
	ok(t, unix.Setxattr(filepath.Dir(filepath.Dir(l.native)), xattrCompression, []byte("lzo"), 0))
	ok(t, receive(l.native, "2", send(t, "-p", filepath.Join(l.source, "1"), filepath.Join(l.source, "2"))))
	for path, want := range map[string]string{"dir/at last": "lzo", "dir/later": "zstd"} {
		got, err := compression(func(name string, value []byte) (int, error) {
			return unix.Getxattr(filepath.Join(l.native, "2", path), name, value)
		})
		ok(t, err)
		if got != want {
			t.Errorf("%s is to be compressed by %q, want %q", path, got, want)
		}
	}
}
