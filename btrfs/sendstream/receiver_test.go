package sendstream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// lab is a source and two destinations: what btrfs receive makes of a stream, and what Receiver makes of it, lie side by side.
type lab struct {
	source, progs, native string
}

func newLab(t testing.TB, mountOptions string) lab {
	return lab{
		testdisk.New(t, testdisk.Options{MountOptions: mountOptions}).Path,
		testdisk.New(t, testdisk.Options{}).Path,
		testdisk.New(t, testdisk.Options{}).Path,
	}
}

// apply sends a snapshot of the source disk and receives it both ways. An error is one of btrfs receive, which does not like the stream either.
func (l lab) apply(t rapid.TB, r Receiver, name string, args ...string) error {
	t.Helper()
	stream := send(t, append(args, filepath.Join(l.source, name))...)
	receive := exec.Command("btrfs", "receive", "-q", l.progs)
	receive.Stdin = bytes.NewReader(stream)
	said, progsErr := receive.CombinedOutput()
	err := r.Receive(context.Background(), l.native, name, bytes.NewReader(stream))
	if progsErr != nil {
		if err == nil {
			t.Errorf("%s %q: accepted, but btrfs receive says %s", name, args, said)
		}
		return fmt.Errorf("%w: %s", progsErr, said)
	}
	if err != nil {
		t.Fatalf("%s %q: %v", name, args, err)
	}
	wantSame(t, filepath.Join(l.progs, name), filepath.Join(l.native, name))
	wantStamped(t, filepath.Join(l.source, name), filepath.Join(l.native, name))
	return nil
}

// wantSame compares everything but the time of the root directory: btrfs receive changes it whenever it makes a file.
func wantSame(t rapid.TB, a, b string) {
	t.Helper()
	diffs, err := testdisk.CompareExact(a, b)
	ok(t, err)
	for _, diff := range diffs {
		if !strings.HasPrefix(diff, `".": mtime`) {
			t.Errorf("%s and %s: %s", a, b, diff)
		}
	}
}

// wantStamped demands what makes a subvolume a complete one.
func wantStamped(t rapid.TB, source, received string) {
	t.Helper()
	from, err := btrfs.Info(source)
	ok(t, err)
	to, err := btrfs.Info(received)
	ok(t, err)
	if !to.ReadOnly || to.ReceivedUUID != from.StreamUUID() || to.Stransid != from.Ctransid {
		t.Errorf("%s: %+v is not received from %+v", received, to, from)
	}
}

func wantBackup(t rapid.TB, source, received string) {
	t.Helper()
	diffs, err := testdisk.Compare(source, received)
	ok(t, err)
	for _, diff := range diffs {
		t.Errorf("%s and %s: %s", source, received, diff)
	}
}

// Whatever a tree holds, and whatever is done to it, both receivers make the same of it.
func TestReceiveTrees(t *testing.T) {
	for name, test := range map[string]struct {
		mount string
		args  []string
		r     Receiver
	}{
		"v1":              {"", []string{"--proto", "1"}, Receiver{}},
		"v2":              {"", []string{"--proto", "2"}, Receiver{}},
		"zstd":            {"compress-force=zstd", []string{"--proto", "2", "--compressed-data"}, Receiver{}},
		"zlib":            {"compress-force=zlib", []string{"--proto", "2", "--compressed-data"}, Receiver{}},
		"lzo":             {"compress-force=lzo", []string{"--proto", "2", "--compressed-data"}, Receiver{IOPriority: 3 << 13}},
		"zstd decompress": {"compress-force=zstd:15", []string{"--proto", "2", "--compressed-data"}, Receiver{Decompress: true}},
		"zlib decompress": {"compress-force=zlib:9", []string{"--proto", "2", "--compressed-data"}, Receiver{Decompress: true}},
		"lzo decompress":  {"compress-force=lzo", []string{"--proto", "2", "--compressed-data"}, Receiver{Decompress: true}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, test.mount)
			tree := filepath.Join(l.source, "tree")
			run(t, "btrfs", "subvolume", "create", tree)
			testdisk.Tree(t, tree, testdisk.Spec{Seed: 7, Files: 60, MaxSize: 1 << 20})
			ok(t, os.WriteFile(filepath.Join(tree, "text"), []byte(strings.Repeat("How well this compresses.\n", 50_000)), 0o600))
			takeSnapshot(t, tree, "0")
			ok(t, l.apply(t, test.r, "0", test.args...))
			diffs, err := testdisk.CompareExact(filepath.Join(l.source, "0"), filepath.Join(l.native, "0"))
			ok(t, err)
			if len(diffs) > 0 {
				t.Error(diffs)
			}
			if got, want := hasEncoded(t, filepath.Join(l.native, "0")), test.mount != "" && !test.r.Decompress; got != want {
				t.Errorf("what was received is compressed: %v, want %v", got, want)
			}
			steps := 8
			if testing.Short() || test.r.Decompress {
				steps = 2
			}
			for n := range steps {
				ok(t, testdisk.Mutate(tree, uint64(n), 60))
				before, now := fmt.Sprint(n), fmt.Sprint(n+1)
				takeSnapshot(t, tree, now)
				args := append([]string{"-p", filepath.Join(l.source, before)}, test.args...)
				if n > 0 {
					args = append(args, "-c", filepath.Join(l.source, fmt.Sprint(n-1)))
				}
				ok(t, l.apply(t, test.r, now, args...))
				wantBackup(t, filepath.Join(l.source, now), filepath.Join(l.native, now))
				if t.Failed() {
					t.FailNow()
				}
			}
		})
	}
}

// hasEncoded reports whether a subvolume has compressed extents: it sends them.
func hasEncoded(t testing.TB, path string) bool {
	t.Helper()
	d := NewDecoder(bytes.NewReader(send(t, "--proto", "2", "--compressed-data", path)))
	for {
		c, err := d.Next()
		if err == io.EOF {
			return false
		}
		ok(t, err)
		if c.Cmd == CmdEncodedWrite {
			return true
		}
	}
}
