package btrfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

func TestNames(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{}).Path
	ok(t, btrfs.Create(disk, "home"))
	home := filepath.Join(disk, "home")
	deep := filepath.Join("d", strings.Repeat("e", 255), "f")
	ok(t, os.MkdirAll(filepath.Join(home, deep), 0o755))
	want := []string{"one"}
	ok(t, os.WriteFile(filepath.Join(home, "one"), nil, 0o600))
	for i := range 400 { // more than fit into one item, and into 4 KiB
		name := filepath.Join([]string{"", "d", deep}[i%3], fmt.Sprintf("%s%d", strings.Repeat("\xff\n", 100), i))
		ok(t, os.Link(filepath.Join(home, "one"), filepath.Join(home, name)))
		want = append(want, name)
	}
	ok(t, btrfs.Snapshot(home, disk, "snapshot", true))
	var st unix.Stat_t
	ok(t, unix.Stat(filepath.Join(home, "one"), &st))
	got, err := btrfs.Names(filepath.Join(disk, "snapshot"), st.Ino)
	ok(t, err)
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := btrfs.Names(filepath.Join(disk, "snapshot"), 1<<40); len(got) != 0 || err != nil {
		t.Errorf("an inode that is not there: %q, %v", got, err)
	}
}
