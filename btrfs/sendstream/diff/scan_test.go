package diff_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream/diff"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

func TestMain(m *testing.M) { testdisk.Main(m) }

func ok(t rapid.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// seen is what one path of a scanned tree is.
type seen struct {
	path    string
	parent  uint64 // inode number
	st      unix.Stat_t
	content []byte // of a regular file
	xattrs  string
	flags   int // of chattr, of files and directories
}

func (s seen) typ() diff.Type {
	return map[uint32]diff.Type{
		unix.S_IFREG: diff.File, unix.S_IFDIR: diff.Directory, unix.S_IFLNK: diff.Symlink, unix.S_IFIFO: diff.FIFO,
		unix.S_IFSOCK: diff.Socket, unix.S_IFCHR: diff.Device, unix.S_IFBLK: diff.Device,
	}[s.st.Mode&unix.S_IFMT]
}

// identity is what makes a file the same in both trees. Numbers are not used twice while the file system stays mounted.
type identity struct {
	inode uint64
	typ   diff.Type
}

func (s seen) id() identity { return identity{s.st.Ino, s.typ()} }

// spot is a name in a directory, whatever the directory is called.
type spot struct {
	parent uint64
	name   string
}

func (s seen) spot() spot { return spot{s.parent, filepath.Base(s.path)} }

// scan looks at every file of a tree and reads it.
func scan(t rapid.TB, root string) map[string]seen {
	t.Helper()
	found := map[string]seen{}
	ok(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var s seen
		if err := unix.Lstat(path, &s.st); err != nil {
			return err
		}
		if s.path, _ = filepath.Rel(root, path); s.path == "." {
			s.path = ""
		} else {
			s.parent = found[strings.TrimPrefix(filepath.Dir("/"+s.path), "/")].st.Ino
		}
		if s.typ() == diff.File || s.typ() == diff.Directory {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			if s.flags, err = unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS); err != nil {
				return err
			}
			s.flags &^= 0x400 // which the kernel sets on what it cannot compress
		}
		if s.typ() == diff.File {
			if s.content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		list := make([]byte, 64<<10)
		n, err := unix.Llistxattr(path, list)
		if err != nil {
			return err
		}
		names := strings.FieldsFunc(string(list[:n]), func(r rune) bool { return r == 0 })
		slices.Sort(names)
		for _, name := range names {
			value := make([]byte, 64<<10)
			n, err := unix.Lgetxattr(path, name, value)
			if err != nil {
				return err
			}
			s.xattrs += fmt.Sprintf("%q=%q ", name, value[:n])
		}
		found[s.path] = s
		return nil
	}))
	return found
}

// grouped has the names of each file, sorted.
func grouped(tree map[string]seen) map[identity][]seen {
	files := map[identity][]seen{}
	for _, path := range slices.Sorted(maps.Keys(tree)) {
		files[tree[path].id()] = append(files[tree[path].id()], tree[path])
	}
	return files
}

// compared is what diff has to say of two scanned trees. Cloned and Written are not known here.
func compared(older, newer map[string]seen) []diff.Change {
	was, is := grouped(older), grouped(newer)
	var all []diff.Change
	for id := range maps.Keys(merged(was, is)) {
		all = append(all, comparedFile(was[id], is[id])...)
	}
	stirred := map[string]bool{} // by path in newer, or of what is only in the older tree
	for path, s := range merged(older, newer) {
		if s.typ() == diff.Directory {
			stirred[path] = !maps.Equal(entries(older, s.st.Ino), entries(newer, s.st.Ino))
		}
	}
	all = slices.DeleteFunc(all, func(c diff.Change) bool { return c.Kind == diff.Metadata && len(c.Metadata) == 0 })
	for i := range all {
		c := &all[i]
		if c.Type == diff.Directory && stirred[c.Path] {
			c.Implied = c.Kind == diff.Metadata && slices.Equal(c.Metadata, []string{"time"})
			if !c.Implied {
				c.Metadata = slices.DeleteFunc(c.Metadata, func(m string) bool { return m == "time" })
			}
		}
	}
	return replaced(all, older, newer)
}

func merged[K comparable, V any](a, b map[K]V) map[K]V {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}

// entries are the names in a directory.
func entries(tree map[string]seen, dir uint64) map[string]identity {
	found := map[string]identity{}
	for _, s := range tree {
		if s.parent == dir && s.path != "" {
			found[filepath.Base(s.path)] = s.id()
		}
	}
	return found
}

