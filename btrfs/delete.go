package btrfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Delete unlinks the subvolume name in dir: only if its UUID is id. Space comes back when the cleaner has
// run; a power cut may bring the subvolume back until the next commit. BTRFS_IOC_SNAP_DESTROY.
// It refuses a subvolume that is mounted somewhere (mountinfo), one that is being read ([Hold], ErrInUse) and one that holds other subvolumes (ENOTEMPTY).
func Delete(dir, name string, id UUID) error {
	path := filepath.Join(dir, name)
	if err := checkName(name); err != nil {
		return err
	}
	if id.IsZero() {
		return fmt.Errorf("delete %s: no UUID given", path)
	}
	dirfd, _, err := openDir(dir)
	if err != nil {
		return err
	}
	defer unix.Close(dirfd)
	child, err := openChild(dirfd, name)
	if err != nil {
		return fmt.Errorf("delete %s: %w", path, err)
	}
	defer unix.Close(child)
	s, err := describe(child, path)
	if err != nil {
		return err
	}
	if s.UUID != id {
		return fmt.Errorf("delete %s: it is another subvolume: its UUID is %s, not %s", path, s.UUID, id)
	}
	// The kernel takes a mounted subvolume away from under its users without a word.
	if at, err := mountedAt(child, s.ID); err != nil {
		return fmt.Errorf("delete %s: %w", path, err)
	} else if at != "" {
		return fmt.Errorf("delete %s: it is mounted at %s: %w", path, at, unix.EBUSY)
	}
	if err := unix.Flock(child, unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("delete %s: %w", path, ErrInUse)
	} else if err != nil {
		return fmt.Errorf("delete %s: %w", path, err)
	}
	if err := destroy(dirfd, name, s.ID); err != nil {
		return fmt.Errorf("delete %s: %w", path, explainDestroy(err))
	}
	return nil
}

// destroy deletes by id where it can, so that a subvolume renamed into the checked one's place is safe.
func destroy(dirfd int, name string, id uint64) error {
	args := volArgsV2{flags: subvolSpecByID}
	binary.NativeEndian.PutUint64(args.name[:], id)
	err := ioctl(dirfd, iocSnapDestroyV2, unsafe.Pointer(&args))
	switch {
	case errors.Is(err, unix.ENOTTY), // Linux before 5.7
		errors.Is(err, unix.EOPNOTSUPP),   // an id-mapped mount
		errors.Is(err, unix.ENAMETOOLONG), // the kernel builds the whole path of the id
		errors.Is(err, unix.EPERM):        // by name, the mount option user_subvol_rm_allowed may permit it
		var byName volArgs
		copy(byName.name[:], name)
		return ioctl(dirfd, iocSnapDestroy, unsafe.Pointer(&byName))
	}
	return err
}

func explainDestroy(err error) error {
	switch {
	case errors.Is(err, unix.ENOTEMPTY):
		return fmt.Errorf("it holds other subvolumes: %w", err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("it is being sent, is the default subvolume, or CAP_SYS_ADMIN is missing: %w", err)
	}
	return err
}
