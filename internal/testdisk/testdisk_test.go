package testdisk_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/btrkeep/btrkeep/internal/testdisk"
	"golang.org/x/sys/unix"
)

func TestDiskFormats(t *testing.T) {
	for name, tc := range map[string]struct {
		options testdisk.Options
		magic   int64
	}{
		"btrfs":  {testdisk.Options{}, unix.BTRFS_SUPER_MAGIC},
		"memory": {testdisk.Options{InMemory: true}, unix.BTRFS_SUPER_MAGIC},
		"mixed":  {testdisk.Options{Mixed: true, Size: 64 << 20}, unix.BTRFS_SUPER_MAGIC},
		"ext4":   {testdisk.Options{Format: "ext4", Size: 64 << 20}, unix.EXT4_SUPER_MAGIC},
		"option": {testdisk.Options{MountOptions: "noatime,compress=zstd"}, unix.BTRFS_SUPER_MAGIC},
	} {
		t.Run(name, func(t *testing.T) {
			d := testdisk.New(t, tc.options)
			var st unix.Statfs_t
			if err := unix.Statfs(d.Path, &st); err != nil {
				t.Fatal(err)
			}
			if st.Type != tc.magic {
				t.Errorf("file system type = %#x, want %#x", st.Type, tc.magic)
			}
			for _, option := range strings.Split(tc.options.MountOptions, ",") {
				if !strings.Contains(mountLine(t, d.Path), option) {
					t.Errorf("mount table has no %q: %s", option, mountLine(t, d.Path))
				}
			}
		})
	}
}

func TestDiskUnmountAndMount(t *testing.T) {
	d := testdisk.New(t, testdisk.Options{})
	file := filepath.Join(d.Path, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Unmount()
	if _, err := os.Lstat(file); !os.IsNotExist(err) {
		t.Errorf("after unmount: %v, want not exist", err)
	}
	d.Mount("noatime")
	if _, err := os.Lstat(file); err != nil {
		t.Error(err)
	}
	d.Remount("ro")
	if err := os.WriteFile(file, nil, 0o600); !strings.Contains(errString(err), "read-only") {
		t.Errorf("write on a read-only disk: %v", err)
	}
	d.Remount("rw")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Error(err)
	}
	image := d.Image
	d.Close()
	if backing := attached(t, image); backing != "" {
		t.Errorf("still attached after Close: %s", backing)
	}
	testdisk.MountImage(t, image)
}

// A copy of somebody else's mount would keep his device busy.
func TestIsolatedFromOtherLoops(t *testing.T) {
	d := testdisk.New(t, testdisk.Options{})
	cmd := freshRun(t, t.TempDir(), "-test.run=^TestPrintMounts$")
	cmd.Env = append(cmd.Env, "TESTDISK_PRINT=1")
	out, err := cmd.CombinedOutput()
	ok(t, err)
	if !strings.Contains(string(out), "/proc") || strings.Contains(string(out), d.Path) {
		t.Errorf("%s is among the mounts of another test run:\n%s", d.Path, out)
	}
}

// TestPrintMounts is what TestIsolatedFromOtherLoops runs.
func TestPrintMounts(t *testing.T) {
	if os.Getenv("TESTDISK_PRINT") == "" {
		return // not a test of its own
	}
	table, err := os.ReadFile("/proc/self/mounts")
	ok(t, err)
	os.Stdout.Write(table)
}

// More disks than the kernel has loop devices at first, all at once.
func TestDisksInParallel(t *testing.T) {
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() { testdisk.New(t, testdisk.Options{Size: 128 << 20}) })
	}
	wg.Wait()
}

func mountLine(t *testing.T, path string) string {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if strings.Contains(line, " "+path+" ") {
			return line
		}
	}
	return ""
}

// attached returns the loop device whose backing file is image.
func attached(t *testing.T, image string) string {
	t.Helper()
	devices, err := filepath.Glob("/dev/loop[0-9]*")
	ok(t, err)
	for _, device := range devices {
		if backingFile(device) == image {
			return device
		}
	}
	return ""
}

// backingFile is empty for a device that is not attached.
func backingFile(device string) string {
	b, _ := os.ReadFile(filepath.Join("/sys/block", filepath.Base(device), "loop/backing_file"))
	return strings.TrimSpace(string(b))
}

func errString(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
