package content_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs/content"
)

func TestMain(m *testing.M) { testdisk.Main(m) }

var testTime = time.Unix(1e9, 0)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pair is a subvolume with everything in it that a backup must carry, a snapshot of it, and a writable copy of what was received from that.
type pair struct {
	t              *testing.T
	disk           string
	live, snapshot string
	copy           string
}

func newPair(t *testing.T, fill func(live string)) *pair {
	t.Helper()
	here, there := testdisk.New(t, testdisk.Options{}).Path, testdisk.New(t, testdisk.Options{}).Path
	ok(t, btrfs.Create(here, "live"))
	p := &pair{t: t, disk: there, live: filepath.Join(here, "live"), snapshot: filepath.Join(here, "snapshot"), copy: filepath.Join(there, "copy")}
	fill(p.live)
	ok(t, btrfs.Snapshot(p.live, here, "snapshot", true))
	stream, err := btrfs.Send{Subvolume: p.snapshot}.Start(t.Context())
	ok(t, err)
	ok(t, sendstream.Receiver{}.Receive(t.Context(), there, "received", stream))
	ok(t, stream.Close())
	ok(t, btrfs.Snapshot(filepath.Join(there, "received"), there, "copy", false))
	return p
}

// compare gives the differences as sorted lines.
func compare(t *testing.T, want, have string, o content.Options) ([]string, content.Result) {
	t.Helper()
	var found []string
	r, err := content.Compare(t.Context(), want, have, o, func(d content.Difference) { found = append(found, d.Path+": "+d.What) })
	ok(t, err)
	slices.Sort(found)
	return found, r
}

func TestEqual(t *testing.T) {
	p := newPair(t, func(live string) {
		testdisk.Tree(t, live, testdisk.Spec{})
		ok(t, btrfs.Create(live, "nested"))
		ok(t, os.WriteFile(filepath.Join(live, "nested", "file"), nil, 0o600))
		ok(t, os.Mkdir(filepath.Join(live, "compressed"), 0o700))
		for _, args := range [][]string{{live, "compression", "zstd"}, {filepath.Join(live, "compressed"), "compression", "lzo"}} {
			if out, err := exec.Command("btrfs", append([]string{"property", "set"}, args...)...).CombinedOutput(); err != nil {
				t.Fatal(string(out))
			}
		}
	})
	for _, o := range []content.Options{{}, {Parts: 1}, {Parts: 1, Workers: 1, IOPriority: 3 << 13}, {Parts: 7, Part: 3}} {
		found, r := compare(t, p.snapshot, p.copy, o)
		if len(found) > 0 || !r.Complete || r.Entries < 100 || (r.Bytes > 0) != (o.Parts > 0) {
			t.Errorf("%+v: %+v, %q", o, r, found)
		}
	}
}

