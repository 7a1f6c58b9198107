package testdisk

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Mutate makes about n changes below dir, of every sort that an incremental
// backup must carry: in content, length, holes, names, places, links, modes,
// owners, xattrs, and a file where a directory was. It depends on the tree and
// the seed alone, apart from the times that the system gives. Nested
// subvolumes, .btrkeep, and directories on the way to them stay where they are.
//
// It returns an error rather than fail a test, so that it can serve as a load
// in the background, where the disk may run full or go away.
func Mutate(dir string, seed uint64, n int) error {
	root, err := openTree(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	m := &mutation{rnd: newRand(seed), dir: dir}
	if _, err := m.collect(entry{root, "."}, ""); err != nil {
		return err
	}
	for i := range n {
		if err := m.change(i); err != nil {
			return fmt.Errorf("change %d: %w", i, err)
		}
	}
	return nil
}

// snapshotDir holds snapshots by default, even if none are in it yet.
const snapshotDir = ".btrkeep"

type mutation struct {
	rnd   *rand.Rand
	dir   string
	files []string // regular, relative to dir
	dirs  []string
}

// collect tells whether a subvolume lies in or below e.
func (m *mutation) collect(e entry, path string) (nested bool, err error) {
	dir, err := e.open(unix.O_DIRECTORY)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	var self unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &self); err != nil {
		return false, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/self/fd/%d", dir.Fd())) // sorted
	if err != nil {
		return false, err
	}
	for _, child := range entries {
		childPath := filepath.Join(path, child.Name())
		switch {
		case child.Type().IsRegular():
			m.files = append(m.files, childPath)
		case child.IsDir():
			f, err := entry{dir, child.Name()}.facts()
			if err != nil {
				return false, err
			}
			below := f.isSubvolume(self.Dev) || child.Name() == snapshotDir
			if !below {
				if below, err = m.collect(entry{dir, child.Name()}, childPath); err != nil {
					return false, err
				}
			}
			nested = nested || below
		}
	}
	if !nested && path != "" {
		m.dirs = append(m.dirs, path)
	}
	return nested, nil
}

// change makes one change. What it meets may have gone or moved by an earlier
// one; then it tries another.
func (m *mutation) change(number int) error {
	changes := []func(file, fresh string) error{
		m.overwrite, m.overwrite, m.grow, m.truncate, m.punch, m.allocate, m.rewrite,
		m.create, m.remove, m.rename, m.replaceByDir, m.replaceByLink, m.moveDir, m.removeDir,
		m.chmod, m.chown, m.setXattr, m.removeXattrs, m.hardLink, m.reflink, m.makeDir,
	}
	// The first changes are one of each sort, so that a small n has them all.
	change := changes[number%len(changes)]
	var err error
	for range 20 {
		file := filepath.Join(m.dir, m.pick(m.files))
		fresh := filepath.Join(m.dir, m.pick(m.dirs), "new"+strconv.FormatUint(m.rnd.Uint64(), 36))
		if len(m.files) == 0 {
			return m.create("", filepath.Join(m.dir, filepath.Base(fresh)))
		}
		if err = change(file, fresh); !gone(err) {
			return err
		}
	}
	// Nothing of that sort is left to change.
	return m.create("", filepath.Join(m.dir, "new"+strconv.FormatUint(m.rnd.Uint64(), 36)))
}

func gone(err error) bool {
	for _, errno := range []unix.Errno{unix.ENOENT, unix.ENOTDIR, unix.EISDIR, unix.EEXIST, unix.ENOTEMPTY, unix.EINVAL, unix.ELOOP} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

func (m *mutation) pick(from []string) string {
	if len(from) == 0 {
		return ""
	}
	return from[m.rnd.IntN(len(from))]
}
