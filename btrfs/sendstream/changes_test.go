package sendstream

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// shape makes one drawn change in a tree. What cannot be done is left.
func shape(r *rapid.T, root string) {
	s := shaper{r: r, root: root}
	s.look()
	s.change()
}

// shaper changes a tree as it is drawn.
type shaper struct {
	r    *rapid.T
	root string
	// What is there now, below the root, sorted.
	all, files, dirs []string
}

func (s *shaper) change() {
	changes := []func() error{
		// The first are drawn the most, and what fails shrinks to them.
		s.create, s.mkdir, s.write, s.rename, s.clone, s.reflink, s.remove, s.xattr,
		s.append, s.truncate, s.punch, s.preallocate, s.clone, s.punch, s.punch,
		s.move, s.exchange, s.cycle, s.invert, s.replace, s.orphan,
		s.hardLink, s.special, s.symlink,
		s.capability, s.acl, s.property, s.chmod, s.chown, s.times, s.flags,
		s.deep, s.wide,
	}
	err := changes[s.number("change", len(changes))]()
	harmless := []error{
		unix.ENOENT, unix.EEXIST, unix.ENOTDIR, unix.EISDIR, unix.ENOTEMPTY, unix.EINVAL, unix.EPERM, unix.ELOOP, unix.EACCES, unix.EOPNOTSUPP,
		unix.ENXIO, unix.ENAMETOOLONG, unix.ENODATA, unix.EFBIG, unix.EMLINK, unix.EBUSY, unix.ETXTBSY, unix.ENOTTY, unix.ESPIPE,
	}
	if err != nil && !slices.ContainsFunc(harmless, func(h error) bool { return errors.Is(err, h) }) {
		s.r.Fatal(err)
	}
}

// look lists what is there.
func (s *shaper) look() {
	s.all, s.files, s.dirs = nil, nil, []string{""}
	ok(s.r, filepath.WalkDir(s.root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, unix.ENAMETOOLONG) {
			return fs.SkipDir // what was moved there is too deep for a path
		}
		if err != nil || path == s.root {
			return err
		}
		path = path[len(s.root)+1:]
		s.all = append(s.all, path)
		switch {
		case d.IsDir():
			s.dirs = append(s.dirs, path)
		case d.Type().IsRegular():
			s.files = append(s.files, path)
		}
		return nil
	}))
}

// number draws one below n. (This is a third of the cost of rapid's own generators with many names.)
func (s *shaper) number(what string, n int) int { return rapid.IntRange(0, n-1).Draw(s.r, what) }

func (s *shaper) pick(what string, from []string) string {
	if len(from) == 0 {
		return "nothing"
	}
	return from[s.number(what, len(from))]
}

func (s *shaper) at(path string) string { return filepath.Join(s.root, path) }
func (s *shaper) any() string           { return s.at(s.pick("any", s.all)) }
func (s *shaper) file() string          { return s.at(s.pick("file", s.files)) }
func (s *shaper) dir() string           { return s.at(s.pick("dir", s.dirs)) }

// name is one that may be there or not, in a directory that is there.
func (s *shaper) name() string {
	names := []string{"a", "b", "c", "d", "e", strings.Repeat("n", 255), "o257-7-0", "new\nline"}
	return filepath.Join(s.dir(), names[s.number("name", len(names))])
}

func (s *shaper) mkdir() error { return os.Mkdir(s.name(), 0o755) }

// rename(2) replaces empty directories; os.Rename does not.
func (s *shaper) rename() error { return unix.Rename(s.any(), s.name()) }

func (s *shaper) move() error {
	from := s.any()
	return unix.Rename(from, filepath.Join(s.dir(), filepath.Base(from)))
}

func exchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

func (s *shaper) exchange() error { return exchange(s.any(), s.any()) }

// cycle has three names change hands.
func (s *shaper) cycle() error {
	a, b, c := s.any(), s.any(), s.any()
	return errors.Join(exchange(a, b), exchange(b, c))
}

// invert puts a directory below one that was below it.
func (s *shaper) invert() error {
	child := s.dir()
	parent := filepath.Dir(child)
	if len(parent) <= len(s.root) {
		return nil
	}
	beside := filepath.Join(filepath.Dir(parent), filepath.Base(child)+"'")
	if err := unix.Rename(child, beside); err != nil {
		return err
	}
	return unix.Rename(parent, filepath.Join(beside, filepath.Base(parent)))
}

// replace puts something of another kind at a name.
func (s *shaper) replace() error {
	path := s.any()
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	if s.number("kind", 2) == 0 {
		return os.Mkdir(path, 0o700)
	}
	return s.fill(path)
}

// orphan moves what is in a directory out of it and removes the directory, or puts another one in its place.
func (s *shaper) orphan() error {
	dir := s.dir()
	entries, err := os.ReadDir(dir)
	if err != nil || dir == s.root {
		return err
	}
	to := s.dir()
	for _, e := range entries {
		_ = unix.Rename(filepath.Join(dir, e.Name()), filepath.Join(to, e.Name()+"-moved"))
	}
	if err := os.RemoveAll(dir); err != nil || s.number("again", 2) == 0 {
		return err
	}
	return unix.Rename(s.dir(), dir)
}

func (s *shaper) remove() error {
	path := s.any()
	if s.number("all", 2) == 0 {
		return os.Remove(path)
	}
	return os.RemoveAll(path)
}

func (s *shaper) hardLink() error { return os.Link(s.any(), s.name()) }
func (s *shaper) symlink() error  { return os.Symlink(filepath.Base(s.any()), s.name()) }

func (s *shaper) special() error {
	kinds := []uint32{unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK}
	return unix.Mknod(s.name(), kinds[s.number("kind", len(kinds))]|0o640, int(unix.Mkdev(uint32(s.number("major", 300)), uint32(s.number("minor", 70_000)))))
}

// deep makes directories in each other, with names that are long enough for paths of 3,000 bytes.
func (s *shaper) deep() error {
	path := s.dir()
	long := []string{"deep", strings.Repeat("d", 255)}[s.number("long", 2)]
	for len(path) < len(s.root)+3000 && strings.Count(path, "/deep") < 16 {
		path = filepath.Join(path, long)
		if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	return s.fill(filepath.Join(path, "bottom"))
}

// wide fills a directory.
func (s *shaper) wide() error {
	dir := s.dir()
	for n := range s.number("files", 40) {
		if err := unix.Mknod(filepath.Join(dir, fmt.Sprintf("w%d", n)), unix.S_IFREG|0o600, 0); err != nil {
			return err
		}
	}
	return nil
}
