// Package atomicfile replaces files so that a power cut leaves the old or the new one.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Suffix is what the name of the new file ends in until it is complete. It is always the same: what a kill leaves is replaced by the next Write,
// where random names would pile up.
const Suffix = ".new"

// Write replaces the file at path, readable for its owner alone, and makes that durable. Whoever writes the same path at the same time has to be kept away by a lock.
func Write(path string, data []byte) error {
	if err := ReplaceAfter(path, data, (*os.File).Sync); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path)) // the name is durable once its directory is
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Replace is [Write] without waiting for the disk: readers find the old or the new file, but a power cut may leave anything.
func Replace(path string, data []byte) error {
	return replace(path, data, func(*os.File) error { return nil }, exchange)
}

// ReplaceAfter is [Replace] that has the new file passed to sync before it gets its name.
func ReplaceAfter(path string, data []byte, sync func(*os.File) error) error {
	return replace(path, data, sync, os.Rename)
}

func replace(path string, data []byte, sync func(*os.File) error, rename func(from, to string) error) error {
	temporary := path + Suffix
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // EXCL follows no link
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = sync(f)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = rename(temporary, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return nil
}

// exchange is [os.Rename] of a file whose new content need not be on the disk before its new name: there ext4 (auto_da_alloc) and btrfs would begin to write it out, which takes
// longer than all else here, if a file is replaced, but not if two have their names exchanged, renameat2(2).
func exchange(from, to string) error {
	if unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE) != nil { // nothing to replace, or a file system that cannot
		return os.Rename(from, to)
	}
	err := unix.Unlink(from)
	if err != nil { // a directory
		err = &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
		err = errors.Join(err, unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE))
	}
	return err
}
