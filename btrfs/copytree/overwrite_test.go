package copytree

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// What is there stays as it is, unless it may be replaced.
func TestExists(t *testing.T) {
	disk := newDisk(t)
	snapshot := subvolume(t, disk, oddTree(t))
	to := mkdir(t, disk, "to")
	mkdir(t, to, "directory")
	write(t, to+"/file", "old")
	ok(t, os.Symlink("/nowhere", to+"/dangling"))
	before := digest(t, to)
	for _, name := range []string{"directory", "file", "dangling"} {
		for _, path := range []string{"tree", "tree/kinds/hard", "tree/kinds/fifo"} {
			if _, err := Copy(context.Background(), snapshot, path, to, name, Options{}); !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s to %s: error %v, want one that wraps %v", path, name, err, fs.ErrExist)
			}
		}
	}
	if digest(t, to) != before {
		t.Error("something has changed")
	}
}

func digest(t testing.TB, dir string) string {
	t.Helper()
	d, err := testdisk.Digest(dir)
	ok(t, err)
	return d
}

func TestOverwriteFile(t *testing.T) {
	disk := newDisk(t)
	snapshot := subvolume(t, disk, func(tree string) {
		write(t, tree+"/new", "new")
		ok(t, os.Symlink("somewhere", tree+"/link"))
	})
	to := mkdir(t, disk, "to")
	precious := write(t, disk+"/precious", "precious")
	for name, make := range map[string]func(path string) error{
		"file":    func(path string) error { return os.WriteFile(path, []byte("old and longer"), 0o600) },
		"link":    func(path string) error { return os.Symlink(precious, path) },
		"fifo":    func(path string) error { return unix.Mkfifo(path, 0o600) },
		"names":   func(path string) error { return os.Link(precious, path) },
		"nothing": func(string) error { return nil },
	} {
		for _, path := range []string{"tree/new", "tree/link"} {
			ok(t, os.RemoveAll(to+"/target"))
			ok(t, make(to+"/target"))
			copyOK(t, snapshot, path, to, "target", Options{Overwrite: true})
			wantSameFile(t, snapshot+"/"+path, to+"/target")
			if content(t, precious) != "precious" {
				t.Fatalf("over %s: another file was written", name)
			}
		}
	}
	// Who has the old file open keeps it.
	ok(t, os.Remove(to+"/target"))
	old, err := os.Open(write(t, to+"/target", "old"))
	ok(t, err)
	defer old.Close()
	copyOK(t, snapshot, "tree/new", to, "target", Options{Overwrite: true})
	var b [10]byte
	if n, _ := old.Read(b[:]); string(b[:n]) != "old" {
		t.Errorf("the old file holds %q", b[:n])
	}
}

// A file never takes the place of a directory, nor the reverse; everything else is copied.
func TestOverwriteOtherKind(t *testing.T) {
	disk := newDisk(t)
	snapshot := subvolume(t, disk, func(tree string) {
		write(t, tree+"/a", "new")
		write(t, mkdir(t, tree, "b")+"/file", "new")
		write(t, tree+"/c", "new")
	})
	to := mkdir(t, disk, "to")
	write(t, mkdir(t, to, "copy", "a")+"/file", "old")
	write(t, to+"/copy/b", "old")
	write(t, to+"/copy/c", "old")
	_, err := Copy(context.Background(), snapshot, "tree", to, "copy", Options{Overwrite: true})
	wantNoStage(t, to)
	wantError(t, err, "2 left out", snapshot+"/tree/a is a file, and "+to+"/copy/a is a directory", snapshot+"/tree/b is a directory, and "+to+"/copy/b is a file")
	var left *Incomplete
	if !errors.As(err, &left) || len(left.Errors) != 2 {
		t.Errorf("error %v, want two", err)
	}
	if a, b, c := content(t, to+"/copy/a/file"), content(t, to+"/copy/b"), content(t, to+"/copy/c"); a != "old" || b != "old" || c != "new" {
		t.Errorf("%q, %q, %q", a, b, c)
	}
	_, err = Copy(context.Background(), snapshot, "tree/a", to, "copy", Options{Overwrite: true})
	wantError(t, err, snapshot+"/tree/a is a file, and "+to+"/copy is a directory")
}

