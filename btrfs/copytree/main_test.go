package copytree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// childEnv has the arguments of a copy that is made by a process of its own, one on a line; childUserEnv the user that makes it.
const (
	childEnv     = "COPYTREE_TEST_COPY"
	childUserEnv = "COPYTREE_TEST_USER"
)

func TestMain(m *testing.M) {
	if args := os.Getenv(childEnv); args != "" {
		os.Exit(copyInChild(strings.Split(args, "\n")))
	}
	testdisk.Main(m)
}

func copyInChild(args []string) int {
	if user, err := strconv.Atoi(os.Getenv(childUserEnv)); err == nil {
		err = errors.Join(syscall.Setgroups(nil), syscall.Setgid(user), syscall.Setuid(user), unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0))
		if err != nil {
			fmt.Println(err)
			return 2
		}
	}
	summary, err := Copy(context.Background(), args[0], args[1], args[2], args[3], Options{Overwrite: args[4] == "overwrite"})
	fmt.Println(summary, err)
	if err != nil {
		return 1
	}
	return 0
}

func child(root, path, dir, name, overwrite string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join([]string{root, path, dir, name, overwrite}, "\n"))
	return cmd
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newDisk(t testing.TB) string {
	t.Helper()
	return testdisk.New(t, testdisk.Options{}).Path
}

func mkdir(t testing.TB, names ...string) string {
	t.Helper()
	path := filepath.Join(names...)
	ok(t, os.MkdirAll(path, 0o755))
	return path
}

func write(t testing.TB, path, content string) string {
	t.Helper()
	ok(t, os.WriteFile(path, []byte(content), 0o644))
	return path
}

// subvolume makes one with a directory "tree" in it, filled by grow, and gives a read-only snapshot of it.
func subvolume(t testing.TB, disk string, grow func(tree string)) (snapshot string) {
	t.Helper()
	ok(t, btrfs.Create(disk, "source"))
	ok(t, os.Chmod(filepath.Join(disk, "source"), 0o755))
	grow(mkdir(t, disk, "source", "tree"))
	ok(t, btrfs.Snapshot(filepath.Join(disk, "source"), disk, "snapshot", true))
	return filepath.Join(disk, "snapshot")
}

func oddTree(t testing.TB) func(string) {
	return func(tree string) { testdisk.Tree(t, tree, testdisk.Spec{Seed: 1}) }
}

func copyOK(t testing.TB, root, path, dir, name string, o Options) Summary {
	t.Helper()
	summary, err := Copy(context.Background(), root, path, dir, name, o)
	ok(t, err)
	wantNoStage(t, dir)
	return summary
}

// wantSame compares all that a backup carries, and times of access.
func wantSame(t testing.TB, a, b string) {
	t.Helper()
	diffs, err := testdisk.CompareExact(a, b)
	ok(t, err)
	for _, diff := range diffs {
		t.Error(diff)
	}
	wantSameAtimes(t, a, b)
}

func wantSameAtimes(t testing.TB, a, b string) {
	t.Helper()
	ok(t, filepath.WalkDir(a, func(path string, d fs.DirEntry, err error) error {
		var was, is unix.Stat_t
		ok(t, err)
		ok(t, unix.Lstat(path, &was))
		if d.IsDir() && (was.Ino == 2 || was.Ino == 256) {
			return fs.SkipDir // a nested subvolume
		}
		ok(t, unix.Lstat(b+strings.TrimPrefix(path, a), &is))
		if !d.IsDir() && d.Type()&fs.ModeSymlink == 0 && was.Atim != is.Atim { // those were read by the comparison
			t.Errorf("%q: atime %v, %v", path, was.Atim, is.Atim)
		}
		return nil
	}))
}

// wantNoStage looks for what a copy has to remove, in all of dir.
func wantNoStage(t testing.TB, dir string) {
	t.Helper()
	if found := stagesIn(t, dir); len(found) > 0 {
		t.Errorf("left behind: %q", found)
	}
}

func stagesIn(t testing.TB, dir string) (found []string) {
	t.Helper()
	ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), stagePrefix) {
			found = append(found, path)
			return fs.SkipDir
		}
		return nil
	}))
	return found
}

func wantNote(t testing.TB, s Summary, part string) {
	t.Helper()
	if !slices.ContainsFunc(s.Notes, func(note string) bool { return strings.Contains(note, part) }) {
		t.Errorf("notes %q, want one with %q", s.Notes, part)
	}
}

func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q, want one with %q", err, part)
		}
	}
}

func names(t testing.TB, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	ok(t, err)
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func content(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	ok(t, err)
	return string(b)
}
