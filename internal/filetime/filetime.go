// Package filetime reads and sets the times of files with 64 bits on every machine: on those of 32 bits, what the unix package has for it ends in 2038.
package filetime

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Time is a point in time as the kernel has it: a negative Sec is before 1970, Nsec counts on from it. It is struct __kernel_timespec.
type Time struct{ Sec, Nsec int64 }

// Set sets the times of access and modification of path in the directory dirfd; without a path, those of dirfd itself, which must not be O_PATH
// unless flags has AT_EMPTY_PATH. utimensat(2), in its form of Linux 5.1.
func Set(dirfd int, path string, times [2]Time, flags int) error {
	var name *byte // a null pointer, not an empty name, means dirfd
	if path != "" || flags&unix.AT_EMPTY_PATH != 0 {
		var err error
		if name, err = unix.BytePtrFromString(path); err != nil {
			return err
		}
	}
	_, _, errno := unix.Syscall6(sysUtimensat, uintptr(dirfd), uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&times)), uintptr(flags), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