// A directory over another one: its own are as in the backup, the others as they were.
func TestOverwriteDirectory(t *testing.T) {
	disk := newDisk(t)
	snapshot := subvolume(t, disk, oddTree(t))
	for name, dir := range map[string]string{"same": mkdir(t, disk, "to"), "other": newDisk(t)} {
		t.Run(name, func(t *testing.T) {
			target := dir + "/copy"
			testdisk.Tree(t, mkdir(t, target), testdisk.Spec{Seed: 2, Files: 40})
			ok(t, os.RemoveAll(target+"/contents"))
			for _, d := range []string{"", "/kinds", "/kinds/other", "/files/d00"} {
				ok(t, unix.Setxattr(target+d, "user.old", []byte("x"), 0))
				ok(t, unix.Chmod(target+d, 0o700))
				write(t, target+d+"/kept", "kept")
			}
			ok(t, os.Remove(target+"/kinds/hard2")) // other hard links than in the backup
			ok(t, os.Link(target+"/kinds/many", target+"/kinds/hard2"))

			copyOK(t, snapshot, "tree", dir, "copy", Options{Overwrite: true})
			for _, d := range []string{"", "/kinds", "/kinds/other", "/files/d00"} {
				if content(t, target+d+"/kept") != "kept" {
					t.Errorf("what the backup does not have has changed in %q", d)
				}
				ok(t, os.Remove(target+d+"/kept"))
				var st unix.Stat_t
				ok(t, unix.Stat(snapshot+"/tree"+d, &st))
				ok(t, unix.UtimesNanoAt(unix.AT_FDCWD, target+d, []unix.Timespec{st.Atim, st.Mtim}, 0))
			}
			wantSame(t, snapshot+"/tree", target)

			copyOK(t, snapshot, "tree", dir, "copy", Options{Overwrite: true})
			wantSame(t, snapshot+"/tree", target)
		})
	}
}

// Other subvolumes and mounts may lie in the target.
func TestOverwriteAcrossMounts(t *testing.T) {
	disk := newDisk(t)
	snapshot := subvolume(t, disk, func(tree string) {
		for _, dir := range []string{"", "/subvolume", "/mount", "/bind"} {
			write(t, mkdir(t, tree+dir)+"/file", "new")
			ok(t, os.Link(tree+dir+"/file", tree+dir+"/file2"))
			write(t, mkdir(t, tree+dir, "new")+"/file", "new")
		}
		ok(t, os.Link(tree+"/file", tree+"/subvolume/linked"))
	})
	to := mkdir(t, disk, "to")
	target := mkdir(t, to, "copy")
	ok(t, btrfs.Create(target, "subvolume"))
	for name, source := range map[string]string{"mount": newDisk(t), "bind": mkdir(t, disk, "bound")} {
		ok(t, unix.Mount(source, mkdir(t, target, name), "", unix.MS_BIND, ""))
		t.Cleanup(func() { ok(t, unix.Unmount(filepath.Join(target, name), 0)) })
	}
	write(t, target+"/subvolume/file", "old")
	summary := copyOK(t, snapshot, "tree", to, "copy", Options{Overwrite: true})
	wantNote(t, summary, "become files of their own")
	if diff := cmp.Diff([]string{"bind", "file", "file2", "mount", "new", "subvolume"}, names(t, target)); diff != "" {
		t.Error(diff)
	}
	for _, dir := range []string{"", "/subvolume", "/mount", "/bind"} {
		var a, b unix.Stat_t
		ok(t, unix.Stat(target+dir+"/file", &a))
		ok(t, unix.Stat(target+dir+"/file2", &b))
		if a.Ino != b.Ino || a.Dev != b.Dev || content(t, target+dir+"/file") != "new" || content(t, target+dir+"/new/file") != "new" {
			t.Errorf("%q differs", dir)
		}
		ok(t, unix.Stat(snapshot+"/tree"+dir, &a))
		ok(t, unix.Stat(target+dir, &b))
		if a.Mtim != b.Mtim {
			t.Errorf("mtime of %q: %v, %v", dir, a.Mtim, b.Mtim)
		}
	}
}
