// Package testdisk gives tests real file systems on loop devices, trees of
// files with every oddity a file can have, exact comparisons of such trees,
// disks that fail on command, and processes that are killed at random moments.
//
// A package that uses it starts with
//
//	func TestMain(m *testing.M) { testdisk.Main(m) }
//
// so that nothing outlives its test process. See [Isolate].
package testdisk

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// DefaultSize is the size of a disk in bytes unless [Options] says otherwise.
const DefaultSize = 1 << 30

// Options describes a disk. The zero value is a sparse 1 GiB btrfs.
type Options struct {
	Size         int64    // bytes, of a sparse image; btrfs wants at least 109 MiB, 16 MiB if Mixed
	MountOptions string   // as after mount -o
	Mkfs         []string // more arguments for mkfs
	Mixed        bool     // data and metadata share block groups: a small btrfs fills evenly
	Format       string   // "btrfs" (default) or "ext4"
	InMemory     bool     // the image is in memory, not in the temporary directory
}

// Disk is a mounted file system on a loop device.
type Disk struct {
	Image  string // the file beneath
	Device string // /dev/loopN
	Path   string // the mount point

	t       testing.TB
	format  string
	loop    *loop
	mounted bool
}

// New makes a disk that lives as long as the test. Without root it skips the
// test; as root, everything that is missing fails it, so that a machine where
// nothing is tested does not look well.
func New(t testing.TB, o Options) *Disk {
	t.Helper()
	needRoot(t)
	d := openImage(t, makeImage(t, o), o)
	t.Cleanup(d.Close)
	d.Mount(o.MountOptions)
	return d
}

// MountImage mounts an image that exists, as a machine does when it comes back
// after a power cut: the log is replayed. The image is changed by that. It may
// be the copy of a disk that is mounted: from Linux 6.7 on, btrfs gives the
// second one a temporary fsid.
func MountImage(t testing.TB, image string) *Disk {
	t.Helper()
	d := OpenImage(t, image)
	d.Mount("")
	return d
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a loop device needs root")
	}
	if memoryDir() == "" {
		t.Fatal("not isolated: call testdisk.Main or testdisk.Isolate first in TestMain")
	}
}

// OpenImage is [MountImage] without the mounting: [Disk.TryMount] tells whether
// the image is still a file system.
func OpenImage(t testing.TB, image string) *Disk {
	t.Helper()
	needRoot(t)
	d := openImage(t, image, Options{})
	t.Cleanup(d.Close)
	return d
}

// openImage attaches the image; the caller registers Close.
func openImage(t testing.TB, image string, o Options) *Disk {
	t.Helper()
	d := &Disk{Image: image, Path: filepath.Join(t.TempDir(), "mnt"), t: t, format: o.format()}
	if err := os.Mkdir(d.Path, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := attachLoop(image)
	if err != nil {
		t.Fatal(err)
	}
	d.loop, d.Device = l, l.path
	return d
}

func (o Options) format() string {
	if o.Format == "" {
		return "btrfs"
	}
	return o.Format
}

// makeImage makes a sparse file with a file system in it.
func makeImage(t testing.TB, o Options) string {
	t.Helper()
	if o.Size == 0 {
		o.Size = DefaultSize
	}
	dir := t.TempDir()
	if o.InMemory {
		var err error
		if dir, err = os.MkdirTemp(memoryDir(), ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
	}
	image := filepath.Join(dir, "disk.img")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, o.Size); err != nil {
		t.Fatal(err)
	}
	if err := mkfs(image, o); err != nil {
		t.Fatal(err)
	}
	return image
}

func mkfs(image string, o Options) error {
	var args []string
	switch o.format() {
	case "btrfs":
		args = []string{"mkfs.btrfs", "-q", "-K"}
		if o.Mixed {
			args = append(args, "--mixed")
		}
	case "ext4":
		args = []string{"mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=1"}
	default:
		return fmt.Errorf("format %q: want btrfs or ext4", o.Format)
	}
	args = append(append(args, o.Mkfs...), image)
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
