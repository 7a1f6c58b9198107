package btrfs

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Rename renames the subvolume within its directory, never over anything (renameat2 RENAME_NOREPLACE: EEXIST).
// It is not durable until a commit.
func Rename(dir, from, to string) error {
	if err := errors.Join(checkName(from), checkName(to)); err != nil {
		return err
	}
	dirfd, _, err := openDir(dir)
	if err != nil {
		return err
	}
	defer unix.Close(dirfd)
	child, err := openChild(dirfd, from)
	if err == nil {
		unix.Close(child)
		err = unix.Renameat2(dirfd, from, dirfd, to, unix.RENAME_NOREPLACE)
	}
	if err != nil {
		return fmt.Errorf("rename %s to %q: %w", filepath.Join(dir, from), to, err)
	}
	return nil
}
