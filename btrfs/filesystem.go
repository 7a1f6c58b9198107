package btrfs

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FileSystem identifies a mounted btrfs.
type FileSystem struct {
	ID          UUID // FS_INFO: differs from the disk's for a cloned disk mounted beside its original
	MountPoint  string
	ReadOnly    bool   // mounted (or forced) read-only
	Total, Free uint64 // bytes, as statfs(2) gives them to unprivileged users
	Quotas      bool   // qgroups are on: deletion is about ten times slower
}

// FileSystemID is the ID alone of the file system that holds path. FS_INFO.
func FileSystemID(path string) (UUID, error) {
	fd, _, err := openDir(path)
	if err != nil {
		return UUID{}, err
	}
	defer unix.Close(fd)
	return fileSystemID(fd, path)
}

func fileSystemID(fd int, path string) (UUID, error) {
	var info fsInfoArgs
	if err := ioctl(fd, iocFsInfo, unsafe.Pointer(&info)); err != nil {
		return UUID{}, fmt.Errorf("%s: BTRFS_IOC_FS_INFO: %w", path, err)
	}
	return info.fsid, nil
}

// Stat describes the file system that holds path. FS_INFO, statfs, /proc/self/mountinfo.
func Stat(path string) (FileSystem, error) { return stat(path, mountPoint) }

func stat(path string, mountPoint func(fd int) (string, error)) (FileSystem, error) {
	fd, _, err := openDir(path)
	if err != nil {
		return FileSystem{}, err
	}
	defer unix.Close(fd)
	id, err := fileSystemID(fd, path)
	if err != nil {
		return FileSystem{}, err
	}
	var vfs unix.Statfs_t
	if err := unix.Fstatfs(fd, &vfs); err != nil {
		return FileSystem{}, fmt.Errorf("%s: statfs: %w", path, err)
	}
	point, err := mountPoint(fd)
	if err != nil {
		return FileSystem{}, fmt.Errorf("%s: %w", path, err)
	}
	// The directory is there while quotas are on, since Linux 5.9; on older kernels they go unnoticed.
	_, err = os.Stat("/sys/fs/btrfs/" + id.String() + "/qgroups")
	return FileSystem{
		ID:         id,
		MountPoint: point,
		ReadOnly:   vfs.Flags&unix.ST_RDONLY != 0,
		Total:      vfs.Blocks * uint64(vfs.Bsize),
		Free:       vfs.Bavail * uint64(vfs.Bsize),
		Quotas:     err == nil,
	}, nil
}
