package copytree

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Without the rights of root, as on a file system without owners and devices, what cannot be made is named, and nobody gets a program that runs as another user.
func TestWhatTheTargetRefuses(t *testing.T) {
	disk := newDisk(t)
	snapshot := subvolume(t, disk, func(tree string) {
		ok(t, unix.Chmod(write(t, tree+"/plain", "x"), 0o6755))
		ok(t, os.Link(tree+"/plain", tree+"/other name"))
		ok(t, os.Symlink("plain", tree+"/link"))
		ok(t, unix.Mknod(tree+"/device", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		ok(t, unix.Setxattr(tree, "user.x", []byte("x"), 0))
	})
	to := mkdir(t, disk, "to")
	ok(t, os.Chown(to, 1000, 1000))
	ok(t, os.Chmod(filepath.Dir(filepath.Dir(disk)), 0o755)) // of the test's temporary directories
	cmd := child(snapshot, "tree", to, "copy", "")
	cmd.Env = append(cmd.Env, childUserEnv+"=1000")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	wantNoStage(t, to)
	for _, want := range []string{"1 left out; make " + to + "/copy/device: operation not permitted", "owners were not kept, nor set-user-ID bits"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("output %q, want %q", out, want)
		}
	}
	var plain, other unix.Stat_t
	ok(t, unix.Lstat(to+"/copy/plain", &plain))
	ok(t, unix.Lstat(to+"/copy/other name", &other))
	if plain.Mode != unix.S_IFREG|0o755 || plain.Uid != 1000 || plain.Ino != other.Ino {
		t.Errorf("mode %o, owner %d, inodes %d and %d", plain.Mode, plain.Uid, plain.Ino, other.Ino)
	}
	if got := xattrs(t, to+"/copy")["user.x"]; got != "x" {
		t.Errorf("user.x = %q", got)
	}
}

// nodatacow has to be there before the data, else nothing is shared.
func TestInodeFlags(t *testing.T) {
	disk := newDisk(t)
	flags := func(path string, want int) {
		t.Helper()
		f, err := os.Open(path)
		ok(t, err)
		defer f.Close()
		ok(t, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, want))
	}
	snapshot := subvolume(t, disk, func(tree string) {
		flags(write(t, tree+"/nocow", ""), flagNoCOW|flagNoDump)
		write(t, tree+"/nocow", strings.Repeat("x", 100_000))
		flags(mkdir(t, tree, "dir"), flagNoCOW)
		ok(t, os.Rename(write(t, tree+"/cow", strings.Repeat("x", 100_000)), tree+"/dir/cow"))
		flags(write(t, tree+"/immutable", "x"), flagImmutable)
	})
	defer flags(disk+"/source/tree/immutable", 0)
	for name, dir := range map[string]string{"same": mkdir(t, disk, "to"), "other": newDisk(t)} {
		t.Run(name, func(t *testing.T) {
			flags(dir, flagNoCOW) // to be inherited
			summary := copyOK(t, snapshot, "tree", dir, "copy", Options{})
			if name == "same" && summary.Shared != 200_001 {
				t.Errorf("%d bytes are shared", summary.Shared)
			}
			wantNote(t, summary, "immutable")
			for _, path := range []string{"", "/nocow", "/dir", "/dir/cow"} {
				if was, is := flagsOf(t, snapshot+"/tree"+path), flagsOf(t, dir+"/copy"+path); was != is {
					t.Errorf("flags of %q: %x, %x", path, was, is)
				}
			}
			wantSame(t, snapshot+"/tree", dir+"/copy")
		})
	}
}

func flagsOf(t testing.TB, path string) uint32 {
	t.Helper()
	f, err := os.Open(path)
	ok(t, err)
	defer f.Close()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	ok(t, err)
	return flags
}

// What a directory hands down to new files is not the backup's.
func TestNothingInherited(t *testing.T) {
	disk := newDisk(t)
	snapshot := subvolume(t, disk, oddTree(t))
	to := mkdir(t, disk, "to")
	ok(t, unix.Setxattr(to, "system.posix_acl_default", []byte(xattrs(t, snapshot+"/tree/attributes/acl")["system.posix_acl_access"]), 0))
	ok(t, unix.Setxattr(to, "btrfs.compression", []byte("zstd"), 0))
	ok(t, unix.Chmod(to, 0o2777))
	ok(t, os.Chown(to, 1000, 1000))
	copyOK(t, snapshot, "tree", to, "copy", Options{})
	wantSame(t, snapshot+"/tree", to+"/copy")
}
