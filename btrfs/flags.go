package btrfs

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SetReadOnly makes a writable subvolume read-only, durably. BTRFS_IOC_SUBVOL_SETFLAGS.
// The reverse is not offered: it would keep the received UUID, and what is edited then still passes for the original.
func SetReadOnly(path string) error {
	fd, err := openSubvolume(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var flags uint64
	if err := ioctl(fd, iocSubvolGetflags, unsafe.Pointer(&flags)); err != nil {
		return fmt.Errorf("%s: BTRFS_IOC_SUBVOL_GETFLAGS: %w", path, err)
	}
	if flags&subvolReadOnly != 0 {
		return nil
	}
	flags |= subvolReadOnly
	if err := ioctl(fd, iocSubvolSetflags, unsafe.Pointer(&flags)); err != nil {
		return fmt.Errorf("%s: BTRFS_IOC_SUBVOL_SETFLAGS: %w", path, err)
	}
	return nil
}

// SetReceived stamps the subvolume at path (writable) as received. BTRFS_IOC_SET_RECEIVED_SUBVOL.
func SetReceived(path string, id UUID, stransid uint64) error {
	fd, err := openSubvolume(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	args := receivedSubvolArgs{uuid: id, stransid: stransid}
	if err := ioctl(fd, iocSetReceivedSubvol, unsafe.Pointer(&args)); err != nil {
		return fmt.Errorf("%s: BTRFS_IOC_SET_RECEIVED_SUBVOL: %w", path, err)
	}
	return nil
}
