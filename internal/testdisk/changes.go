package testdisk

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// with opens a file that must exist, and still be regular, for writing.
func (m *mutation) with(path string, use func(f *os.File, size int64) error) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return unix.EINVAL
	}
	return use(f, info.Size())
}

// data returns up to most random bytes, at least one.
func (m *mutation) data(most int) []byte {
	return fill(m.rnd, make([]byte, 1+m.rnd.IntN(most)))
}

func (m *mutation) overwrite(file, _ string) error {
	return m.with(file, func(f *os.File, size int64) error {
		_, err := f.WriteAt(m.data(64<<10), m.rnd.Int64N(size+1))
		return err
	})
}

func (m *mutation) grow(file, _ string) error {
	return m.with(file, func(f *os.File, size int64) error {
		_, err := f.WriteAt(m.data(20_000), size+int64(m.rnd.IntN(2)*100_000))
		return err
	})
}

func (m *mutation) truncate(file, _ string) error {
	return m.with(file, func(f *os.File, size int64) error {
		return f.Truncate(m.rnd.Int64N(size + 1 + int64(m.rnd.IntN(2)*50_000)))
	})
}

func (m *mutation) punch(file, _ string) error {
	return m.with(file, func(f *os.File, size int64) error {
		const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
		return unix.Fallocate(int(f.Fd()), mode, m.rnd.Int64N(size+1), 1+m.rnd.Int64N(200_000))
	})
}

func (m *mutation) allocate(file, _ string) error {
	return m.with(file, func(f *os.File, size int64) error {
		mode := uint32(m.rnd.IntN(2)) * unix.FALLOC_FL_KEEP_SIZE
		return unix.Fallocate(int(f.Fd()), mode, size, 1+m.rnd.Int64N(200_000))
	})
}

// rewrite is what an editor does: a new file takes the place of the old one.
func (m *mutation) rewrite(file, _ string) error {
	if _, err := os.Lstat(file); err != nil {
		return err
	}
	temporary := filepath.Join(filepath.Dir(file), ".tmp"+strconv.FormatUint(m.rnd.Uint64(), 36))
	if err := os.WriteFile(temporary, m.data(50_000), 0o600); err != nil {
		return err
	}
	if err := os.Rename(temporary, file); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return nil
}

func (m *mutation) create(_, fresh string) error {
	return os.WriteFile(fresh, m.data(100_000), 0o644)
}

func (m *mutation) makeDir(_, fresh string) error {
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return err
	}
	return m.create("", filepath.Join(fresh, "first"))
}

func (m *mutation) remove(file, _ string) error { return os.Remove(file) }

func (m *mutation) rename(file, fresh string) error { return os.Rename(file, fresh) }

func (m *mutation) replaceByDir(file, _ string) error {
	if err := os.Remove(file); err != nil {
		return err
	}
	return m.makeDir("", file)
}

func (m *mutation) replaceByLink(file, _ string) error {
	if err := os.Remove(file); err != nil {
		return err
	}
	return os.Symlink("../elsewhere", file)
}

func (m *mutation) moveDir(_, fresh string) error {
	return os.Rename(filepath.Join(m.dir, m.pick(m.dirs)), fresh)
}

// removeDir removes a directory with few things in it, so that the tree lasts.
func (m *mutation) removeDir(_, _ string) error {
	if len(m.dirs) == 0 {
		return unix.ENOENT
	}
	dir := filepath.Join(m.dir, m.pick(m.dirs))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 10 {
		return unix.ENOTEMPTY
	}
	for _, child := range entries {
		if child.IsDir() {
			return unix.ENOTEMPTY
		}
	}
	return os.RemoveAll(dir)
}

func (m *mutation) chmod(file, _ string) error {
	return m.with(file, func(f *os.File, _ int64) error {
		return unix.Fchmod(int(f.Fd()), m.rnd.Uint32()&0o7777)
	})
}

func (m *mutation) chown(file, _ string) error {
	err := os.Lchown(file, m.rnd.IntN(70_000), m.rnd.IntN(70_000))
	if os.Geteuid() != 0 && errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}

func (m *mutation) setXattr(file, _ string) error {
	return m.with(file, func(f *os.File, _ int64) error {
		name := "user.mutated" + strconv.Itoa(m.rnd.IntN(3))
		return unsupported(unix.Fsetxattr(int(f.Fd()), name, m.data(200), 0))
	})
}

func (m *mutation) removeXattrs(file, _ string) error {
	list, err := grown(func(b []byte) (int, error) { return unix.Llistxattr(file, b) })
	if err != nil {
		return unsupported(err)
	}
	for _, name := range xattrNames(list) {
		if err := unix.Lremovexattr(file, name); err != nil && os.Geteuid() == 0 {
			return err
		}
	}
	return nil
}

func (m *mutation) hardLink(file, fresh string) error {
	info, err := os.Lstat(file)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return unix.EISDIR
	}
	return os.Link(file, fresh)
}

func (m *mutation) reflink(file, fresh string) error {
	return m.with(file, func(f *os.File, _ int64) error {
		target, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		defer target.Close()
		return unsupported(unix.IoctlFileClone(int(target.Fd()), int(f.Fd())))
	})
}

func unsupported(err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) {
		return nil
	}
	return err
}
