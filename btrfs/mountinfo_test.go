package btrfs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
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
