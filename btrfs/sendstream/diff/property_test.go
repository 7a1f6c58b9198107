package diff_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/btrkeep/btrkeep/btrfs/sendstream/diff"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// wantScanned holds the diff of two snapshots against two scans of them, and gives how many files it calls modified that read the same.
func wantScanned(t rapid.TB, older, newer string) (alike int) {
	t.Helper()
	result, err := diff.Between(context.Background(), older, newer)
	ok(t, err)
	before, after := scan(t, older), scan(t, newer)
	want := compared(before, after)
	got := slices.Clone(result.Changes)
	for i := range got {
		c := &got[i]
		// Any other name of the file will do.
		if i := slices.IndexFunc(want, func(w diff.Change) bool { return w.Path == c.Path && w.Kind == c.Kind && w.Link != "" }); i >= 0 && after[c.Link].id() == after[c.Path].id() && c.Link != c.Path {
			c.Link = want[i].Link
		}
		if c.Kind == diff.Added {
			c.Content = false // that of a new file is what it is
		}
		rewritten := c.Written > 0 || c.Cloned > 0
		c.Written, c.Cloned = 0, 0
		if !c.Content || c.Replaced || !rewritten || !bytes.Equal(before[c.From].content, after[c.Path].content) {
			continue
		}
		alike++
		c.Content = false
		if c.Kind == diff.Modified {
			c.Kind = diff.Metadata
		}
	}
	got = slices.DeleteFunc(got, func(c diff.Change) bool { return c.Kind == diff.Metadata && len(c.Metadata) == 0 && !c.Replaced })
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("%s to %s, scanned (-) and told (+):\n%s", filepath.Base(older), filepath.Base(newer), d)
	}
	return alike
}

// Few names that come and go, trade places, are used again and are moved with what is in them.
func TestDiffIsWhatScansShow(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{MountOptions: "noatime"}).Path
	number, alike, changes := 0, 0, 0
	rapid.Check(t, func(r *rapid.T) {
		number++
		l := newLab(r, disk, fmt.Sprint(number))
		defer l.close(t)
		for range 3 {
			for range rapid.IntRange(0, 30).Draw(r, "changes") {
				shuffle(r, l.source)
				changes++
			}
			l.snapshot(r)
		}
		for _, pair := range [][2]int{{0, 1}, {1, 2}, {0, 2}, {2, 0}} {
			alike += wantScanned(r, l.snapshots[pair[0]], l.snapshots[pair[1]])
		}
	})
	t.Logf("%d sequences of 3 snapshots, %d changes; %d files rewritten as they were", number, changes, alike)
}

