// Package atomicfile replaces files so that a power cut leaves the old or the new one.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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
	return ReplaceAfter(path, data, func(*os.File) error { return nil })
}

// ReplaceAfter is [Replace] that has the new file passed to sync before it gets its name.
func ReplaceAfter(path string, data []byte, sync func(*os.File) error) error {
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
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return nil
}
