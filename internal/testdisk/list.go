package testdisk

import (
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

func openTree(path string) (*os.File, error) {
	return os.OpenFile(path, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// list opens a directory and returns its sorted names, without subvolumes.
func list(e entry) (*os.File, []string, error) {
	dir, err := e.open(unix.O_DIRECTORY)
	if err != nil {
		return nil, nil, err
	}
	names, err := dir.Readdirnames(-1)
	if err == nil {
		slices.Sort(names)
		names, err = withoutSubvolumes(dir, names)
	}
	if err != nil {
		dir.Close()
		return nil, nil, err
	}
	return dir, names, nil
}

func withoutSubvolumes(dir *os.File, names []string) ([]string, error) {
	var st, self unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &self); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: dir.Name(), Err: err}
	}
	kept := names[:0]
	for _, name := range names {
		if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return nil, &fs.PathError{Op: "stat", Path: dir.Name() + "/" + name, Err: err}
		}
		f := facts{mode: st.Mode, inode: st.Ino, device: st.Dev}
		if !f.isSubvolume(self.Dev) {
			kept = append(kept, name)
		}
	}
	return kept, nil
}