// shuffle makes one change among few names. What cannot be done is left.
func shuffle(r *rapid.T, root string) {
	names := []string{"a", "b", "c", "a/a", "a/b", "b/a", "b/b", "c/a", "a/a/a", "a/b/c", "b/a/c", "c/a/b"}
	name := func() string { return filepath.Join(root, rapid.SampledFrom(names).Draw(r, "name")) }
	from, to := name(), name()
	err := []func() error{
		func() error { return os.Mkdir(from, 0o755) },
		func() error { return os.Mkdir(from, 0o755) },
		func() error { return writeNew(from, 30) },
		func() error { return writeNew(from, rapid.IntRange(0, 200_000).Draw(r, "size")) },
		func() error { return patch(from, rapid.Int64Range(0, 100_000).Draw(r, "offset")) },
		func() error { return os.Truncate(from, rapid.Int64Range(0, 100_000).Draw(r, "size")) },
		func() error { return os.Rename(from, to) },
		func() error { return os.Rename(from, to) },
		func() error { return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE) },
		func() error { return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE) },
		func() error { return os.Remove(from) },
		func() error { return os.RemoveAll(from) },
		func() error { return os.Link(from, to) },
		func() error { return os.Link(from, to) },
		func() error { return os.Symlink(to, from) },
		func() error { return unix.Mkfifo(filepath.Join(root, "fifo"), 0o600) }, // at none of the names: opening it would block
		func() error { return os.Rename(filepath.Join(root, "fifo"), filepath.Join(root, "a", "fifo")) },
		func() error { return unix.Mknod(from, unix.S_IFSOCK|0o600, 0) },
		func() error { return unix.Mknod(from, unix.S_IFCHR|0o600, 1<<8|3) },
		func() error { return chmod(from, rapid.SampledFrom([]uint32{0o700, 0o755, 0o4711}).Draw(r, "mode")) },
		func() error { return os.Lchown(from, rapid.SampledFrom([]int{0, 1000}).Draw(r, "owner"), 0) },
		func() error { return touch(from) },
		func() error { return unix.Lsetxattr(from, "user.x", []byte(time.Now().String()), 0) },
		func() error { return unix.Lremovexattr(from, "user.x") },
		func() error { return unix.Lsetxattr(from, "security.capability", capability, 0) },
		func() error { return unix.Lsetxattr(from, "btrfs.compression", []byte("zstd"), 0) },
		func() error { return flag(from) },
		func() error { return reflink(from, to) },
		func() error { return punch(from) },
	}[rapid.IntRange(0, 28).Draw(r, "change")]()
	harmless := []error{
		unix.ENOENT, unix.EEXIST, unix.ENOTDIR, unix.EISDIR, unix.ENOTEMPTY, unix.EINVAL, unix.EPERM, unix.ELOOP, unix.EOPNOTSUPP, unix.ENODATA,
		unix.ENXIO, unix.EBADF, unix.ESPIPE, unix.EXDEV, unix.ENODEV,
	}
	if err != nil && !slices.ContainsFunc(harmless, func(h error) bool { return errors.Is(err, h) }) {
		r.Fatal(err)
	}
}

// capability is CAP_NET_RAW in the form of vfs_cap_data.
var capability = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// openFile opens a regular file, and nothing that blocks.
func openFile(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, unix.EINVAL
	}
	return f, nil
}

// text is not the same twice, and a third of it compresses away.
func text(size int) []byte {
	var b bytes.Buffer
	for b.Len() < size {
		fmt.Fprintln(&b, time.Now().UnixNano())
	}
	return b.Bytes()[:size]
}

func writeNew(path string, size int) error {
	f, err := openFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.Write(text(size))
	return errors.Join(err, f.Close())
}

func patch(path string, offset int64) error {
	f, err := openFile(path, os.O_WRONLY)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text(5000), offset)
	return errors.Join(err, f.Close())
}

func punch(path string) error {
	f, err := openFile(path, os.O_WRONLY)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 4096, 10_000), f.Close())
}

func reflink(from, to string) error {
	source, err := openFile(from, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := openFile(to, os.O_CREATE|os.O_WRONLY)
	if err != nil {
		return err
	}
	return errors.Join(unix.IoctlFileClone(int(target.Fd()), int(source.Fd())), target.Close())
}

func chmod(path string, mode uint32) error {
	if st, err := os.Lstat(path); err != nil || st.Mode()&os.ModeSymlink != 0 {
		return unix.EINVAL
	}
	return unix.Chmod(path, mode)
}

// flag turns a flag of chattr around, that for no access times.
func flag(path string) error {
	f, err := openFile(path, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return err
	}
	const noAtime = 0x80
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags^noAtime)
}

func touch(path string) error {
	now := unix.NsecToTimespec(time.Now().UnixNano())
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{now, now}, unix.AT_SYMLINK_NOFOLLOW)
}

// A tree with every oddity, and changes of every sort to it.
func TestDiffOfOddTree(t *testing.T) {
	l := newLab(t, testdisk.New(t, testdisk.Options{MountOptions: "noatime,compress=zstd"}).Path, "home")
	testdisk.Tree(t, l.source, testdisk.Spec{Seed: 1, Files: 200, MaxSize: 1 << 18})
	l.snapshot(t)
	alike := 0
	for step := range uint64(6) {
		ok(t, testdisk.Mutate(l.source, step, 60))
		l.snapshot(t)
		alike += wantScanned(t, l.snapshots[step], l.snapshots[step+1])
		alike += wantScanned(t, l.snapshots[step+1], l.snapshots[0])
	}
	t.Logf("%d files rewritten as they were", alike)
}