// comparedFile compares the names of one file.
func comparedFile(was, is []seen) []diff.Change {
	var gone, came, stay, stayed []seen
	has := func(list []seen, s seen) int {
		return slices.IndexFunc(list, func(o seen) bool { return o.spot() == s.spot() })
	}
	for _, s := range was {
		if has(is, s) < 0 {
			gone = append(gone, s)
		}
	}
	for _, s := range is {
		if i := has(was, s); i < 0 {
			came = append(came, s)
		} else {
			stay, stayed = append(stay, s), append(stayed, was[i])
		}
	}
	var all []diff.Change
	both := func(kind diff.Kind, a, b seen) {
		c := diff.Change{Kind: kind, Path: b.path, From: a.path, Type: b.typ(), Metadata: metadata(a, b)}
		if c.Type == diff.File {
			c.Size, c.OldSize = uint64(b.st.Size), uint64(a.st.Size)
			c.Content = !bytes.Equal(a.content, b.content)
		}
		if c.Content && kind == diff.Metadata {
			c.Kind = diff.Modified
		}
		all = append(all, c)
	}
	for i := range stay {
		both(diff.Metadata, stayed[i], stay[i])
	}
	moved := min(len(gone), len(came))
	for i := range moved {
		both(diff.Renamed, gone[i], came[i])
	}
	for _, s := range gone[moved:] {
		all = append(all, diff.Change{Kind: diff.Deleted, Path: s.path, Type: s.typ(), Size: size(s)})
	}
	for i, s := range came[moved:] {
		c := diff.Change{Kind: diff.Added, Path: s.path, Type: s.typ(), Size: size(s)}
		switch {
		case i > 0 || moved > 0:
			c.Link = came[0].path
		case len(stay) > 0:
			c.Link = stay[0].path
		}
		all = append(all, c)
	}
	return all
}

func size(s seen) uint64 {
	if s.typ() == diff.File {
		return uint64(s.st.Size)
	}
	return 0
}

func metadata(a, b seen) []string {
	var differ []string
	note := func(what string, is bool) {
		if is {
			differ = append(differ, what)
		}
	}
	note("mode", a.st.Mode != b.st.Mode)
	note("owner", a.st.Uid != b.st.Uid || a.st.Gid != b.st.Gid)
	note("time", a.st.Mtim != b.st.Mtim)
	note("xattr", a.xattrs != b.xattrs)
	note("flags", a.flags != b.flags)
	return differ
}

// replaced makes one change of two at the same path, and sorts.
func replaced(all []diff.Change, older, newer map[string]seen) []diff.Change {
	gone := map[string]diff.Change{}
	for _, c := range all {
		if c.Kind == diff.Deleted {
			gone[c.Path] = c
		}
	}
	took := map[string]bool{}
	for i, c := range all {
		g, ok := gone[c.Path]
		if !ok || c.Kind != diff.Added || c.Type != g.Type {
			continue
		}
		took[c.Path] = true
		c.Kind, c.From, c.Replaced, c.OldSize, c.Content = diff.Modified, c.Path, true, g.Size, true
		if c.Link == "" || !slices.ContainsFunc(slices.Collect(maps.Values(older)), func(s seen) bool { return s.id() == newer[c.Path].id() }) {
			c.Metadata = slices.DeleteFunc(metadata(older[c.Path], newer[c.Path]), func(m string) bool { return m == "xattr" || m == "flags" })
		}
		if c.Type == diff.Directory {
			c.Kind, c.Content = diff.Metadata, false
			c.Implied = len(c.Metadata) == 0 || slices.Equal(c.Metadata, []string{"time"})
		}
		all[i] = c
	}
	all = slices.DeleteFunc(all, func(c diff.Change) bool { return c.Kind == diff.Deleted && took[c.Path] })
	slices.SortFunc(all, func(a, b diff.Change) int {
		if a.Path == b.Path {
			return map[bool]int{true: -1, false: 1}[a.Kind == diff.Deleted]
		}
		return strings.Compare(a.Path, b.Path)
	})
	return all
}

// lab is a subvolume that changes, and its snapshots.
type lab struct {
	disk, source string
	snapshots    []string
}

// newLab makes a subvolume on a disk.
func newLab(t rapid.TB, disk, name string) *lab {
	t.Helper()
	ok(t, btrfs.Create(disk, name))
	return &lab{disk: disk, source: filepath.Join(disk, name)}
}

func (l *lab) at(name string) string { return filepath.Join(l.source, name) }

// snapshot makes one more.
func (l *lab) snapshot(t rapid.TB) string {
	t.Helper()
	name := fmt.Sprintf("%s-%d", filepath.Base(l.source), len(l.snapshots))
	ok(t, btrfs.Snapshot(l.source, l.disk, name, true))
	l.snapshots = append(l.snapshots, filepath.Join(l.disk, name))
	return filepath.Join(l.disk, name)
}

// close deletes all.
func (l *lab) close(t rapid.TB) {
	t.Helper()
	for _, path := range append(l.snapshots, l.source) {
		s, err := btrfs.Info(path)
		ok(t, err)
		ok(t, btrfs.Delete(l.disk, filepath.Base(path), s.UUID))
	}
}
