// Package atomicfile replaces files so that a power cut leaves the old or the new one, and nothing beside it for long.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// Write replaces the file at path, readable for its owner alone, and makes that durable. Whoever writes the same path at the same time has to be kept away by a lock.
func Write(path string, data []byte) error {
	if err := Clean(path); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := renameio.WriteFile(path, data, 0o600, renameio.WithTempDir(dir)); err != nil {
		return err
	}
	d, err := os.Open(dir) // renameio syncs the file, not the directory
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Clean deletes what an interrupted Write left beside the file. It needs the same lock.
func Clean(path string) error {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if temporary(e.Name(), base) && e.Type().IsRegular() {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// temporary reports whether name is base with a dot before and digits behind, as renameio calls its files.
func temporary(name, base string) bool {
	digits, ok := strings.CutPrefix(name, "."+base)
	return ok && digits != "" && strings.Trim(digits, "0123456789") == ""
}
