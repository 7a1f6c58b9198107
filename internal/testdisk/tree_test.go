package testdisk_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/internal/testdisk"
	"golang.org/x/sys/unix"
)

func TestTreeDependsOnSeedAlone(t *testing.T) {
	d := testdisk.New(t, testdisk.Options{})
	digests := map[string]string{}
	for name, seed := range map[string]uint64{"a": 1, "b": 1, "c": 2} {
		dir := mkdir(t, d.Path, name)
		testdisk.Tree(t, dir, testdisk.Spec{Seed: seed})
		digests[name] = digestOf(t, dir)
	}
	if digests["a"] != digests["b"] {
		t.Error("the same seed gave another tree")
		wantDiffs(t, filepath.Join(d.Path, "a"), filepath.Join(d.Path, "b"), 0)
	}
	if digests["a"] == digests["c"] {
		t.Error("another seed gave the same tree")
	}
	wantDiffs(t, filepath.Join(d.Path, "a"), filepath.Join(d.Path, "b"), 0)
}

func TestTreeOnOtherFileSystems(t *testing.T) {
	d := testdisk.New(t, testdisk.Options{Format: "ext4"})
	testdisk.Tree(t, d.Path, testdisk.Spec{})
	testdisk.Tree(t, t.TempDir(), testdisk.Spec{Files: 10})
}

func TestMutateDependsOnSeedAlone(t *testing.T) {
	d := testdisk.New(t, testdisk.Options{})
	spec := testdisk.Spec{Seed: 7}
	a, b, c := mkdir(t, d.Path, "a"), mkdir(t, d.Path, "b"), mkdir(t, d.Path, "c")
	for _, dir := range []string{a, b, c} {
		testdisk.Tree(t, dir, spec)
	}
	for dir, seed := range map[string]uint64{a: 1, b: 1, c: 2} {
		if err := testdisk.Mutate(dir, seed, 300); err != nil {
			t.Fatal(err)
		}
		setTimes(t, dir)
	}
	wantDiffs(t, a, b, 0)
	wantDiffs(t, a, c, 20)
}

func TestMutateAgainAndAgain(t *testing.T) {
	d := testdisk.New(t, testdisk.Options{})
	testdisk.Tree(t, d.Path, testdisk.Spec{Files: 20})
	last := digestOf(t, d.Path)
	for seed := range uint64(40) {
		if err := testdisk.Mutate(d.Path, seed, 30); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		digest := digestOf(t, d.Path)
		if digest == last {
			t.Fatalf("seed %d: nothing changed", seed)
		}
		last = digest
	}
}

func TestCompareSpeed(t *testing.T) {
	d := testdisk.New(t, testdisk.Options{})
	a, b := filepath.Join(d.Path, "a"), filepath.Join(d.Path, "b")
	btrfs(t, "subvolume", "create", a)
	testdisk.Tree(t, a, testdisk.Spec{Files: 10_000, MaxSize: 8 << 10})
	btrfs(t, "subvolume", "snapshot", a, b)
	start := time.Now()
	wantDiffs(t, a, b, 0)
	took := time.Since(start)
	t.Logf("10,000 files compared in %v", took)
	if took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func mkdir(t *testing.T, elements ...string) string {
	t.Helper()
	path := filepath.Join(elements...)
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func digestOf(t *testing.T, dir string) string {
	t.Helper()
	digest, err := testdisk.Digest(dir)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func wantDiffs(t *testing.T, a, b string, want int) {
	t.Helper()
	diffs, err := testdisk.Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if len(diffs) != want {
		t.Errorf("compare %s with %s: %d differences, want %d: %q", a, b, len(diffs), want, diffs)
	}
}

// setTimes gives everything one time of modification.
func setTimes(t *testing.T, dir string) {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		all = append(all, path)
		return err
	})
	for _, path := range all { // only now: to read a directory may change its atime
		ts := []unix.Timespec{{Sec: 1}, {Sec: 1}}
		err = errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW))
	}
	if err != nil {
		t.Fatal(err)
	}
}
