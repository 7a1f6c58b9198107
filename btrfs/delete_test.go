package btrfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
	"golang.org/x/sys/unix"
)

func TestDeleteOddNames(t *testing.T) {
	d := newDisk(t)
	for _, name := range oddNames() {
		path := create(t, d, name)
		if err := btrfs.Delete(d, name, info(t, path).UUID); err != nil {
			t.Error(err)
		}
	}
	for _, s := range list(t, d) {
		t.Errorf("%q is left", s.Name)
	}
}

// A path longer than the kernel can name is no obstacle.
func TestDeleteDeep(t *testing.T) {
	d := newDisk(t)
	dir, err := os.Open(d)
	ok(t, err)
	deep := strings.Repeat("d", 250)
	for range 20 {
		ok(t, unix.Mkdirat(int(dir.Fd()), deep, 0o755))
		fd, err := unix.Openat(int(dir.Fd()), deep, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		ok(t, err)
		dir.Close()
		dir = os.NewFile(uintptr(fd), deep)
	}
	defer dir.Close()
	t.Chdir(d)
	ok(t, unix.Fchdir(int(dir.Fd())))
	ok(t, btrfs.Create(".", "name"))
	ok(t, btrfs.Delete(".", "name", info(t, "name").UUID))
	if all := list(t, d); len(all) != 0 {
		t.Errorf("left: %+v", all)
	}
}

func TestDeleteRefuses(t *testing.T) {
	d := newDisk(t)
	a, b := create(t, d, "a"), create(t, d, "b")
	dir := filepath.Join(a, "dir")
	ok(t, os.Mkdir(dir, 0o755))
	ok(t, os.Symlink("a", filepath.Join(d, "link")))
	write(t, filepath.Join(d, "file"), nil)
	holder := create(t, d, "holder")
	create(t, holder, "held")
	mounted := create(t, d, "mounted")
	mountSubvolume(t, mounted)
	bound := create(t, d, "bound")
	ok(t, os.Mkdir(filepath.Join(bound, "dir"), 0o755))
	mount(t, filepath.Join(bound, "dir"), t.TempDir(), unix.MS_BIND)

	for name, tc := range map[string]struct {
		dir, name string
		id        btrfs.UUID
		want      string
		is        error
	}{
		"another uuid":            {d, "a", info(t, b).UUID, "another subvolume", nil},
		"no uuid":                 {d, "a", btrfs.UUID{}, "no UUID", nil},
		"symbolic link":           {d, "link", info(t, a).UUID, "", btrfs.ErrNotSubvolume},
		"file":                    {d, "file", info(t, a).UUID, "", btrfs.ErrNotSubvolume},
		"directory":               {a, "dir", info(t, a).UUID, "", btrfs.ErrNotSubvolume},
		"absent":                  {d, "absent", info(t, a).UUID, "", os.ErrNotExist},
		"path":                    {d, "holder/held", info(t, a).UUID, "slash", nil},
		"dot":                     {a, ".", info(t, a).UUID, "cannot name", nil},
		"parent":                  {dir, "..", info(t, a).UUID, "cannot name", nil},
		"holds others":            {d, "holder", info(t, holder).UUID, "holds other subvolumes", unix.ENOTEMPTY},
		"mounted":                 {d, "mounted", info(t, mounted).UUID, "is mounted at", unix.EBUSY},
		"directory of it mounted": {d, "bound", info(t, bound).UUID, "is mounted at", unix.EBUSY},
	} {
		err := btrfs.Delete(tc.dir, tc.name, tc.id)
		if err == nil || !strings.Contains(err.Error(), tc.want) || tc.is != nil && !errors.Is(err, tc.is) {
			t.Errorf("%s: %v, want %v with %q", name, err, tc.is, tc.want)
		}
	}
	if got := len(list(t, d)); got != 6 {
		t.Errorf("%d subvolumes are left of 6", got)
	}
}

// mountSubvolume mounts a subvolume as /etc/fstab does.
func mountSubvolume(t testing.TB, path string) {
	t.Helper()
	fs, err := btrfs.Stat(path)
	ok(t, err)
	device := ""
	for line := range strings.Lines(mountinfo(t)) {
		if fields := strings.Fields(line); fields[4] == fs.MountPoint {
			_, after, _ := strings.Cut(line, " - ")
			device = strings.Fields(after)[1]
		}
	}
	point := t.TempDir()
	ok(t, unix.Mount(device, point, "btrfs", 0, "subvol="+filepath.Base(path)))
	t.Cleanup(func() { ok(t, unix.Unmount(point, 0)) })
}
