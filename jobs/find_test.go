package jobs_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
)

// at is a path in the source.
func (w *world) at(name string) string { return filepath.Join(w.source(), name) }

// look is a Find that has to go well.
func (w *world) look(o jobs.FindOptions, paths ...string) jobs.Found {
	w.t.Helper()
	f, err := w.runner.Find(context.Background(), w.placed(), paths, o)
	must(w.t, err)
	return f
}

// show writes versions in a line each, snapshots by their number from 1, the oldest of names.
func show(names []string, versions []jobs.FoundVersion) []string {
	number := func(name string) int { return slices.Index(names, name) + 1 }
	lines := []string{}
	for _, v := range versions {
		line := fmt.Sprintf("%s %s %d-%d ×%d", v.Change, v.Type, number(v.Oldest), number(v.Snapshot), v.Snapshots)
		for _, p := range v.Places {
			line += fmt.Sprintf(" %s:%d-%d×%d", p.Where, number(p.Oldest), number(p.Snapshot), p.Snapshots)
			if p.Altered {
				line += "!"
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// want compares the versions of the only path of a Find.
func (w *world) want(names []string, f jobs.Found, want ...string) {
	w.t.Helper()
	if len(f.Paths) != 1 {
		w.t.Fatalf("%d paths: %+v", len(f.Paths), f)
	}
	if diff := cmp.Diff(want, show(names, f.Paths[0].Versions)); diff != "" {
		w.t.Errorf("%s: %s", f.Paths[0].Path, diff)
	}
}

// runs makes one run after each of several steps, and gives the names of the snapshots.
func (w *world) runs(steps ...func()) (names []string) {
	w.t.Helper()
	for _, step := range steps {
		if step != nil {
			step()
		}
		names = append(names, w.mustRun().Snapshot)
	}
	return names
}

func TestFind(t *testing.T) {
	w := newWorld(t, 2)
	dir := func() { must(t, os.MkdirAll(w.at("docs/deep"), 0o755)) }
	file := "docs/deep/file"
	names := w.runs(
		dir,                                 // 1
		func() { w.write(file, "one") },     // 2
		nil,                                 // 3
		func() { w.write(file, "two two") }, // 4
		func() { must(t, os.Chmod(w.at(file), 0o600)) },                         // 5
		func() { must(t, unix.Setxattr(w.at(file), "user.a", []byte("b"), 0)) }, // 6
		func() { must(t, os.Remove(w.at(file))) },                               // 7
		nil, // 8
		func() { must(t, os.Mkdir(w.at(file), 0o755)) },                                             // 9
		func() { must(t, os.Remove(w.at(file))); must(t, os.Symlink("else\xffwhere", w.at(file))) }, // 10
		func() { w.write("other", "") },                                                             // 11
	)
	rows := []string{
		"changed symlink 10-11 ×2 source:10-11×2 d1:10-11×2 d2:10-11×2",
		"new directory 9-9 ×1 source:9-9×1 d1:9-9×1 d2:9-9×1",
		"deleted  7-8 ×2",
		"metadata file 6-6 ×1 source:6-6×1 d1:6-6×1 d2:6-6×1",
		"metadata file 5-5 ×1 source:5-5×1 d1:5-5×1 d2:5-5×1",
		"changed file 4-4 ×1 source:4-4×1 d1:4-4×1 d2:4-4×1",
		"new file 2-3 ×2 source:2-3×2 d1:2-3×2 d2:2-3×2",
	}
	f := w.look(jobs.FindOptions{}, file)
	w.want(names, f, rows...)
	w.want(names, w.look(jobs.FindOptions{}, w.at(file)), rows...)
	w.want(names, w.look(jobs.FindOptions{}, "./docs//deep/../deep/file/"), rows...)
	if f.Snapshots != len(names) || len(f.Unsearched) > 0 || len(f.NotFound) > 0 {
		t.Errorf("%+v", f)
	}
	all := w.look(jobs.FindOptions{All: true}, file)
	rows[0] = "same symlink 11-11 ×1 source:11-11×1 d1:11-11×1 d2:11-11×1"
	rows[len(rows)-1] = "same file 3-3 ×1 source:3-3×1 d1:3-3×1 d2:3-3×1"
	rows = slices.Insert(rows, 1, "changed symlink 10-10 ×1 source:10-10×1 d1:10-10×1 d2:10-10×1")
	w.want(names, all, append(rows, "new file 2-2 ×1 source:2-2×1 d1:2-2×1 d2:2-2×1")...)

	// What it says of a version.
	newest, oldest := f.Paths[0].Versions[0], f.Paths[0].Versions[6]
	if newest.Target != "else\xffwhere" || newest.TargetBase64 != base64.StdEncoding.EncodeToString([]byte("else\xffwhere")) {
		t.Errorf("%+v", newest)
	}
	if oldest.Size != 3 || oldest.Mode != "0644" || oldest.UID != 0 || !oldest.Time.After(oldest.OldestTime) {
		t.Errorf("%+v", oldest)
	}
	for i, root := range []string{w.job.SnapshotDir, w.job.Destinations[0].URL, w.job.Destinations[1].URL} {
		if b, err := os.ReadFile(oldest.Places[i].Path); err != nil || string(b) != "one" || oldest.Places[i].Path != filepath.Join(root, names[2], file) {
			t.Errorf("%s: %q, %v", oldest.Places[i].Path, b, err)
		}
	}
	info, err := os.Lstat(oldest.Places[0].Path)
	must(t, err)
	if got, err := time.Parse(time.RFC3339Nano, oldest.MTime); err != nil || !got.Equal(info.ModTime()) {
		t.Errorf("%s, %v, want %s", oldest.MTime, err, info.ModTime())
	}

	// What was there from the beginning is not new; the root is a directory like others; what never was is said to be so.
	first := w.look(jobs.FindOptions{}, "docs/deep")
	if v := first.Paths[0].Versions; v[len(v)-1].Change != jobs.ChangeFirst {
		t.Errorf("%v", show(names, v))
	}
	if f := w.look(jobs.FindOptions{}, w.source()); len(f.Paths) != 1 || f.Paths[0].Path != "." || f.Paths[0].Versions[0].Places[1].Path != w.path(0, names[10]) {
		t.Errorf("%+v", f)
	}
	none := w.look(jobs.FindOptions{}, "never", "docs", file+"/below", "*.never", strings.Repeat("n", 300), "other/x")
	if diff := cmp.Diff([]string{"never", file + "/below", "*.never", strings.Repeat("n", 300), "other/x"}, none.NotFound); diff != "" || len(none.Paths) != 1 {
		t.Errorf("%s%+v", diff, none)
	}
	for _, outside := range []string{"/etc", "../x", "docs/../../x", "", w.source() + "x", w.source() + "/.."} {
		if _, err := w.runner.Find(context.Background(), w.placed(), []string{outside}, jobs.FindOptions{}); !errors.Is(err, jobs.ErrPath) || jobs.Hint(err) == "" {
			t.Errorf("%q: %v", outside, err)
		}
	}
}

// Backups whose snapshot is gone, a destination that is away, one that is behind, and an altered backup.
func TestFindInBackups(t *testing.T) {
	w := newWorld(t, 2)
	names := w.runs(func() { w.write("f", "1") }, nil, func() { w.write("f", "22") }, nil)
	w.dests[1].Unmount()
	w.write("f", "333")
	w.pass(time.Minute)
	fifth := w.run()
	names = append(names, fifth.Snapshot)
	l := w.listing()
	for _, s := range l.Snapshots[:3] {
		must(t, btrfs.Delete(w.job.SnapshotDir, s.Name, s.UUID))
	}
	f := w.look(jobs.FindOptions{}, "f")
	w.want(names, f,
		"changed file 5-5 ×1 source:5-5×1 d1:5-5×1",
		"changed file 3-4 ×2 source:4-4×1 d1:3-4×2",
		"first file 1-2 ×2 d1:1-2×2")
	if len(f.Unsearched) != 1 || f.Unsearched[0].Where != "d2" || f.Unsearched[0].State != jobs.StateAbsent {
		t.Errorf("%+v", f.Unsearched)
	}
	w.dests[1].Mount("noatime")
	w.want(names, w.look(jobs.FindOptions{}, "f"),
		"changed file 5-5 ×1 source:5-5×1 d1:5-5×1",
		"changed file 3-4 ×2 source:4-4×1 d1:3-4×2 d2:3-4×2",
		"first file 1-2 ×2 d1:1-2×2 d2:1-2×2")

	// Somebody wrote into a backup, and into a snapshot: no longer the same.
	for i, path := range []string{w.path(0, names[3]), filepath.Join(w.job.SnapshotDir, names[4])} {
		must(t, setFlag(path, false))
		must(t, os.WriteFile(filepath.Join(path, "f"), []byte(strings.Repeat("x", 10+i)), 0o644))
		btrfsProgram(t, "filesystem", "sync", path)
		must(t, setFlag(path, true))
	}
	w.want(names, w.look(jobs.FindOptions{}, "f"),
		"changed file 5-5 ×1 d1:5-5×1",
		"changed file 5-5 ×1 source:5-5×1!",
		"changed file 4-4 ×1 d1:4-4×1!",
		"changed file 3-4 ×2 source:4-4×1 d2:3-4×2 d1:3-3×1",
		"first file 1-2 ×2 d1:1-2×2 d2:1-2×2")
}

// Without its source, or on a disk mounted read-only, a backup is still found.
func TestFindWithoutSource(t *testing.T) {
	w := newWorld(t, 1)
	names := w.runs(func() { w.write("f", "1") }, func() { w.write("f", "22") })
	w.dests[0].Remount("ro")
	w.want(names, w.look(jobs.FindOptions{}, "f"), "changed file 2-2 ×1 source:2-2×1 d1:2-2×1", "first file 1-1 ×1 source:1-1×1 d1:1-1×1")
	w.src.Unmount()
	f := w.look(jobs.FindOptions{}, "f")
	w.want(names, f, "changed file 2-2 ×1 d1:2-2×1", "first file 1-1 ×1 d1:1-1×1")
	if len(f.Unsearched) != 1 || f.Unsearched[0].Where != jobs.AtSource || f.Unsearched[0].Hint == "" {
		t.Errorf("%+v", f.Unsearched)
	}
	w.dests[0].Unmount()
	if f := w.look(jobs.FindOptions{}, "f"); len(f.Paths) > 0 || len(f.Unsearched) != 2 || f.Snapshots != 0 {
		t.Errorf("%+v", f)
	}
}

// Snapshots of the source that others made take part; what is of another source does not, unless it is asked for.
func TestFindForeign(t *testing.T) {
	w := newWorld(t, 1)
	names := w.runs(func() { w.write("f", "1") })
	w.write("f", "22")
	must(t, btrfs.Snapshot(w.source(), w.job.SnapshotDir, "20261123T115730Z", true))
	names = append(names, "20261123T115730Z")
	w.pass(time.Minute)
	names = append(names, w.runs(func() { must(t, os.Remove(w.at("f"))) })...)
	must(t, btrfs.Create(w.src.Path, "stranger"))
	must(t, os.WriteFile(filepath.Join(w.src.Path, "stranger/f"), []byte("333"), 0o644))
	must(t, btrfs.Snapshot(filepath.Join(w.src.Path, "stranger"), w.src.Path, "20261123T120130Z", true))
	stream := filepath.Join(t.TempDir(), "stream")
	btrfsProgram(t, "send", "-q", "-f", stream, filepath.Join(w.src.Path, "20261123T120130Z"))
	btrfsProgram(t, "receive", "-q", "-f", stream, w.job.Destinations[0].URL)
	f := w.look(jobs.FindOptions{}, "f")
	rows := []string{"deleted  3-3 ×1", "changed file 2-2 ×1 source:2-2×1", "first file 1-1 ×1 source:1-1×1 d1:1-1×1"}
	w.want(names, f, rows...)
	if len(f.Unsearched) != 1 || f.Unsearched[0].State != "foreign" || f.Unsearched[0].Where != "d1" {
		t.Errorf("%+v", f.Unsearched)
	}
	names = append(names, "20261123T120130Z")
	w.want(names, w.look(jobs.FindOptions{Foreign: true}, "f"), append([]string{"new file 4-4 ×1 d1:4-4×1"}, rows...)...)
}

// Names that shells, terminals and patterns stumble over; links and nested subvolumes are not walked into.
func TestFindHostileNames(t *testing.T) {
	w := newWorld(t, 1)
	hostile := []string{"-rf", "new\nline", "broken\xff\xfe", "[x].jpg", "x.jpg", "a*b", "back\\slash", "\x1b[31m", "ünï", " ", ".hidden", "[", strings.Repeat("l", 255)}
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "secret"), nil, 0o600))
	names := w.runs(func() {
		for _, n := range hostile {
			w.write(filepath.Join("dir", n), n)
		}
		must(t, os.Symlink(outside, w.at("dir/link")))
		must(t, os.Symlink(w.at("dir"), w.at("link")))
		must(t, os.Symlink("dir", w.at("near")))
		must(t, unix.Mkfifo(w.at("dir/pipe"), 0o600))
		must(t, unix.Mknod(w.at("dir/null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		must(t, btrfs.Create(w.source(), "nested"))
		must(t, os.WriteFile(w.at("nested/secret"), nil, 0o600))
	})
	for _, n := range hostile {
		f := w.look(jobs.FindOptions{}, "dir/"+n)
		i := slices.IndexFunc(f.Paths, func(p jobs.FoundPath) bool { return p.Path == "dir/"+n })
		if i < 0 || n != "[x].jpg" && len(f.Paths) != 1 {
			t.Errorf("%q: %+v", n, f)
			continue
		}
		if got := show(names, f.Paths[i].Versions); !slices.Equal(got, []string{"first file 1-1 ×1 source:1-1×1 d1:1-1×1"}) {
			t.Errorf("%q: %v", n, got)
		}
		if b, err := os.ReadFile(f.Paths[i].Versions[0].Places[0].Path); err != nil || string(b) != n {
			t.Errorf("%q: %q, %v", n, b, err)
		}
	}
	for _, none := range []string{"dir/link/secret", "link/-rf", "near/-rf", "link/*", "*/secret", "**/secret", "nested/secret", "nested"} {
		if f := w.look(jobs.FindOptions{}, none); len(f.Paths) > 0 || len(f.Unsearched) > 0 {
			t.Errorf("%s: %+v", none, f)
		}
	}
	for name, kind := range map[string]string{"link": "symlink", "dir/pipe": "fifo", "dir/null": "device"} {
		if f := w.look(jobs.FindOptions{}, name); f.Paths[0].Versions[0].Type != kind {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestFindPatterns(t *testing.T) {
	w := newWorld(t, 1)
	tree := []string{"a/x.txt", "a/b/x.txt", "a/b/c/x.txt", "a/b/c/y", "d/x.txt", "d/b/z", "x.txt", ".dot/x.txt", "é", "br[a]ck", "bra", `es\cape`, "esXape"}
	w.runs(func() {
		for _, n := range tree {
			w.write(n, n)
		}
	}, func() { must(t, os.RemoveAll(w.at("a/b/c"))) })
	for _, c := range []struct {
		pattern string
		want    string
	}{
		{"*.txt", "x.txt"},
		{"*/x.txt", ".dot/x.txt a/x.txt d/x.txt"},
		{"**/x.txt", ".dot/x.txt a/b/c/x.txt a/b/x.txt a/x.txt d/x.txt x.txt"},
		{"**/**/c/**/x.txt", "a/b/c/x.txt"},
		{"a/**", "a/b a/b/c a/b/c/x.txt a/b/c/y a/b/x.txt a/x.txt"},
		{"a/**/b/*", "a/b/c a/b/x.txt"},
		{"**/b/**/[xz]*", "a/b/c/x.txt a/b/x.txt d/b/z"},
		{"**/b", "a/b d/b"},
		{"[!a-c]/*", "d/b d/x.txt"},
		{"[^a-c]/x*", "d/x.txt"},
		{"a/?", "a/b"},
		{"?", "a d é"},
		{w.source() + "/d/*", "d/b d/x.txt"},
		{"br[a]ck", "br[a]ck"},
		{"br[a]*", "bra"},
		{`br\[*`, "br[a]ck"},
		{`es\cape*`, ""},
		{`es\\*`, `es\cape`},
		{"[", ""},
		{"x.txt/*", ""},
		{"**/c", "a/b/c"},
	} {
		f := w.look(jobs.FindOptions{}, c.pattern)
		var got []string
		for _, p := range f.Paths {
			got = append(got, p.Path)
		}
		if s := strings.Join(got, " "); s != c.want || (len(f.NotFound) > 0) != (c.want == "") {
			t.Errorf("%s: %q, want %q; not found: %v", c.pattern, s, c.want, f.NotFound)
		}
	}
	// Everything, once, though two patterns say so.
	f := w.look(jobs.FindOptions{}, "**", "a/*", "x.txt")
	if len(f.Paths) != 6+len(tree) {
		t.Errorf("%d paths: %v", len(f.Paths), f.Paths)
	}
	for _, p := range f.Paths {
		if v := p.Versions; strings.HasPrefix(p.Path, "a/b/c") && v[0].Change != jobs.ChangeDeleted || strings.HasPrefix(p.Path, ".btrkeep") {
			t.Errorf("%s: %+v", p.Path, v)
		}
	}
	// A pattern reads the directories that can match, no others: the two of the root, and what is looked up.
	if f := w.look(jobs.FindOptions{}, "a/b/*.txt"); f.LookedAt > 2*(2+1) {
		t.Errorf("looked at %d", f.LookedAt)
	}
}

// What is being deleted when it is looked for has been neither deleted from the source nor changed.
func TestFindWhilePruned(t *testing.T) {
	w := newWorld(t, 1)
	names := w.runs(func() { w.write("f", "1") }, nil, nil)
	for _, path := range []string{filepath.Join(w.job.SnapshotDir, names[1]), w.path(0, names[1])} {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, err)
		defer unix.Close(fd)
		must(t, unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB))
	}
	f := w.look(jobs.FindOptions{}, "f")
	w.want(names, f, "first file 1-3 ×2 source:1-3×2 d1:1-3×2")
	if f.Snapshots != 2 {
		t.Errorf("%+v", f)
	}
}

// What a failing disk does not show is looked up on another one, and where there is none nothing is said to be deleted or new.
func TestFindOnFailingDisk(t *testing.T) {
	options := testdisk.Options{Size: 256 << 20, MountOptions: "noatime"}
	failing := testdisk.NewFaulty(t, options)
	src := testdisk.New(t, options)
	must(t, btrfs.Create(src.Path, "home"))
	w := newWorldOn(t, src, failing.Disk, testdisk.New(t, options))
	names := w.runs(func() {
		for i := range 2000 { // more than one leaf
			w.write(fmt.Sprintf("dir%d/f%d", i%50, i), "1")
		}
	}, func() { w.write("dir7/f7", "22") }, nil, nil)
	for _, s := range w.listing().Snapshots[:3] {
		must(t, btrfs.Delete(w.job.SnapshotDir, s.Name, s.UUID))
	}
	failing.Unmount()
	failing.Mount("noatime")
	w.listing() // is in memory from here on
	failing.Fail(testdisk.Read, testdisk.Failure{})
	for _, pattern := range []string{"dir7/f7", "dir7/*7"} {
		f := w.look(jobs.FindOptions{}, pattern)
		i := slices.IndexFunc(f.Paths, func(p jobs.FoundPath) bool { return p.Path == "dir7/f7" })
		want := []string{"changed file 2-4 ×3 source:4-4×1 d1:2-4×3 d2:2-4×3", "first file 1-1 ×1 d1:1-1×1 d2:1-1×1"}
		if diff := cmp.Diff(want, show(names, f.Paths[i].Versions)); diff != "" {
			t.Errorf("%s: %s", pattern, diff)
		}
		if len(f.Unsearched) == 0 || f.Unsearched[0].Where != "d1" || !strings.Contains(f.Unsearched[0].Error, "input/output error") {
			t.Errorf("%+v", f.Unsearched)
		}
	}
	w.dests[1].Unmount()
	f := w.look(jobs.FindOptions{}, "dir7/f7")
	w.want(names, f, "first file 4-4 ×1 source:4-4×1 d1:4-4×1")
	if f.Snapshots != 1 || len(f.Unsearched) < 2 {
		t.Errorf("%+v", f)
	}
	failing.Clear()
	w.want(names, w.look(jobs.FindOptions{}, "dir7/f7"), "changed file 2-4 ×3 source:4-4×1 d1:2-4×3", "first file 1-1 ×1 d1:1-1×1")
}

// One path of a large tree over many snapshots costs a few system calls for each snapshot, however large the tree is. The times that people may expect are far below
// the bound here, which a busy machine has to keep.
func TestFindCost(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 100,000 files")
	}
	const files, snapshots = 100_000, 200
	runner, job := bigTree(t, files, snapshots)
	find := func(path string) jobs.Found {
		t.Helper()
		f, err := runner.Find(context.Background(), job, []string{path}, jobs.FindOptions{})
		must(t, err)
		if f.Snapshots != snapshots || len(f.Paths) != 1 || len(f.Paths[0].Versions) != snapshots {
			t.Fatalf("%d snapshots, %d paths, %d versions", f.Snapshots, len(f.Paths), len(f.Paths[0].Versions))
		}
		return f
	}
	start := time.Now()
	f := find("dir7/sub3/changing")
	took := time.Since(start)
	t.Logf("%d snapshots of %d files: %s", snapshots, files, took)
	if f.LookedAt != snapshots {
		t.Errorf("looked at %d files for one path in %d snapshots", f.LookedAt, snapshots)
	}
	if took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	if f := find("dir7/sub3/*anging"); f.LookedAt > snapshots*(files/1000+10) {
		t.Errorf("looked at %d files for one directory in %d snapshots", f.LookedAt, snapshots)
	}
}

func BenchmarkFind(b *testing.B) {
	runner, job := bigTree(b, 100_000, 200)
	for b.Loop() {
		if f, err := runner.Find(b.Context(), job, []string{"dir7/sub3/changing"}, jobs.FindOptions{}); err != nil || len(f.Paths) != 1 {
			b.Fatal(f, err)
		}
	}
}

// bigTree makes a tree of empty files, a thousandth of them in each directory, and snapshots between which one file changes.
func bigTree(t testing.TB, files, snapshots int) (*jobs.Runner, config.Job) {
	t.Helper()
	disk := testdisk.New(t, testdisk.Options{Size: 1 << 30, MountOptions: "noatime", InMemory: true})
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(btrfs.Create(disk.Path, "home"))
	source := filepath.Join(disk.Path, "home")
	for i := range 1000 {
		dir := filepath.Join(source, fmt.Sprintf("dir%d/sub%d", i/100, i%100))
		do(os.MkdirAll(dir, 0o755))
		for j := range files / 1000 {
			fd, err := unix.Open(filepath.Join(dir, fmt.Sprint(j)), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
			do(err)
			unix.Close(fd)
		}
	}
	job := config.Job{Name: "home", Source: source, SnapshotDir: filepath.Join(source, config.DefaultSnapshotDir)}
	do(os.Mkdir(job.SnapshotDir, 0o700))
	for i := range snapshots {
		do(os.WriteFile(filepath.Join(source, "dir7/sub3/changing"), []byte(strings.Repeat("x", i)), 0o644))
		do(btrfs.Snapshot(source, job.SnapshotDir, time.Date(2026, 11, 1, 0, i, 0, 0, time.UTC).Format("20060102T150405Z"), true))
	}
	return &jobs.Runner{Config: &config.Config{Timezone: time.UTC, StateDir: t.TempDir()}}, job
}
