package copytree

import (
	"context"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// More levels than a path has bytes, and than files may be open; also to be removed.
func TestDepth(t *testing.T) {
	disk := newDisk(t)
	const depth = 5000
	snapshot := subvolume(t, disk, func(tree string) {
		first := write(t, tree+"/first", "x")
		at, err := openDir(unix.AT_FDCWD, tree, 0)
		ok(t, err)
		for i := range depth {
			if i%100 == 0 { // names of one file far from each other, on both sides of the directory
				for _, name := range []string{"before", "behind"} {
					if name == "behind" {
						ok(t, unix.Mkdirat(at.fd, "d", 0o755))
					}
					ok(t, unix.Linkat(unix.AT_FDCWD, first, at.fd, name, 0))
				}
			} else {
				ok(t, unix.Mkdirat(at.fd, "d", 0o755))
			}
			below, err := openDir(at.fd, "d", 0)
			ok(t, err)
			at.close()
			at = below
		}
		at.close()
	})
	to := mkdir(t, disk, "to")
	withFewFiles(t, func() {
		summary := copyOK(t, snapshot, "tree", to, "copy", Options{})
		if summary.Directories != depth+1 || summary.Files != 1+2*depth/100 {
			t.Errorf("%+v", summary)
		}
		copyOK(t, snapshot, "tree", to, "copy", Options{Overwrite: true})

		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		_, err := Copy(ctx, snapshot, "tree/d", to, "cancelled", Options{Progress: func(int64) { cancel() }})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want %v", err, context.Canceled)
		}
	})
	diffs, err := testdisk.CompareExact(snapshot+"/tree", to+"/copy")
	ok(t, err)
	if len(diffs) > 0 {
		t.Error(diffs)
	}
	// One that was killed at its end.
	stage := to + "/" + stageOf("copy")
	ok(t, os.Mkdir(stage, 0o700))
	write(t, stage+"/"+markName, "")
	ok(t, os.Rename(to+"/copy", stage+"/1"))
	withFewFiles(t, func() { copyOK(t, snapshot, "tree/first", to, "copy", Options{}) })
	if got := names(t, to); len(got) != 1 {
		t.Errorf("in the target: %q", got)
	}
}

func withFewFiles(t *testing.T, do func()) {
	t.Helper()
	var limit unix.Rlimit
	ok(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	low := limit
	low.Cur = 128
	ok(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	defer func() { ok(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }()
	do()
}
