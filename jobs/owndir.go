package jobs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/btrkeep/btrkeep/internal/atomicfile"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// stagingFiles are what a directory of backups has besides them.
var stagingFiles = []string{catalog.File, catalog.File + atomicfile.Suffix, ".btrkeep.lock"}

func isStagingFile(name string) bool { return slices.Contains(stagingFiles, name) }

// makeOwnDir makes a directory that nobody else can write to or put another one in the place of, unless there is such a one already.
func makeOwnDir(path string) error {
	if err := safeParent(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return isOwnDir(path)
}

// isOwnDir refuses what is not a directory that this user alone can write to: somebody may have planted it, or a link.
func isOwnDir(path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !st.IsDir() || int(st.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() || st.Mode().Perm()&0o022 != 0 {
		return hintf("look at what it is, and remove it", "%s was not made by btrkeep", path)
	}
	return nil
}

// safeParent refuses a directory in which another user could rename what is made there.
func safeParent(dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	others := st.Mode().Perm()&0o022 != 0 && st.Mode()&fs.ModeSticky == 0
	if int(st.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() || others {
		return hintf("restore to a directory of root's on that file system, and move what was restored from there", "%s can be written by other users, who could interfere: %w", dir, fs.ErrPermission)
	}
	return nil
}
