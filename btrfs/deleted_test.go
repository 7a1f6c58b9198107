package btrfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// Without the ioctl of Linux 6.13, the root tree tells what is still to be cleaned.
func TestDeletedSubvolumesByTree(t *testing.T) {
	d := testdisk.New(t, testdisk.Options{}).Path
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var ids []uint64
	for _, name := range []string{"a", "b", "c"} {
		ok(Create(d, name))
		s, err := Info(filepath.Join(d, name))
		ok(err)
		ids = append(ids, s.ID)
		if name == "c" {
			break
		}
		// An open file keeps the cleaner away.
		f, err := os.Create(filepath.Join(d, name, "file"))
		ok(err)
		defer f.Close()
		ok(Commit(d))
		ok(Delete(d, name, s.UUID))
	}
	ok(Commit(d))
	fd, _, err := openDir(d)
	ok(err)
	defer unix.Close(fd)
	got, err := deletedSubvolumes(fd, rootDirInode, lastFreeObjectID)
	ok(err)
	if diff := cmp.Diff(ids[:2], got); diff != "" {
		t.Errorf("deleted (-want +got):\n%s", diff)
	}
	got, err = stillInTree(fd, []uint64{ids[0] - 1, ids[1], ids[2], ids[2] + 7})
	ok(err)
	if diff := cmp.Diff(ids[1:2], got); diff != "" {
		t.Errorf("still in the tree (-want +got):\n%s", diff)
	}
}

func TestPollHeedsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := pollUntilEmpty(ctx, []uint64{1}, func(ids []uint64) ([]uint64, error) { return ids, nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
