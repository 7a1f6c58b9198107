package testdisk

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// scratchPrefix is short because the path of a unix socket ends at 107 bytes.
const scratchPrefix = "btrkeep-test."

// makeScratch makes the directory for everything the tests write. As long as
// the returned file is open, the directory is locked.
func makeScratch() (string, *os.File, error) {
	dir, err := os.MkdirTemp("", scratchPrefix)
	if err != nil {
		return "", nil, err
	}
	// Tests run programs as other users, who must get in.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", nil, err
	}
	lock, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return "", nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return dir, lock, nil
}

// removeStale removes what killed test runs left behind.
func removeStale() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), scratchPrefix+"*"))
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < time.Minute {
			continue // a young one may not be locked yet
		}
		lock, err := os.Open(dir)
		if err != nil {
			continue
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			os.RemoveAll(dir)
		}
		lock.Close()
	}
}
