package diff_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs/sendstream/diff"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// What has changed is told without reading what files hold: none of it comes from the disk, and none is in the page cache then.
func TestBetweenReadsNoContents(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{MountOptions: "noatime", InMemory: true})
	l := newLab(t, disk.Path, "home")
	const size, files = 1 << 20, 32
	data := make([]byte, size)
	for n := range files {
		_, err := rand.Read(data) // so that nothing of it is compressed, or found twice
		ok(t, err)
		ok(t, os.WriteFile(l.at(fmt.Sprint(n)), data, 0o600))
	}
	older := l.snapshot(t)
	for n := range files {
		path := l.at(fmt.Sprint(n))
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		ok(t, err)
		switch n % 8 {
		case 0:
			_, err = f.WriteAt(data[:size/2], size/4)
		case 1:
			_, err = f.WriteAt(data[:size/2], size)
		case 2:
			err = f.Truncate(size/2 + 1)
		case 3:
			err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, size/4, size/2)
		case 4:
			err = f.Chmod(0o644)
		case 5:
			err = os.Rename(path, l.at("moved"+filepath.Base(path)))
		case 6:
			err = reflink(path, path+" too")
		case 7:
			err = errors.Join(os.Remove(path), os.WriteFile(path, data, 0o600))
		}
		ok(t, errors.Join(err, f.Close()))
	}
	newer := l.snapshot(t)
	disk.Unmount()
	disk.Mount("noatime")

	before := bytesRead(t, disk)
	result, err := diff.Between(context.Background(), older, newer)
	ok(t, err)
	read := bytesRead(t, disk) - before
	if changes := len(result.Changes); changes < files {
		t.Fatalf("%d changes: the test is no test", changes)
	}
	// Metadata of some dozens of files, with what is read ahead of it.
	t.Logf("%d KiB read for %d changes", read>>10, len(result.Changes))
	if read == 0 || read > size {
		t.Errorf("%d bytes were read from the disk, which has %d of contents", read, files*size)
	}
	for _, root := range []string{older, newer} {
		if pages := cachedBelow(t, root); pages > 0 {
			t.Errorf("%s: %d pages of files are in the page cache", root, pages)
		}
	}
	// Both ways to look see it where contents are read.
	before = bytesRead(t, disk)
	_, err = os.ReadFile(filepath.Join(newer, "4"))
	ok(t, err)
	if read := bytesRead(t, disk) - before; read < size {
		t.Errorf("a file of %d bytes was read, and %d bytes from the disk", size, read)
	}
	if pages := cachedBelow(t, newer); pages < size/os.Getpagesize() {
		t.Errorf("a file of %d bytes was read, and %d pages are in the page cache", size, pages)
	}
}

// bytesRead is what was read from a disk: the third number of /sys/block/*/stat, in sectors of 512 bytes.
func bytesRead(t *testing.T, disk *testdisk.Disk) int64 {
	t.Helper()
	stat, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(disk.Device), "stat"))
	ok(t, err)
	sectors, err := strconv.ParseInt(strings.Fields(string(stat))[2], 10, 64)
	ok(t, err)
	return sectors * 512
}

// cachedBelow is how many pages of the files below a directory are in the page cache.
func cachedBelow(t *testing.T, root string) (pages int) {
	t.Helper()
	ok(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		pages += int(testdisk.CachedPages(t, path))
		return nil
	}))
	return pages
}
