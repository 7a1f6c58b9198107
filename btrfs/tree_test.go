package btrfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

func openTree(t testing.TB, path string) *btrfs.Tree {
	t.Helper()
	tree, err := btrfs.OpenTree(path)
	ok(t, err)
	t.Cleanup(func() { tree.Close() })
	return tree
}

// ranges gives what of the data of files a walk finds, by their names.
func ranges(t testing.TB, tree *btrfs.Tree, w btrfs.Walk) map[string][]string {
	t.Helper()
	found, name := map[string][]string{}, ""
	for p, err := range tree.Walk(t.Context(), w) {
		ok(t, err)
		switch p.Kind {
		case btrfs.PartName:
			name = string(p.Name)
		case btrfs.PartData:
			found[name] = append(found[name], fmt.Sprintf("data %d-%d", p.Start, p.End))
		case btrfs.PartHole:
			found[name] = append(found[name], fmt.Sprintf("hole %d-%d", p.Start, p.End))
		}
	}
	return found
}

// Of a file that has changed a walk finds what differs, though the extents that are left are as old as ever.
func TestWalkFindsRanges(t *testing.T) {
	const mib = 1 << 20
	disk := newDisk(t)
	live := create(t, disk, "live")
	change := func(do func(f *os.File) error) func(string) error {
		return func(path string) error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			return errors.Join(do(f), f.Sync(), f.Close())
		}
	}
	punch := func(start, length int64) func(string) error {
		return change(func(f *os.File) error {
			return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, start, length)
		})
	}
	truncate := func(size int64) func(string) error { return func(path string) error { return os.Truncate(path, size) } }
	clone := func(from, to, length int) func(string) error {
		return change(func(f *os.File) error {
			return unix.IoctlFileCloneRange(int(f.Fd()), &unix.FileCloneRange{Src_fd: int64(f.Fd()), Src_offset: uint64(from), Dest_offset: uint64(to), Src_length: uint64(length)})
		})
	}
	cases := map[string]struct {
		size int
		do   func(path string) error
		want []string
	}{
		"nothing":                {4 * mib, nil, nil},
		"mode":                   {4 * mib, func(path string) error { return os.Chmod(path, 0o600) }, nil},
		"rename":                 {4 * mib, func(path string) error { return errors.Join(os.Rename(path, path+"2"), os.Rename(path+"2", path)) }, nil},
		"overwrite":              {4 * mib, change(func(f *os.File) error { _, err := f.WriteAt([]byte("x"), mib+1); return err }), []string{"data 1048576-1052672"}},
		"hole":                   {4 * mib, punch(mib, 8192), []string{"hole 1048576-1056768"}},
		"hole at the end":        {4*mib - 100, punch(3*mib, mib), []string{"hole 3145728-4194204"}},
		"hole over preallocated": {4 * mib, punch(0, 4*mib), []string{"hole 0-1048576", "hole 3145728-4194304"}},
		"shorter":                {4 * mib, truncate(mib), nil},
		"longer":                 {4 * mib, truncate(8 * mib), nil},
		"shorter and longer": {4 * mib, func(path string) error { return errors.Join(truncate(2*mib)(path), truncate(4*mib)(path)) },
			[]string{"hole 2097152-4194304"}},
		"preallocated":             {4 * mib, change(func(f *os.File) error { return unix.Fallocate(int(f.Fd()), 0, 4*mib, mib) }), nil},
		"reflink within an extent": {4 * mib, clone(0, 2*mib, mib), []string{"data 2097152-3145728"}},
		"reflink of itself":        {4 * mib, clone(0, 4*mib, mib), []string{"data 4194304-5242880"}},
		"inline":                   {100, change(func(f *os.File) error { _, err := f.WriteAt([]byte("what it had not"), 1); return err }), []string{"data 0-100"}},
		"inline that is the same":  {100, func(path string) error { return os.Chmod(path, 0o600) }, nil},
		"inline to regular":        {100, change(func(f *os.File) error { _, err := f.WriteAt(make([]byte, 8192), 0); return err }), []string{"data 0-100", "data 100-8192"}},
		"removed":                  {4 * mib, os.Remove, nil},
	}
	for name, tc := range cases {
		write(t, filepath.Join(live, name), randomBytes(tc.size))
		ok(t, btrfs.Sync(disk)) // else several files come into one extent
	}
	over := filepath.Join(live, "hole over preallocated")
	ok(t, errors.Join(punch(mib, 2*mib)(over), change(func(f *os.File) error { return unix.Fallocate(int(f.Fd()), 0, 2*mib, mib) })(over)))
	base := info(t, snapshot(t, live, disk, "base"))
	want := map[string][]string{"new": {"data 0-4096"}}
	for name, tc := range cases {
		if tc.do != nil {
			ok(t, tc.do(filepath.Join(live, name)))
		}
		if tc.want != nil {
			want[name] = tc.want
		}
	}
	write(t, filepath.Join(live, "new"), randomBytes(4096))
	tree := openTree(t, snapshot(t, live, disk, "next"))
	if diff := cmp.Diff(want, ranges(t, tree, btrfs.Walk{Base: base.ID, Since: base.Ctransid})); diff != "" {
		t.Error(diff)
	}
	// Without a base, all that has data.
	whole := ranges(t, tree, btrfs.Walk{})
	if got := fmt.Sprint(whole["hole"], whole["nothing"], whole["longer"]); got != "[data 0-1048576 data 1056768-4194304] [data 0-4194304] [data 0-4194304]" {
		t.Error(got)
	}
	// From the middle.
	var st unix.Stat_t
	ok(t, unix.Stat(filepath.Join(live, "new"), &st))
	if got := ranges(t, tree, btrfs.Walk{From: st.Ino}); len(got) != 1 || got["new"] == nil {
		t.Error(got)
	}
}

