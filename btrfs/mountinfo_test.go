package btrfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParseMount(t *testing.T) {
	for line, want := range map[string]mount{
		`36 35 0:52 /a /mnt rw,noatime - btrfs /dev/sda1 rw,subvolid=256,subvol=/a`: {
			36, "0:52", "/a", "/mnt", "btrfs", "/dev/sda1", "rw,subvolid=256,subvol=/a",
		},
		`36 35 0:52 / /m\040t\011\012\134040 rw shared:1 master:2 - btrfs /dev/mapper/a\040b rw`: {
			36, "0:52", "/", "/m t\t\n\\040", "btrfs", "/dev/mapper/a b", "rw",
		},
		`36 35 0:52 / /end\ rw - btrfs none rw`: {36, "0:52", "/", `/end\`, "btrfs", "none", "rw"},
	} {
		got, err := parseMount(line)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(mount{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
	for _, line := range []string{"", "36 35 0:52 / /mnt rw", "36 35 0:52 / - btrfs none rw", "x 35 0:52 / /mnt rw - btrfs none rw", "1 2 3 4 5 6 - a"} {
		if m, err := parseMount(line); err == nil {
			t.Errorf("%q is %+v", line, m)
		}
	}
}

func TestCutPath(t *testing.T) {
	for _, tc := range []struct {
		path, dir, below string
		ok               bool
	}{
		{"/a/b", "/a", "b", true},
		{"/a", "/a", "", true},
		{"/a/b", "/", "a/b", true},
		{"/", "/", "", true},
		{"/ab", "/a", "", false},
		{"/a", "/a/b", "", false},
	} {
		below, ok := cutPath(tc.path, tc.dir)
		if ok != tc.ok || ok && below != tc.below {
			t.Errorf("cutPath(%q, %q) = %q, %v", tc.path, tc.dir, below, ok)
		}
	}
}

// The kernel says of one mount what its table says, where it can, whatever the names.
func TestMountPoint(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts: needs root")
	}
	dir := filepath.Join(t.TempDir(), "with space,\n\t\\ and é")
	for _, sub := range []string{"", "once/deep/deeper", "twice"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, sub := range []string{"once", "twice", "twice"} {
		point := filepath.Join(dir, sub)
		if err := unix.Mount(t.TempDir(), point, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(point, 0); err != nil {
				t.Error(err)
			}
		})
		if err := os.MkdirAll(filepath.Join(point, "deep/deeper"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"/": "/", "/proc/self": "/proc", filepath.Join(dir, "once"): filepath.Join(dir, "once"), filepath.Join(dir, "once/deep/deeper"): filepath.Join(dir, "once"),
		filepath.Join(dir, "twice/deep"): filepath.Join(dir, "twice"),
	} {
		fd, err := unix.Open(path, unix.O_PATH, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if got, err := listedMountPoint(fd); err != nil || got != want {
			t.Errorf("%q is below %q, not %q: %v", path, want, got, err)
		}
		switch got, err := statMountPoint(fd); {
		case errors.Is(err, errors.ErrUnsupported):
			t.Logf("%v", err) // Linux before 6.8
		case err != nil || got != want:
			t.Errorf("%q is below %q, not %q: %v", path, want, got, err)
		}
	}
}