// Every thing that a backup must carry, changed alone, is named.
func TestDifferences(t *testing.T) {
	p := newPair(t, func(live string) {
		in := func(name string) string { return filepath.Join(live, name) }
		ok(t, os.WriteFile(in("file"), make([]byte, 100_000), 0o644))
		ok(t, os.WriteFile(in("large"), slices.Repeat([]byte("0123456789abcdef"), 3<<20), 0o644))
		ok(t, os.MkdirAll(in("d/e"), 0o755))
		ok(t, os.WriteFile(in("d/e/f"), []byte("text"), 0o644))
		ok(t, os.WriteFile(in("d/hard"), []byte("text"), 0o644))
		ok(t, os.Link(in("d/hard"), in("d/e/hard")))
		ok(t, os.Link(in("d/hard"), in("hard")))
		ok(t, os.WriteFile(in("other"), []byte("text"), 0o644))
		ok(t, os.Symlink("file", in("link")))
		ok(t, unix.Mknod(in("null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		ok(t, unix.Mkfifo(in("fifo"), 0o600))
		ok(t, unix.Setxattr(in("file"), "user.x", []byte("1"), 0))
		ok(t, unix.Setxattr(in("d"), "user.x", []byte("1"), 0))
		ok(t, unix.Lsetxattr(in("link"), "trusted.x", []byte("1"), 0))
		ok(t, unix.Setxattr(in("other"), "user.long", make([]byte, 3000), 0))
	})
	root := func(name string) string { return filepath.Join(p.copy, name) }
	write := func(name string, at int64) error {
		f, err := os.OpenFile(root(name), os.O_WRONLY, 0)
		ok(t, err)
		defer f.Close()
		_, err = f.WriteAt([]byte{'!'}, at)
		return err
	}
	for name, tc := range map[string]struct {
		change func() error
		want   []string
	}{
		"byte":         {func() error { return write("file", 70_000) }, []string{"file: content differs from byte 70000 on"}},
		"large, first": {func() error { return write("large", 0) }, []string{"large: content differs from byte 0 on"}},
		"large, last":  {func() error { return write("large", 48<<20-1) }, []string{"large: content differs from byte 50331647 on"}},
		"size":         {func() error { return os.Truncate(root("file"), 7) }, []string{"file: size 7 instead of 100000"}},
		"large size":   {func() error { return os.Truncate(root("large"), 20<<20) }, []string{"large: size 20971520 instead of 50331648"}},
		"missing":      {func() error { return os.Remove(root("d/e/f")) }, []string{"d/e/f: is missing"}},
		"more":         {func() error { return os.Mkdir(root("d/a"), 0o755) }, []string{"d/a: should not be there"}},
		"mode":         {func() error { return unix.Chmod(root("file"), 0o4644) }, []string{"file: mode 4644 instead of 0644"}},
		"mode of root": {func() error { return unix.Chmod(p.copy, 0o700) }, []string{".: mode 0700 instead of 0755"}},
		"owner":        {func() error { return os.Lchown(root("link"), 7, 8) }, []string{"link: owner 7:8 instead of 0:0"}},
		"type": {func() error {
			ok(t, os.RemoveAll(root("d")))
			return os.WriteFile(root("d"), nil, 0o600)
		}, []string{"d: is a file instead of a directory", "hard: number of names 1 instead of 3"}},
		"xattr lost":    {func() error { return unix.Removexattr(root("file"), "user.x") }, []string{`file: xattr "user.x" is missing`}},
		"xattr changed": {func() error { return unix.Setxattr(root("d"), "user.x", []byte("2"), 0) }, []string{`d: xattr "user.x" differs`}},
		"xattr more":    {func() error { return unix.Setxattr(p.copy, "user.y", nil, 0) }, []string{`.: xattr "user.y" should not be there`}},
		"xattr of link": {func() error { return unix.Lremovexattr(root("link"), "trusted.x") }, []string{`link: xattr "trusted.x" is missing`}},
		"long xattr":    {func() error { return unix.Setxattr(root("other"), "user.long", make([]byte, 3001), 0) }, []string{`other: xattr "user.long" differs`}},
		"acl": {func() error {
			acl := []byte("\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\x07\x00\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff")
			return unix.Setxattr(root("other"), "system.posix_acl_access", acl, 0)
		}, []string{`other: xattr "system.posix_acl_access" should not be there`}},
		"target": {func() error { ok(t, os.Remove(root("link"))); return os.Symlink("fifo", root("link")) }, []string{
			`link: points to "fifo" instead of "file"`, `link: xattr "trusted.x" is missing`,
		}},
		"device": {func() error {
			ok(t, os.Remove(root("null")))
			return unix.Mknod(root("null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5)))
		}, []string{"null: device 1:5 instead of 1:3"}},
		"link broken": {func() error {
			ok(t, os.Remove(root("hard")))
			return os.WriteFile(root("hard"), []byte("text"), 0o644)
		}, []string{"d/e/hard: number of names 2 instead of 3", "hard: is not one file with its other names", "hard: number of names 1 instead of 3"}},
		"link made": {func() error {
			ok(t, os.Remove(root("other")))
			return os.Link(root("hard"), root("other"))
		}, []string{"d/e/hard: number of names 4 instead of 3", "other: number of names 4 instead of 1", `other: xattr "user.long" is missing`}},
		"time": {func() error {
			return unix.UtimesNanoAt(unix.AT_FDCWD, root("fifo"), []unix.Timespec{{Sec: 1}, {Sec: 1, Nsec: 5}}, unix.AT_SYMLINK_NOFOLLOW)
		}, []string{"fifo: time 1970-01-01T00:00:01.000000005Z instead of "}},
		"nothing": {func() error { return nil }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			received, err := btrfs.Info(p.copy)
			ok(t, err)
			ok(t, btrfs.Delete(p.disk, "copy", received.UUID))
			ok(t, btrfs.Snapshot(filepath.Join(p.disk, "received"), p.disk, "copy", false))
			ok(t, tc.change())
			found, _ := compare(t, p.snapshot, p.copy, content.Options{Parts: 1})
			// Directories in which something was changed, and what was written, have another time.
			if name != "time" {
				found = slices.DeleteFunc(found, func(s string) bool { return strings.Contains(s, ": time ") })
			}
			if len(found) == 1 && len(tc.want) == 1 && strings.HasSuffix(tc.want[0], " instead of ") {
				found[0], _, _ = strings.Cut(found[0], "Z instead of ")
				found[0] += "Z instead of "
			}
			if diff := cmp.Diff(tc.want, found); diff != "" {
				t.Error(diff)
			}
			// Without data, data is all that is not seen.
			blind, r := compare(t, p.snapshot, p.copy, content.Options{})
			for _, s := range tc.want {
				seen := slices.ContainsFunc(blind, func(b string) bool { return strings.HasPrefix(b, s) })
				if isData := strings.Contains(s, "content"); seen == isData {
					t.Errorf("without data: %q", blind)
				}
			}
			if r.Bytes != 0 || r.Files != 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// The parts are disjoint, and together they are everything.
func TestParts(t *testing.T) {
	p := newPair(t, func(live string) { testdisk.Tree(t, live, testdisk.Spec{MaxSize: 64 << 10}) })
	_, all := compare(t, p.snapshot, p.copy, content.Options{Parts: 1})
	var sum content.Result
	for part := range uint64(5) {
		_, r := compare(t, p.snapshot, p.copy, content.Options{Parts: 5, Part: part})
		if r.Files == 0 || r.Files > all.Files/2 || r.Entries != all.Entries {
			t.Errorf("part %d: %+v", part, r)
		}
		sum.Files, sum.Bytes = sum.Files+r.Files, sum.Bytes+r.Bytes
	}
	if sum.Files != all.Files || sum.Bytes != all.Bytes {
		t.Errorf("%+v in parts, %+v", sum, all)
	}
	if _, err := content.Compare(t.Context(), p.snapshot, p.copy, content.Options{Parts: 5, Part: 5}, nil); err == nil {
		t.Error("part 5 of 5")
	}
}

// A comparison that is cut over and over ends: nothing is left out, nothing done twice, and each difference told once.
func TestCut(t *testing.T) {
	p := newPair(t, func(live string) {
		testdisk.Tree(t, live, testdisk.Spec{Files: 40, MaxSize: 64 << 10})
		ok(t, os.WriteFile(filepath.Join(live, "large"), make([]byte, 50<<20), 0o600))
		for i := range 50 { // names of one file all over the tree, and in an order of their own
			ok(t, os.MkdirAll(filepath.Join(live, fmt.Sprint("links", i%7, "/", i%3)), 0o700))
			name := filepath.Join(live, fmt.Sprint("links", i%7, "/", i%3, "/", i))
			if i < 5 {
				ok(t, os.WriteFile(name, make([]byte, 1000), 0o600))
				continue
			}
			ok(t, os.Link(filepath.Join(live, fmt.Sprint("links", i%5, "/", i%5%3, "/", i%5)), name))
		}
	})
	changed := []string{"large", "links0/0/0", "files/d00/e000/f00000", "names", "attributes"}
	for _, name := range changed {
		ok(t, os.Chown(filepath.Join(p.copy, name), 7, 7))
	}
	ok(t, os.Remove(filepath.Join(p.copy, "links6/2/20")))
	ok(t, os.WriteFile(filepath.Join(p.copy, "links6/2/more"), nil, 0o600))
	want, all := compare(t, p.snapshot, p.copy, content.Options{Parts: 1})
	if len(want) < len(changed)+2 {
		t.Fatalf("%q", want)
	}
	for name, workers := range map[string]int{"one worker": 1, "many": 4} {
		t.Run(name, func(t *testing.T) {
			var found []string
			var sum content.Result
			o := content.Options{Parts: 1, Workers: workers}
			rounds := 0
			for !sum.Complete {
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				r, err := content.Compare(ctx, p.snapshot, p.copy, o, func(d content.Difference) { found = append(found, d.Path+": "+d.What) })
				ok(t, err)
				if !r.Complete && r.After == o.After {
					t.Fatalf("no progress: %+v", r)
				}
				o.After = r.After
				sum = content.Result{Entries: sum.Entries + r.Entries, Files: sum.Files + r.Files, Bytes: sum.Bytes + r.Bytes, Complete: r.Complete}
				if rounds++; rounds > 10_000 {
					t.Fatal("no end")
				}
			}
			all.After = content.Cursor{}
			if sum != all {
				t.Errorf("%+v in %d rounds, %+v in one", sum, rounds, all)
			}
			slices.Sort(found)
			if diff := cmp.Diff(want, found); diff != "" {
				t.Error(diff)
			}
			if rounds < 200 {
				t.Errorf("%d rounds", rounds)
			}
		})
	}
}

// Which names are one file is seen across a cut, too.
func TestLinks(t *testing.T) {
	p := newPair(t, func(live string) {
		for _, name := range []string{"a", "b"} {
			ok(t, os.WriteFile(filepath.Join(live, name), []byte("same"), 0o600))
			ok(t, os.Chtimes(filepath.Join(live, name), testTime, testTime))
			ok(t, os.Link(filepath.Join(live, name), filepath.Join(live, name+"2")))
		}
	})
	// The same number of names each, but exchanged.
	ok(t, unix.Renameat2(unix.AT_FDCWD, filepath.Join(p.copy, "a2"), unix.AT_FDCWD, filepath.Join(p.copy, "b2"), unix.RENAME_EXCHANGE))
	for _, after := range []string{"", ".", "a", "a2"} {
		found, _ := compare(t, p.snapshot, p.copy, content.Options{Parts: 1, After: content.Cursor{Path: after}})
		found = slices.DeleteFunc(found, func(s string) bool { return strings.Contains(s, ": time ") })
		if !slices.Contains(found, "b2: is not one file with its other names") {
			t.Errorf("after %q: %q", after, found)
		}
	}
}
