package copytree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// On its own file system, a copy is exact and takes no space for data.
func TestSameFileSystem(t *testing.T) {
	disk := newDisk(t)
	snapshot := subvolume(t, disk, oddTree(t))
	ok(t, os.Mkdir(filepath.Join(disk, "to"), 0o755))
	before := used(t, disk)
	var moved int64
	summary := copyOK(t, snapshot, "tree", filepath.Join(disk, "to"), "copy", Options{Progress: func(bytes int64) { moved = bytes }})
	wantSame(t, snapshot+"/tree", disk+"/to/copy")
	if summary.Bytes < 256<<20 || summary.Shared != summary.Bytes || moved != summary.Bytes {
		t.Errorf("%d of %d bytes are shared, %d were told", summary.Shared, summary.Bytes, moved)
	}
	if grown := used(t, disk) - before; grown > 4<<20 { // of metadata
		t.Errorf("the copy takes %d bytes", grown)
	}
	if len(summary.Notes) > 0 {
		t.Errorf("notes: %q", summary.Notes)
	}
	files, directories, others := count(t, disk+"/to/copy")
	if summary.Files != files || summary.Directories != directories || summary.Others != others {
		t.Errorf("%+v, want %d files, %d directories, %d others", summary, files, directories, others)
	}
}

func used(t testing.TB, path string) int64 {
	t.Helper()
	ok(t, btrfs.Sync(path))
	var st unix.Statfs_t
	ok(t, unix.Statfs(path, &st))
	return int64(st.Blocks-st.Bfree) * st.Bsize
}

func count(t testing.TB, dir string) (files, directories, others int) {
	t.Helper()
	ok(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		switch {
		case d.IsDir():
			directories++
		case d.Type().IsRegular():
			files++
		default:
			others++
		}
		return err
	}))
	return files, directories, others
}

func TestOtherFileSystems(t *testing.T) {
	snapshot := subvolume(t, newDisk(t), func(tree string) {
		oddTree(t)(tree)
		ok(t, unix.Setxattr(write(t, tree+"/compressed", "x"), "btrfs.compression", []byte("zstd"), 0))
	})
	for name, test := range map[string]struct {
		dir   func(*testing.T) string
		lacks string // what the target does not have
	}{
		"btrfs": {func(t *testing.T) string { return newDisk(t) }, ""},
		"ext4": {func(t *testing.T) string {
			return testdisk.New(t, testdisk.Options{Format: "ext4"}).Path
		}, "btrfs.compression"},
		"tmpfs": {tmpfs, "btrfs.compression"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := test.dir(t)
			summary := copyOK(t, snapshot, "tree", dir, "copy", Options{})
			if summary.Shared != 0 {
				t.Errorf("%d bytes are shared with another file system", summary.Shared)
			}
			if test.lacks == "" {
				wantSame(t, snapshot+"/tree", dir+"/copy")
				if len(summary.Notes) > 0 {
					t.Errorf("notes: %q", summary.Notes)
				}
				return
			}
			diffs, err := testdisk.CompareExact(snapshot+"/tree", dir+"/copy")
			ok(t, err)
			for _, diff := range diffs {
				if !strings.Contains(diff, test.lacks) {
					t.Error(diff)
				}
			}
			wantSameAtimes(t, snapshot+"/tree", dir+"/copy")
			wantNote(t, summary, "extended attributes "+test.lacks+" were not kept: operation not supported: "+dir+"/copy/compressed")
		})
	}
}

