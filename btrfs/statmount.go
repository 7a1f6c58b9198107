package btrfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The structs of statmount(2), Linux 6.8, from linux/mount.h. As the strings follow the second one, a buffer takes its place.

type mountIDRequest struct {
	size  uint32
	_     uint32
	id    uint64 // of STATX_MNT_ID_UNIQUE
	param uint64
}

const (
	statmountMountPoint = 0x10 // STATMOUNT_MNT_POINT, in mountIDRequest.param

	// In struct statmount.
	statmountMaskAt       = 8   // u64: what of the params there is
	statmountMountPointAt = 108 // u32: where in str
	statmountStringsAt    = 512
)

// statMountPoint asks the kernel where fd's mount is mounted, without reading the table of all mounts, which may have thousands; "" if that is outside of a chroot. Errors (an older kernel, a filter
// of system calls, a mount of another namespace) mean that the table has to be read.
func statMountPoint(fd int) (string, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID_UNIQUE, &st); err != nil {
		return "", fmt.Errorf("statx: %w", err)
	}
	if st.Mask&unix.STATX_MNT_ID_UNIQUE == 0 {
		return "", fmt.Errorf("statx: the kernel gives no unique mount id: %w", errors.ErrUnsupported)
	}
	request := mountIDRequest{size: uint32(unsafe.Sizeof(mountIDRequest{})), id: st.Mnt_id, param: statmountMountPoint}
	var buf [statmountStringsAt + unix.PathMax]byte
	_, _, errno := unix.Syscall6(unix.SYS_STATMOUNT, uintptr(unsafe.Pointer(&request)), uintptr(unsafe.Pointer(&buf)), unsafe.Sizeof(buf), 0, 0, 0)
	if errno != 0 {
		return "", fmt.Errorf("statmount: %w", errno)
	}
	ne := binary.NativeEndian
	at := uint64(statmountStringsAt) + uint64(ne.Uint32(buf[statmountMountPointAt:]))
	if ne.Uint64(buf[statmountMaskAt:])&statmountMountPoint == 0 {
		return "", nil
	}
	if at >= uint64(len(buf)) {
		return "", fmt.Errorf("statmount: the mount point is at %d of %d bytes", at, len(buf))
	}
	return unix.ByteSliceToString(buf[at:]), nil
}
