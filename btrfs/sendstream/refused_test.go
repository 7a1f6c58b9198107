package sendstream

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// A disk without checksums cannot hold compressed extents, so that BTRFS_IOC_ENCODED_WRITE refuses them: their content is written, in full and incrementally,
// and of an extent of which a file has a part, that part.
func TestEncodedWriteRefused(t *testing.T) {
	for _, algorithm := range []string{"zlib", "lzo", "zstd"} {
		t.Run(algorithm, func(t *testing.T) {
			l := newLab(t, "compress-force="+algorithm)
			l.native = testdisk.New(t, testdisk.Options{MountOptions: "nodatacow"}).Path
			tree := filepath.Join(l.source, "tree")
			run(t, "btrfs", "subvolume", "create", tree)
			testdisk.Tree(t, tree, testdisk.Spec{Seed: 8, Files: 40, MaxSize: 256 << 10})
			s := scene{t, tree}
			s.text("cut", strings.Repeat("How well this compresses.\n", 50_000))
			args := []string{"--proto", "2", "--compressed-data"}
			for n := range 4 {
				name := fmt.Sprint(n)
				s.text("text", strings.Repeat("How well this compresses: "+name+"\n", 50_000))
				takeSnapshot(t, tree, name)
				if n == 3 { // in full, with what is left of the first extents
					args = args[:3]
					wantSent(t, []string{"encoded_write cut .*unencoded_offset=[1-9]"}, "compressed", send(t, append(args, filepath.Join(l.source, name))...))
				}
				if !hasEncoded(t, filepath.Join(l.source, name)) {
					t.Fatal("nothing is sent compressed: the test is no test")
				}
				ok(t, l.apply(t, Receiver{}, name, args...))
				wantBackup(t, filepath.Join(l.source, name), filepath.Join(l.native, name))
				if hasEncoded(t, filepath.Join(l.native, name)) {
					t.Error("the disk has taken it compressed: the test is no test")
				}
				ok(t, testdisk.Mutate(tree, uint64(n), 40))
				s.write("cut", int64(40_000+150_000*n), strings.Repeat("changed", 1000))
				args = append(args[:3:3], "-p", filepath.Join(l.source, name))
			}
		})
	}
}

// For whichever of its reasons the kernel refuses a compressed extent, the content is written, of all of it or of a part; the next extent is stored as it is again. What it refuses for another
// reason is an error.
func TestEncodedWriteRefusedFor(t *testing.T) {
	dir := testdisk.New(t, testdisk.Options{InMemory: true}).Path
	text := []byte(strings.Repeat("How well this compresses.\n", 2000)[:32<<10])
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, err := w.Write(text)
	ok(t, err)
	ok(t, w.Close())
	extent := func(at, from, n uint64) handmade {
		return command(CmdEncodedWrite, path("f"), Uint(AttrFileOffset, at), Uint(AttrUnencodedFileLen, n), Uint(AttrUnencodedLen, uint64(len(text))),
			Uint(AttrUnencodedOffset, from), Uint(AttrCompression, compressionZlib), Value{AttrData, z.Bytes()})
	}
	raw := streamOf(t, 2, subvol, mkfile("f"), extent(0, 0, 32<<10), extent(32<<10, 8<<10, 12<<10), extent(44<<10, 4<<10, 16<<10), end)
	want := string(text) + string(text[8<<10:20<<10]) + string(text[4<<10:20<<10])
	for _, test := range []struct {
		errno   unix.Errno
		written bool
	}{{unix.EINVAL, true}, {unix.ENOTTY, true}, {unix.ENOSPC, true}, {unix.EIO, false}, {unix.EPERM, false}} {
		t.Run(unix.ErrnoName(test.errno), func(t *testing.T) {
			asked := 0
			err := Receiver{}.receive(t.Context(), dir, "received", bytes.NewReader(raw), func(s *session) error {
				s.encoded.write = func(fd int, args *encodedIOArgs) error {
					if asked++; asked < 3 {
						return test.errno
					}
					return encodedWrite(fd, args)
				}
				return nil
			})
			if !test.written {
				if !errors.Is(err, test.errno) || !errors.Is(err, ErrApply) || asked != 1 {
					t.Errorf("asked %d times: %v", asked, err)
				}
				wantLeftover(t, dir, "received")
				return
			}
			defer remove(t, dir, "received")
			ok(t, err)
			got, err := os.ReadFile(filepath.Join(dir, "received/f"))
			ok(t, err)
			if string(got) != want || asked != 3 {
				t.Errorf("asked %d times: %d bytes, not as they should be", asked, len(got))
			}
			if !hasEncoded(t, filepath.Join(dir, "received")) {
				t.Error("the last extent is not compressed")
			}
		})
	}
}
