package btrfs

import (
	"errors"
	"fmt"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Create makes an empty subvolume. It is not durable until a commit. BTRFS_IOC_SUBVOL_CREATE_V2.
func Create(dir, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	dirfd, _, err := openDir(dir)
	if err != nil {
		return err
	}
	defer unix.Close(dirfd)
	var args volArgsV2
	copy(args.name[:], name)
	if err := ioctl(dirfd, iocSubvolCreateV2, unsafe.Pointer(&args)); err != nil {
		return fmt.Errorf("create subvolume %s: %w", filepath.Join(dir, name), err)
	}
	return nil
}

// Snapshot makes a snapshot of source named name in dir; durable when it returns, dirty data of source included.
// BTRFS_IOC_SNAP_CREATE_V2.
func Snapshot(source, dir, name string, readOnly bool) error {
	if err := checkName(name); err != nil {
		return err
	}
	srcfd, err := openSubvolume(source)
	if err != nil {
		return err
	}
	defer unix.Close(srcfd)
	dirfd, _, err := openDir(dir)
	if err != nil {
		return err
	}
	defer unix.Close(dirfd)
	args := volArgsV2{fd: int64(srcfd)}
	if readOnly {
		args.flags = subvolReadOnly
	}
	copy(args.name[:], name)
	err = ioctl(dirfd, iocSnapCreateV2, unsafe.Pointer(&args))
	switch {
	case errors.Is(err, unix.EXDEV):
		return fmt.Errorf("snapshot %s as %s: not on the same file system: %w", source, filepath.Join(dir, name), err)
	case err != nil:
		return fmt.Errorf("snapshot %s as %s: %w", source, filepath.Join(dir, name), err)
	}
	return nil
}
