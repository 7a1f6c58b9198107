package btrfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/google/go-cmp/cmp"
)

// oddNames are names of subvolumes that break careless programs, the longest ones among them.
func oddNames() []string {
	return slices.Compact(slices.Sorted(slices.Values(append(testdisk.OddNames(),
		"..x", "...", "-rf", "a b", "new\nline", "quo\"te'", "ünï", "\xff\xfe", "0", strings.Repeat("x", 255)))))
}

// The listing says of every subvolume what its own ioctl says, whatever its name and wherever it is.
func TestList(t *testing.T) {
	d := newDisk(t)
	if all := list(t, d); len(all) != 0 {
		t.Fatalf("empty file system: %+v", all)
	}
	live := create(t, d, "live")
	dir := filepath.Join(live, "dir")
	ok(t, os.Mkdir(dir, 0o755))
	paths := []string{live}
	for _, name := range oddNames() {
		paths = append(paths, create(t, dir, name))
	}
	nested := create(t, paths[3], "nested")
	paths = append(paths, nested, create(t, nested, "nested"), snapshot(t, live, d, "snapshot"), snapshot(t, nested, dir, "snapshot"))
	ok(t, btrfs.Sync(d))

	var want []btrfs.Subvolume
	for _, path := range paths {
		want = append(want, info(t, path))
	}
	byID := func(a, b btrfs.Subvolume) int { return int(a.ID) - int(b.ID) }
	slices.SortFunc(want, byID)
	for _, from := range []string{d, nested, dir} {
		if diff := cmp.Diff(want, list(t, from)); diff != "" {
			t.Errorf("from %s (-Info +List):\n%s", from, diff)
		}
	}

	key, err := btrfs.LocateDir(dir)
	ok(t, err)
	var names []string
	for _, s := range list(t, d) {
		if key.Holds(s) {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	wantNames := append(oddNames(), "snapshot")
	slices.Sort(wantNames)
	if diff := cmp.Diff(wantNames, names); diff != "" {
		t.Errorf("names in the directory (-want +got):\n%s", diff)
	}
}

// What is deleted is gone from the list at once, though the tree has it until the cleaner has been there.
func TestListDeleted(t *testing.T) {
	d := newDisk(t)
	live := create(t, d, "live")
	for i := range 20 {
		snapshot(t, live, d, fmt.Sprint("s", i))
	}
	for i := range 19 {
		name := fmt.Sprint("s", i)
		ok(t, btrfs.Delete(d, name, info(t, filepath.Join(d, name)).UUID))
	}
	var names []string
	for _, s := range list(t, d) {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]string{"live", "s19"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// More than one buffer of the search.
func TestListMany(t *testing.T) {
	d := newDisk(t)
	const n = 300
	for i := range n {
		create(t, d, fmt.Sprintf("%0200d", i))
	}
	for i, s := range list(t, d) {
		if want := fmt.Sprintf("%0200d", i); s.Name != want {
			t.Fatalf("subvolume %d is called %s, want %s", i, s.Name, want)
		}
	}
	if got := len(list(t, d)); got != n {
		t.Errorf("%d subvolumes, want %d", got, n)
	}
}

func BenchmarkList(b *testing.B) {
	d := newDisk(b)
	have := 0
	for _, n := range []int{100, 1000, 5000} {
		for ; have < n; have++ {
			create(b, d, fmt.Sprintf("20261123T%06dZ", have))
		}
		ok(b, btrfs.Sync(d))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if got := len(list(b, d)); got != n {
					b.Fatal(got)
				}
			}
		})
	}
}
