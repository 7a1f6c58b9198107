package jobs_test

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setFlag sets a subvolume's read-only flag by the plain ioctl, which keeps the received UUID: BTRFS_IOC_SUBVOL_GETFLAGS and _SETFLAGS.
func setFlag(path string, readOnly bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var flags uint64
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), 0x80089419, uintptr(unsafe.Pointer(&flags))); e != 0 {
		return e
	}
	flags &^= 2
	if readOnly {
		flags |= 2
	}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), 0x4008941a, uintptr(unsafe.Pointer(&flags))); e != 0 {
		return e
	}
	return nil
}