func tmpfs(t *testing.T) string {
	dir := t.TempDir()
	ok(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	t.Cleanup(func() { ok(t, unix.Unmount(dir, 0)) })
	return dir
}

func TestSingleFile(t *testing.T) {
	disk := newDisk(t)
	snapshot := subvolume(t, disk, oddTree(t))
	for _, path := range []string{
		"tree/attributes/capability", "tree/attributes/acl", "tree/attributes/xattr", "tree/attributes/mode4755", "tree/attributes/owner4000000000-link",
		"tree/kinds/hard", "tree/kinds/socket", "tree/kinds/block", "tree/kinds/link-loop", "tree/contents/hole-large", "tree//kinds/empty/",
		"tree/names/new\nline", "tree/names/" + strings.Repeat("n", 255), "tree/names/invalid\xff\xfeutf8",
	} {
		t.Run(path, func(t *testing.T) {
			dir, name := mkdir(t, disk, "to", fmt.Sprint(len(path))), filepath.Base(path)
			summary := copyOK(t, snapshot, path, dir, name, Options{})
			if n := summary.Files + summary.Directories + summary.Others; n != 1 {
				t.Errorf("%+v, want one", summary)
			}
			wantSameFile(t, filepath.Join(snapshot, path), filepath.Join(dir, name))
		})
	}
}

// wantSameFile compares two files that are in no directory of their own.
func wantSameFile(t testing.TB, a, b string) {
	t.Helper()
	var sa, sb unix.Stat_t
	ok(t, unix.Lstat(a, &sa))
	ok(t, unix.Lstat(b, &sb))
	facts := func(path string, st unix.Stat_t) string {
		target, _ := os.Readlink(path)
		return fmt.Sprintf("%o %d:%d %d %v %v %q %v", st.Mode, st.Uid, st.Gid, st.Size, st.Mtim, st.Rdev, target, xattrs(t, path))
	}
	if fa, fb := facts(a, sa), facts(b, sb); fa != fb {
		t.Errorf("%s, %s", fa, fb)
	}
	if sa.Mode&unix.S_IFMT == unix.S_IFREG && sa.Size < 1<<20 && content(t, a) != content(t, b) {
		t.Error("content differs")
	}
	if sb.Nlink > 1 && sb.Mode&unix.S_IFMT == unix.S_IFREG {
		t.Errorf("%d links", sb.Nlink)
	}
}

func xattrs(t testing.TB, path string) map[string]string {
	t.Helper()
	b := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, b)
	ok(t, err)
	out := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(b[:n]), "\x00"), "\x00") {
		if name != "" {
			n, err := unix.Lgetxattr(path, name, b)
			ok(t, err)
			out[name] = string(b[:n])
		}
	}
	return out
}

func TestBadArguments(t *testing.T) {
	disk := newDisk(t)
	snapshot := subvolume(t, disk, func(tree string) {
		write(t, tree+"/file", "x")
		ok(t, os.Symlink("/etc", tree+"/link"))
		ok(t, btrfs.Create(tree, "nested"))
	})
	to := mkdir(t, disk, "to")
	for _, path := range []string{
		"", "/", "..", "/tree", "tree/../tree/file", "tree/.", "./tree", "tree/\x00", "tree/link/passwd", "tree/file/x", "tree/none", "tree/nested", "tree/nested/x",
	} {
		if _, err := Copy(context.Background(), snapshot, path, to, "copy", Options{}); err == nil {
			t.Errorf("path %q was copied", path)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "/a", "a\x00", strings.Repeat("n", 256)} {
		if _, err := Copy(context.Background(), snapshot, "tree/file", to, name, Options{}); err == nil {
			t.Errorf("name %q was made", name)
		}
	}
	if _, err := Copy(context.Background(), snapshot, "tree/none", to, "copy", Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want one that wraps %v", err, fs.ErrNotExist)
	}
	if left := names(t, to); len(left) > 0 {
		t.Errorf("made: %q", left)
	}
}

func TestWholeSnapshot(t *testing.T) {
	disk := newDisk(t)
	snapshot := subvolume(t, disk, func(tree string) {
		write(t, tree+"/file", "x")
		ok(t, os.Chown(filepath.Dir(tree), 1000, 1000))
	})
	to := mkdir(t, disk, "to")
	for _, o := range []Options{{}, {Overwrite: true}} {
		copyOK(t, snapshot, ".", to, "all", o)
		wantSame(t, snapshot, to+"/all")
	}
}

// A snapshot has an empty directory where the subvolume has a nested one.
func TestNestedSubvolumes(t *testing.T) {
	disk := newDisk(t)
	snapshot := subvolume(t, disk, func(tree string) {
		write(t, tree+"/file", "x")
		ok(t, btrfs.Create(tree, "nested"))
		ok(t, btrfs.Create(mkdir(t, tree, "dir"), "nested too"))
	})
	for _, root := range []string{snapshot, disk + "/source"} {
		to := mkdir(t, disk, "to", filepath.Base(root))
		summary := copyOK(t, root, "tree", to, "copy", Options{})
		if summary.Skipped != 2 {
			t.Errorf("%+v, want two skipped", summary)
		}
		wantNote(t, summary, "nested subvolumes and mounts are not copied: "+to+"/copy/")
		wantSame(t, root+"/tree", to+"/copy")
	}
}
