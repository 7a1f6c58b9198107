package copytree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

func TestNoSpace(t *testing.T) {
	disk := newDisk(t)
	snapshot := subvolume(t, disk, func(tree string) {
		for i := range 8 {
			write(t, fmt.Sprintf("%s/%d", tree, i), strings.Repeat(fmt.Sprint(i), 16<<20))
		}
	})
	for _, format := range []string{"btrfs", "ext4"} {
		t.Run(format, func(t *testing.T) {
			dir := testdisk.New(t, testdisk.Options{Size: 64 << 20, Mixed: format == "btrfs", Format: format}).Path
			before := names(t, dir)
			_, err := Copy(context.Background(), snapshot, "tree", dir, "copy", Options{})
			if !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("error %v, want %v", err, unix.ENOSPC)
			}
			wantError(t, err, "no space left on device", dir+"/copy")
			wantNoStage(t, dir)
			if after := names(t, dir); len(after) != len(before) {
				t.Errorf("left: %q", after)
			}
			copyOK(t, snapshot, "tree/0", dir, "0", Options{})
			wantSameFile(t, snapshot+"/tree/0", dir+"/0")

			// Over what is there: nothing has changed.
			write(t, mkdir(t, dir, "copy")+"/7", "old")
			_, err = Copy(context.Background(), snapshot, "tree", dir, "copy", Options{Overwrite: true})
			if !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("error %v, want %v", err, unix.ENOSPC)
			}
			wantNoStage(t, dir)
			if got := names(t, dir+"/copy"); len(got) != 1 || content(t, dir+"/copy/7") != "old" {
				t.Errorf("it changed: %q", got)
			}
		})
	}
}

func TestReadOnlyTarget(t *testing.T) {
	snapshot := subvolume(t, newDisk(t), func(tree string) { write(t, tree+"/file", "x") })
	disk := testdisk.New(t, testdisk.Options{})
	disk.Remount("ro")
	_, err := Copy(context.Background(), snapshot, "tree", disk.Path, "copy", Options{})
	if !errors.Is(err, unix.EROFS) {
		t.Errorf("error %v, want %v", err, unix.EROFS)
	}
	wantError(t, err, disk.Path, "read-only file system")
}

// A file that cannot be read does not keep the others from being brought.
func TestUnreadable(t *testing.T) {
	disk := testdisk.NewFaulty(t, testdisk.Options{Size: 256 << 20})
	subvolume(t, disk.Path, func(tree string) {
		write(t, tree+"/a small", "x")
		for _, name := range []string{"bad", "good"} {
			write(t, mkdir(t, tree, "dir")+"/"+name, strings.Repeat(name, 1<<20))
		}
		ok(t, os.Link(tree+"/dir/bad", tree+"/dir/bad too"))
		write(t, tree+"/z good", strings.Repeat("z", 1<<20))
	})
	tree := disk.Path + "/snapshot/tree"
	disk.Unmount()
	disk.Fail(testdisk.Read, testdisk.Failure{Offset: find(t, disk.Device, "badbadbad"), Length: 4096})
	disk.Mount("")
	to := newDisk(t)
	summary, err := Copy(context.Background(), disk.Path+"/snapshot", "tree", to, "copy", Options{})
	var left *Incomplete
	if !errors.As(err, &left) || left.Count != 2 || !errors.Is(err, unix.EIO) {
		t.Fatalf("error %v, want two files that were left out", err)
	}
	wantError(t, err, "2 left out; read "+tree+"/dir/bad: input/output error; read "+tree+"/dir/bad too: input/output error")
	wantNoStage(t, to)
	if summary.Files != 3 || summary.Directories != 2 {
		t.Errorf("%+v", summary)
	}
	if _, err := Copy(context.Background(), disk.Path+"/snapshot", "tree/dir/bad", to, "bad", Options{}); !errors.Is(err, unix.EIO) {
		t.Errorf("error %v, want %v", err, unix.EIO)
	}
	if got := names(t, to); len(got) != 1 {
		t.Errorf("in the target: %q", got)
	}

	// Over what is there, the old file stays.
	write(t, to+"/copy/dir/bad", "old")
	_, err = Copy(context.Background(), disk.Path+"/snapshot", "tree", to, "copy", Options{Overwrite: true})
	wantError(t, err, "2 left out")
	if content(t, to+"/copy/dir/bad") != "old" {
		t.Error("the old file is gone")
	}
	disk.Clear()
	copyOK(t, disk.Path+"/snapshot", "tree", to, "copy", Options{Overwrite: true})
	wantSame(t, tree, to+"/copy")
}

// find tells where on a device a block begins with the given bytes.
func find(t testing.TB, device, start string) int64 {
	t.Helper()
	f, err := os.Open(device)
	ok(t, err)
	defer f.Close()
	b := make([]byte, 1<<20)
	for at := int64(0); ; at += int64(len(b)) {
		_, err := f.ReadAt(b, at)
		ok(t, err)
		for i := 0; i < len(b); i += 4096 {
			if strings.HasPrefix(string(b[i:i+len(start)]), start) {
				return at + int64(i)
			}
		}
	}
}

func TestCancelled(t *testing.T) {
	snapshot := subvolume(t, newDisk(t), func(tree string) { write(t, tree+"/file", strings.Repeat("x", 8<<20)) })
	dir := newDisk(t)
	write(t, mkdir(t, dir, "old")+"/file", "old")
	before := digest(t, dir+"/old")
	for _, name := range []string{"new", "old"} {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var moved int64
		_, err := Copy(ctx, snapshot, "tree", dir, name, Options{Overwrite: true, Progress: func(bytes int64) { moved = bytes; cancel() }})
		if !errors.Is(err, context.Canceled) || moved != bufferSize {
			t.Errorf("error %v after %d bytes, want %v", err, moved, context.Canceled)
		}
	}
	if left := names(t, dir); len(left) != 1 || digest(t, dir+"/old") != before {
		t.Errorf("left: %q", left)
	}
}
