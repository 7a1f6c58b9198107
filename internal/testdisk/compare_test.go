package testdisk_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// Every fact that a backup must carry, changed alone, is seen by both.
func TestCompareSees(t *testing.T) {
	d := testdisk.New(t, testdisk.Options{})
	for name, tc := range map[string]struct {
		want   string // in the first difference
		change func(t *testing.T, in func(string) string)
	}{
		"content": {"content: differs at byte 70000", func(t *testing.T, in func(string) string) {
			f, err := os.OpenFile(in("file"), os.O_RDWR, 0)
			ok(t, err)
			defer f.Close()
			_, err = f.WriteAt([]byte{1}, 70_000)
			ok(t, err)
		}},
		"size":    {"size: 100000, 100001", func(t *testing.T, in func(string) string) { ok(t, os.Truncate(in("file"), 100_001)) }},
		"missing": {"only in the first tree", func(t *testing.T, in func(string) string) { ok(t, os.Remove(in("fifo"))) }},
		"more":    {"only in the second tree", func(t *testing.T, in func(string) string) { ok(t, os.Mkdir(in("zzz"), 0o755)) }},
		"mode":    {"mode: 100644, 104644", func(t *testing.T, in func(string) string) { ok(t, unix.Chmod(in("file"), 0o4644)) }},
		"type": {"mode: 100644, 40755", func(t *testing.T, in func(string) string) {
			ok(t, os.Remove(in("file")))
			ok(t, os.Mkdir(in("file"), 0o755))
		}},
		"owner":      {"owner: 0:0, 7:0", func(t *testing.T, in func(string) string) { ok(t, os.Chown(in("file"), 7, 0)) }},
		"group":      {"owner: 0:0, 0:7", func(t *testing.T, in func(string) string) { ok(t, os.Lchown(in("link"), 0, 7)) }},
		"xattr":      {`xattrs: "", "user.x=\"1\" "`, func(t *testing.T, in func(string) string) { ok(t, unix.Setxattr(in("file"), "user.x", []byte("1"), 0)) }},
		"xattr root": {`".": xattrs`, func(t *testing.T, in func(string) string) { ok(t, unix.Setxattr(in("."), "user.x", nil, 0)) }},
		"target": {`target: "file", "fifo"`, func(t *testing.T, in func(string) string) {
			ok(t, os.Remove(in("link")))
			ok(t, os.Symlink("fifo", in("link")))
		}},
		"device": {"rdev: 259, 260", func(t *testing.T, in func(string) string) {
			ok(t, os.Remove(in("null")))
			ok(t, unix.Mknod(in("null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 4))))
		}},
		"link to another": {"hard links", func(t *testing.T, in func(string) string) {
			ok(t, os.Remove(in("hard2")))
			ok(t, os.Link(in("hard3"), in("hard2")))
		}},
		"link broken": {"hard links", func(t *testing.T, in func(string) string) {
			ok(t, os.Remove(in("hard2")))
			ok(t, os.WriteFile(in("hard2"), []byte("same"), 0o644))
		}},
		"link made": {"hard links", func(t *testing.T, in func(string) string) {
			ok(t, os.Remove(in("hard3")))
			ok(t, os.Link(in("hard"), in("hard3")))
		}},
		"hole filled": {"holes: data at 0-4096, 0-1048576", func(t *testing.T, in func(string) string) {
			f, err := os.OpenFile(in("sparse"), os.O_RDWR, 0)
			ok(t, err)
			defer f.Close()
			_, err = f.WriteAt(make([]byte, 1<<20-4096), 4096)
			ok(t, err)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a := mkdir(t, d.Path, strings.ReplaceAll(name, " ", "-"))
			b := a + "-b"
			ok(t, os.Mkdir(b, 0o755))
			for _, dir := range []string{a, b} {
				smallTree(t, dir)
			}
			wantDiffs(t, a, b, 0)
			if digestOf(t, a) != digestOf(t, b) || !slices.Equal(manifestOf(t, a), manifestOf(t, b)) {
				t.Fatal("equal trees have different digests or manifests")
			}
			tc.change(t, func(name string) string { return filepath.Join(b, name) })
			setTimes(t, b)
			diffs, err := testdisk.CompareExact(a, b)
			ok(t, err)
			if len(diffs) == 0 || len(diffs) > 2 || !strings.Contains(diffs[0], tc.want) {
				t.Errorf("differences = %q, want %q", diffs, tc.want)
			}
			if digestOf(t, a) == digestOf(t, b) {
				t.Error("the digest is the same")
			}
			if same := slices.Equal(manifestOf(t, a), manifestOf(t, b)); same != (name == "hole filled") {
				t.Errorf("the manifest is the same: %v", same)
			}
		})
	}
	t.Run("mtime", func(t *testing.T) {
		a, b := mkdir(t, d.Path, "mtime"), mkdir(t, d.Path, "mtime-b")
		smallTree(t, a)
		smallTree(t, b)
		ts := []unix.Timespec{{Sec: 1, Nsec: 1}, {Sec: 1, Nsec: 1}}
		for _, name := range []string{".", "file", "link"} {
			ok(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(b, name), ts, unix.AT_SYMLINK_NOFOLLOW))
		}
		wantDiffs(t, a, b, 2)
		diffs, err := testdisk.CompareExact(a, b)
		ok(t, err)
		if len(diffs) != 3 {
			t.Errorf("exact differences = %q, want 3", diffs)
		}
		inA, inB, differ := manifestOf(t, a), manifestOf(t, b), 0
		for n := range inA {
			if inA[n] != inB[n] {
				differ++
			}
		}
		if differ != 2 {
			t.Errorf("%d lines of the manifest differ, want 2:\n%s", differ, strings.Join(inB, "\n"))
		}
	})
	t.Run("hole either way", func(t *testing.T) {
		a, b := mkdir(t, d.Path, "zeros"), mkdir(t, d.Path, "zeros-b")
		smallTree(t, a)
		smallTree(t, b)
		ok(t, os.WriteFile(filepath.Join(b, "sparse"), make([]byte, 4096), 0o644))
		ok(t, os.WriteFile(filepath.Join(a, "sparse"), make([]byte, 1<<20), 0o644))
		ok(t, os.Truncate(filepath.Join(b, "sparse"), 1<<20))
		setTimes(t, a)
		setTimes(t, b)
		wantDiffs(t, a, b, 1)
		wantDiffs(t, b, a, 0)
	})
	t.Run("many", func(t *testing.T) {
		a, b := mkdir(t, d.Path, "many"), mkdir(t, d.Path, "many-b")
		for i := range 100 {
			ok(t, os.WriteFile(filepath.Join(a, fmt.Sprint(i)), nil, 0o644))
		}
		wantDiffs(t, a, b, 20)
	})
}

func manifestOf(t *testing.T, dir string) []string {
	t.Helper()
	lines, err := testdisk.Manifest(dir)
	ok(t, err)
	return lines
}

func smallTree(t *testing.T, dir string) {
	t.Helper()
	in := func(name string) string { return filepath.Join(dir, name) }
	ok(t, os.WriteFile(in("file"), make([]byte, 100_000), 0o644))
	ok(t, os.WriteFile(in("hard"), []byte("same"), 0o644))
	ok(t, os.Link(in("hard"), in("hard2")))
	ok(t, os.WriteFile(in("hard3"), []byte("same"), 0o644))
	ok(t, os.WriteFile(in("sparse"), make([]byte, 4096), 0o644))
	ok(t, os.Truncate(in("sparse"), 1<<20))
	ok(t, os.Symlink("file", in("link")))
	ok(t, unix.Mkfifo(in("fifo"), 0o644))
	ok(t, unix.Mknod(in("null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	setTimes(t, dir)
}

// What btrfs send and receive carry is equal by Compare, and what they do not
// carry does not count.
func TestCompareSendReceive(t *testing.T) {
	source := testdisk.New(t, testdisk.Options{})
	target := testdisk.New(t, testdisk.Options{})
	live := filepath.Join(source.Path, "live")
	btrfs(t, "subvolume", "create", live)
	testdisk.Tree(t, live, testdisk.Spec{})
	btrfs(t, "subvolume", "create", filepath.Join(live, "nested"))
	wantDiffs(t, live, live, 0)

	var last string
	for i := range 5 {
		snapshot := filepath.Join(source.Path, fmt.Sprint("s", i))
		btrfs(t, "subvolume", "snapshot", "-r", live, snapshot)
		args := "send -q --proto " + fmt.Sprint(1+i%2)
		if last != "" {
			args += " -p " + last
		}
		out, err := exec.Command("sh", "-ec", "btrfs "+args+" "+snapshot+" | btrfs receive -q "+target.Path).CombinedOutput()
		if err != nil {
			t.Fatalf("send %d: %v\n%s", i, err, out)
		}
		received := filepath.Join(target.Path, filepath.Base(snapshot))
		wantDiffs(t, live, snapshot, 0)
		wantDiffs(t, snapshot, received, 0)
		if diff := cmp.Diff(manifestOf(t, snapshot), manifestOf(t, received)); diff != "" {
			t.Errorf("the manifest of what was received differs: %s", diff)
		}
		if last == "" && digestOf(t, snapshot) != digestOf(t, received) {
			t.Error("a full send gave another digest")
		}
		last = snapshot
		ok(t, testdisk.Mutate(live, uint64(i), 200))
	}
	wantDiffs(t, live, last, 20)
}

// What two receivers must agree on is seen where it differs, and nothing else.
// The kernel says of a reflink of preallocated ranges that it has no holes.
func TestCompareReflinkOfPreallocated(t *testing.T) {
	d := testdisk.New(t, testdisk.Options{})
	a, b := mkdir(t, d.Path, "a"), mkdir(t, d.Path, "b")
	whole, err := os.Create(filepath.Join(a, "file"))
	ok(t, err)
	defer whole.Close()
	ok(t, unix.Fallocate(int(whole.Fd()), 0, 0, 1<<20))
	_, err = whole.WriteAt([]byte("start"), 8192)
	ok(t, err)
	ok(t, whole.Sync())
	clone(t, filepath.Join(a, "file"), filepath.Join(a, "copy"))
	for _, name := range []string{"file", "copy"} {
		sparse, err := os.Create(filepath.Join(b, name))
		ok(t, err)
		_, err = sparse.WriteAt([]byte("start"), 8192)
		ok(t, err)
		ok(t, sparse.Truncate(1<<20))
		ok(t, sparse.Close())
	}
	setTimes(t, a)
	setTimes(t, b)
	wantDiffs(t, a, b, 0)
}

func TestTwinsSee(t *testing.T) {
	d := testdisk.New(t, testdisk.Options{MountOptions: "compress=zstd"})
	text := bytes.Repeat([]byte("how well this compresses\n"), 4000)
	noise := make([]byte, 70_000)
	for i := range noise {
		noise[i] = byte(i * i * i >> 7)
	}
	fill := func(t *testing.T, dir string) {
		btrfs(t, "subvolume", "create", dir)
		for _, name := range []string{"f", "same", "zeros"} {
			ok(t, os.WriteFile(filepath.Join(dir, name), noise, 0o644))
		}
		ok(t, os.WriteFile(filepath.Join(dir, "text"), text, 0o644))
		ok(t, os.WriteFile(filepath.Join(dir, "small"), []byte("in the inode"), 0o644))
		clone(t, filepath.Join(dir, "f"), filepath.Join(dir, "shared"))
		f, err := os.OpenFile(filepath.Join(dir, "zeros"), os.O_RDWR, 0)
		ok(t, err)
		defer f.Close()
		ok(t, unix.Fallocate(int(f.Fd()), 0, 128<<10, 64<<10))
	}
	rewrite := func(t *testing.T, path string, data []byte, offset int64) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		ok(t, err)
		defer f.Close()
		_, err = f.WriteAt(data, offset)
		ok(t, err)
	}
	for name, tc := range map[string]struct {
		want   string // in the only difference; "" for none
		change func(t *testing.T, in func(string) string)
	}{
		"nothing":      {"", func(*testing.T, func(string) string) {}},
		"copied":       {`"./shared": extents: at 0`, func(t *testing.T, in func(string) string) { rewrite(t, in("shared"), noise, 0) }},
		"partly":       {`"./shared": extents: at 8192`, func(t *testing.T, in func(string) string) { rewrite(t, in("shared"), noise[8192:12288], 8192) }},
		"with another": {`"./shared": extents: at 0`, func(t *testing.T, in func(string) string) { clone(t, in("same"), in("shared")) }},
		"written":      {`"./zeros": extents: at 131072`, func(t *testing.T, in func(string) string) { rewrite(t, in("zeros"), make([]byte, 4096), 128<<10) }},
		"plain": {`"./text": extents: at 0`, func(t *testing.T, in func(string) string) {
			ok(t, unix.Setxattr(in("text"), "btrfs.compression", []byte("none"), 0))
			rewrite(t, in("text"), text, 0)
			btrfs(t, "filesystem", "sync", d.Path)
			ok(t, unix.Removexattr(in("text"), "btrfs.compression"))
		}},
		"inode": {`"./text": inode`, func(t *testing.T, in func(string) string) {
			ok(t, os.Remove(in("text")))
			ok(t, os.WriteFile(in("text"), text, 0o644))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a := filepath.Join(d.Path, strings.ReplaceAll(name, " ", "-"))
			b := a + "-b"
			fill(t, a)
			fill(t, b)
			btrfs(t, "filesystem", "sync", d.Path)
			tc.change(t, func(name string) string { return filepath.Join(b, name) })
			setTimes(t, a)
			setTimes(t, b)
			btrfs(t, "filesystem", "sync", d.Path)
			for _, resumed := range []bool{false, true} {
				twins := testdisk.Twins{Resumed: resumed}
				diffs, err := twins.Compare(a, b)
				ok(t, err)
				switch {
				case tc.want == "" && len(diffs) > 0, tc.want != "" && len(diffs) == 0, tc.want != "" && !slices.ContainsFunc(diffs, func(diff string) bool { return strings.Contains(diff, tc.want) }):
					t.Errorf("resumed: %v, differences = %q, want %q", resumed, diffs, tc.want)
				}
			}
		})
	}
	t.Run("atime", func(t *testing.T) {
		a, b := filepath.Join(d.Path, "nothing"), filepath.Join(d.Path, "nothing-b")
		ts := []unix.Timespec{{Sec: 7}, {Sec: 1}}
		ok(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(b, "f"), ts, 0))
		diffs, err := new(testdisk.Twins).Compare(a, b)
		ok(t, err)
		if len(diffs) != 1 || !strings.Contains(diffs[0], "atime") {
			t.Errorf("differences = %q", diffs)
		}
	})
	t.Run("kept", func(t *testing.T) {
		a, b := filepath.Join(d.Path, "nothing"), filepath.Join(d.Path, "nothing-b")
		btrfs(t, "subvolume", "snapshot", "-r", b, b+"-kept")
		btrfs(t, "filesystem", "sync", d.Path)
		for resumed, want := range map[bool]bool{false: true, true: false} {
			twins := testdisk.Twins{Resumed: resumed}
			diffs, err := twins.Compare(a, b)
			ok(t, err)
			if found := slices.ContainsFunc(diffs, func(diff string) bool { return strings.Contains(diff, `"./same": extents`) }); found != want || resumed && len(diffs) > 1 { // and the atime
				t.Errorf("resumed: %v, differences = %q", resumed, diffs)
			}
		}
	})
}

func clone(t *testing.T, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	ok(t, err)
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE, 0o644)
	ok(t, err)
	defer dst.Close()
	ok(t, unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())))
}

func btrfs(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("btrfs", args...).CombinedOutput(); err != nil {
		t.Fatalf("btrfs %q: %v\n%s", args, err, out)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
