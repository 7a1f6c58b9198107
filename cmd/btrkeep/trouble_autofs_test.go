package main_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// automounter mounts a disk at the first access, as systemd's automount units do. It is this process, to whose process group the kernel shows the plain directory.
type automounter struct {
	t      *testing.T
	path   string
	root   *os.File // of the autofs
	disk   *testdisk.Disk
	gone   atomic.Int32 // the error to answer with, if the disk is not there
	asked  atomic.Int32
	inside atomic.Bool // the disk is mounted
}

// The ioctls and the packet of linux/auto_fs.h and linux/auto_dev-ioctl.h.
const (
	autofsReady         = 0x9360
	autofsDevFail       = 0xc0189377
	autofsMissingDirect = 5
	autofsPacket        = 304
)

func newAutomounter(t *testing.T, disk *testdisk.Disk) *automounter {
	t.Helper()
	disk.Unmount()
	a := &automounter{t: t, path: filepath.Join(t.TempDir(), "auto"), disk: disk}
	must(t, os.Mkdir(a.path, 0o755))
	var pipe [2]int
	must(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	err := unix.Mount("test", a.path, "autofs", 0, fmt.Sprintf("fd=%d,minproto=5,maxproto=5,direct", pipe[1]))
	must(t, unix.Close(pipe[1])) // the kernel has it
	if errors.Is(err, unix.ENODEV) {
		t.Skip("this kernel has no autofs")
	}
	must(t, err)
	a.root, err = os.Open(a.path)
	must(t, err)
	packets, done := os.NewFile(uintptr(pipe[0]), "autofs"), make(chan struct{})
	go func() {
		defer close(done)
		a.serve(packets)
	}()
	t.Cleanup(func() {
		a.away()
		a.root.Close()
		err := unix.Unmount(a.path, 0)
		for began := time.Now(); errors.Is(err, unix.EBUSY) && time.Since(began) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
			err = unix.Unmount(a.path, 0) // a child of another test, between fork and exec, has what was open here
		}
		must(t, err)
		<-done // the kernel has closed its end
		packets.Close()
	})
	return a
}

func (a *automounter) serve(packets *os.File) {
	var p [autofsPacket]byte
	for {
		if _, err := packets.Read(p[:]); err != nil {
			return
		}
		if kind := binary.NativeEndian.Uint32(p[4:]); kind != autofsMissingDirect {
			a.t.Errorf("a packet of type %d", kind)
		}
		a.asked.Add(1)
		token := binary.NativeEndian.Uint32(p[8:])
		if gone := a.gone.Load(); gone != 0 {
			a.fail(token, gone)
		} else if err := unix.Mount(a.disk.Device, a.path, "btrfs", unix.MS_NOATIME, ""); err != nil {
			a.t.Errorf("mount: %v", err)
			a.fail(token, int32(unix.EIO))
		} else {
			a.inside.Store(true)
			_, _, _ = unix.Syscall(unix.SYS_IOCTL, a.root.Fd(), autofsReady, uintptr(token))
		}
	}
}

// fail answers who waits with an error.
func (a *automounter) fail(token uint32, errno int32) {
	dev, err := os.Open("/dev/autofs")
	if err != nil {
		a.t.Error(err)
		return
	}
	defer dev.Close()
	args := struct {
		major, minor, size uint32
		fd                 int32
		token              uint32
		status             int32
	}{1, 0, 24, int32(a.root.Fd()), token, -errno}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, dev.Fd(), autofsDevFail, uintptr(unsafe.Pointer(&args))); e != 0 {
		a.t.Errorf("answer: %v", e)
	}
}

// away unmounts the disk, as the automounter does when nobody has used it for a while.
func (a *automounter) away() {
	a.t.Helper()
	if a.inside.Swap(false) {
		must(a.t, unix.Unmount(a.path, 0))
	}
}

// TROUBLE 32: the destination's disk is mounted by the first access to it, and unmounted when it was not used for a while.
func TestAutomountedDestination(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]string{"TROUBLE 32: automounted": "", "TROUBLE 32: automounted, with require_mount": "require_mount = %q"} {
		t.Run(name, func(t *testing.T) {
			disk := testdisk.New(t, disk)
			m := newMachine(t, 0)
			a := newAutomounter(t, disk)
			if more != "" {
				more = fmt.Sprintf(more, a.path)
			}
			m.configure(fmt.Sprintf(`
[jobs.home]
source = "$SRC/home"
name_format = "20060102T150405.000000"
[jobs.home.destinations.disk]
url = %q
%s
`, filepath.Join(a.path, "home"), more))
			run := func() result {
				t.Helper()
				m.write("file", fmt.Sprint(a.asked.Load()))
				return m.startAs(&syscall.SysProcAttr{Setpgid: true}, m.config, "run").wait(patience)
			}
			for n := range 3 {
				if r := run(); r.status != 0 {
					t.Fatalf("run %d: %s", n, r)
				}
				if last := m.history()[0].Transfers[0]; (last.Parent == "") != (n == 0) {
					t.Errorf("run %d: %+v", n, last)
				}
				if a.asked.Load() != int32(n+1) {
					t.Errorf("after run %d the disk was mounted %d times", n, a.asked.Load())
				}
				a.away()
			}
			for _, errno := range []unix.Errno{unix.ENOENT, unix.ENODEV, unix.EHOSTDOWN} { // of others; of systemd; of systemd as it is stopped
				a.gone.Store(int32(errno))
				if r := run(); r.status != 75 || m.history()[0].Transfers[0].Result != "absent" {
					t.Errorf("the disk is not there, %v: %s", errno, r)
				}
			}
			a.gone.Store(0)
			if r := run(); r.status != 0 {
				t.Errorf("the disk is back: %s", r)
			}
		})
	}
}
