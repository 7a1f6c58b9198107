package btrfs_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"golang.org/x/sys/unix"
)

func TestStat(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{})
	d := disk.Path
	live := create(t, d, "live")
	stat := func(path string) btrfs.FileSystem {
		t.Helper()
		fs, err := btrfs.Stat(path)
		ok(t, err)
		return fs
	}
	fs := stat(live)
	out, err := exec.Command("blkid", "-p", "-o", "value", "-s", "UUID", disk.Image).Output()
	ok(t, err)
	if want := strings.TrimSpace(string(out)); fs.ID.String() != want {
		t.Errorf("ID %s, want %s", fs.ID, want)
	}
	if fs.MountPoint != d || fs.ReadOnly || fs.Quotas || fs.Total != testdisk.DefaultSize || fs.Free == 0 || fs.Free > fs.Total {
		t.Errorf("%+v", fs)
	}

	bind := filepath.Join(t.TempDir(), "bind \\ \t\nmount")
	ok(t, os.Mkdir(bind, 0o755))
	mount(t, live, bind, unix.MS_BIND)
	if got := stat(bind); got.MountPoint != bind || got.ID != fs.ID {
		t.Errorf("bind mount: %+v", got)
	}

	if out, err := exec.Command("btrfs", "quota", "enable", d).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !stat(d).Quotas {
		t.Error("quotas are on and not seen")
	}

	other := testdisk.New(t, testdisk.Options{})
	if got := stat(other.Path); got.ID == fs.ID {
		t.Error("two file systems have one ID")
	}
	other.Remount("ro")
	if !stat(other.Path).ReadOnly {
		t.Error("read-only mount not seen")
	}
	if _, err := btrfs.Stat("/proc"); !errors.Is(err, btrfs.ErrNotBtrfs) {
		t.Errorf("Stat(/proc): %v", err)
	}
}