func TestWalkTellsAttributes(t *testing.T) {
	disk := newDisk(t)
	live := create(t, disk, "live")
	in := func(name string) string { return filepath.Join(live, name) }
	ok(t, os.Mkdir(in("dir"), 0o750))
	create(t, in("dir"), "nested")
	write(t, in("dir/file"), []byte("12345"))
	ok(t, os.Link(in("dir/file"), in("name")))
	ok(t, os.Chown(in("name"), 7, 8))
	ok(t, unix.Setxattr(in("name"), "user.a", []byte("b"), 0))
	ok(t, os.Symlink("where", in("dir/link")))
	ok(t, unix.Mknod(in("dir/null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	ok(t, unix.UtimesNanoAt(unix.AT_FDCWD, in("name"), []unix.Timespec{{}, {Sec: -5, Nsec: 6}}, 0))
	tree := openTree(t, snapshot(t, live, disk, "s"))
	number := map[uint64]string{256: "."}
	for _, name := range []string{"dir", "name", "dir/link", "dir/null"} {
		var st unix.Stat_t
		ok(t, unix.Lstat(in(name), &st))
		number[st.Ino] = name
	}
	var got []string
	for p, err := range tree.Walk(t.Context(), btrfs.Walk{}) {
		ok(t, err)
		i := p.Inode
		text := number[i.Number] + ": "
		switch p.Kind {
		case btrfs.PartInode:
			text += fmt.Sprintf("%o %d:%d links %d", i.Mode, i.UID, i.GID, i.Links)
			if number[i.Number] == "name" {
				text += fmt.Sprintf(" size %d mtime %d %d", i.Size, i.Mtime.Sec, i.Mtime.Nsec)
			}
			if i.Rdev != 0 {
				text += fmt.Sprintf(" device %d:%d", unix.Major(i.Rdev), unix.Minor(i.Rdev))
			}
		case btrfs.PartName:
			text += fmt.Sprintf("name %s in %s", p.Name, number[p.Ref])
		case btrfs.PartXattr:
			text += fmt.Sprintf("xattr %s=%s", p.Name, p.Value)
		case btrfs.PartEntry:
			text += fmt.Sprintf("entry %s: %s", p.Name, number[p.Ref])
		case btrfs.PartTarget:
			text += fmt.Sprintf("target %s", p.Value)
		case btrfs.PartData:
			text += fmt.Sprintf("data %d-%d", p.Start, p.End)
		}
		got = append(got, text)
	}
	want := []string{
		".: 40755 0:0 links 1", ".: name .. in .", ".: entry dir: dir", ".: entry name: name",
		"dir: 40750 0:0 links 1", "dir: name dir in .", "dir: entry file: name", "dir: entry link: dir/link", "dir: entry null: dir/null",
		"name: 100644 7:8 links 2 size 5 mtime -5 6", "name: name name in .", "name: name file in dir", "name: xattr user.a=b", "name: data 0-5",
		"dir/link: 120777 0:0 links 1", "dir/link: name link in dir", "dir/link: target where",
		"dir/null: 20600 0:0 links 1 device 1:3", "dir/null: name null in dir",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The numbers of what is gone, though some have become those of new files: which happens when the highest ones were free as the subvolume was loaded again.
func TestGone(t *testing.T) {
	d := testdisk.New(t, testdisk.Options{})
	live := create(t, d.Path, "live")
	in := func(name string) string { return filepath.Join(live, name) }
	inode := func(name string) uint64 {
		t.Helper()
		var st unix.Stat_t
		ok(t, unix.Lstat(in(name), &st))
		return st.Ino
	}
	ok(t, os.MkdirAll(in("stays/moved"), 0o755))
	for _, name := range []string{"stays/kept", "stays/gone", "stays/moved/a", "stays/two"} {
		write(t, in(name), randomBytes(5000))
	}
	ok(t, os.Link(in("stays/two"), in("second")))
	ok(t, os.MkdirAll(in("last/deep"), 0o755))
	write(t, in("last/deep/x"), randomBytes(5000))
	write(t, in("last/deep/y"), randomBytes(5000))
	want := []uint64{inode("stays/gone"), inode("last/deep/y")}
	reused := []uint64{inode("last"), inode("last/deep"), inode("last/deep/x")}

	base := info(t, snapshot(t, live, d.Path, "base"))
	ok(t, os.Remove(in("stays/gone")))
	ok(t, os.Remove(in("stays/two")))
	ok(t, os.Rename(in("stays/moved"), in("elsewhere")))
	ok(t, os.RemoveAll(in("last")))
	d.Unmount()
	d.Mount("")
	for n, number := range reused {
		name := fmt.Sprint("new", n)
		write(t, in(name), randomBytes(6000))
		if got := inode(name); got != number {
			t.Fatalf("%s has number %d, not %d again", name, got, number)
		}
	}
	tree := openTree(t, snapshot(t, live, d.Path, "next"))
	got, err := tree.Gone(t.Context(), base.ID, base.Ctransid)
	ok(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for p, err := range tree.Walk(t.Context(), btrfs.Walk{Base: base.ID, Since: base.Ctransid}) {
		ok(t, err)
		if p.Kind == btrfs.PartInode && p.Inode.Number == reused[2] && (!p.New || p.OldSize != p.Inode.Size) {
			t.Error("a new file is taken for the one that had its number")
		}
	}
}

func TestTreeOpensFiles(t *testing.T) {
	disk := newDisk(t)
	live := create(t, disk, "live")
	write(t, filepath.Join(live, "f"), []byte("content"))
	var st unix.Stat_t
	ok(t, unix.Stat(filepath.Join(live, "f"), &st))
	tree := openTree(t, snapshot(t, live, disk, "s"))
	f, err := tree.OpenFile(st.Ino)
	ok(t, err)
	defer f.Close()
	got := make([]byte, 7)
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, []byte("content")) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := tree.OpenFile(1 << 40); err == nil {
		t.Error("what is not there was opened")
	}
}

func TestWalkEnds(t *testing.T) {
	disk := newDisk(t)
	live := create(t, disk, "live")
	for i := range 2000 {
		write(t, filepath.Join(live, fmt.Sprint(i)), nil)
	}
	base := info(t, snapshot(t, live, disk, "s"))
	tree := openTree(t, filepath.Join(disk, "s"))
	for _, err := range tree.Walk(t.Context(), btrfs.Walk{}) {
		ok(t, err)
		break
	}
	for _, err := range tree.Walk(t.Context(), btrfs.Walk{Base: base.ID, Since: math.MaxUint64}) {
		t.Error("something is newer than everything:", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var last error
	for _, err := range tree.Walk(ctx, btrfs.Walk{}) {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Error(last)
	}
	if _, err := btrfs.OpenTree(filepath.Dir(disk)); !errors.Is(err, btrfs.ErrNotBtrfs) {
		t.Error(err)
	}
}
