package diff

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs/sendstream"
)

// picture is the tree as far as the stream has touched it. It begins as the older snapshot, of which a part is looked at when it is first named.
type picture struct {
	before tree
	root   *inode
	inodes []*inode          // all that a command was about, in that order
	linked map[uint64]*inode // of those, by number, the ones with several names in the older snapshot
}

// inode is a file or directory, whatever its names.
type inode struct {
	typ     Type
	old     *facts            // as it was; nil for a new one, and for a directory that is only on the way to others
	isNew   bool              // it is not in the older snapshot
	entries map[string]*entry // of a directory, those that were looked at; nil is a name that is free now
	names   []*entry          // that were looked at; a directory has one
	traits
}

// entry is a name of an inode.
type entry struct {
	of  *inode
	was place // in the older snapshot
	is  place // now
}

// place is where an entry is; the zero value is nowhere.
type place struct {
	dir  *inode
	name string
}

func newPicture(before tree) *picture {
	above := &inode{} // the place of the root is there
	root := &inode{typ: Directory}
	at := place{above, ""}
	root.names = []*entry{{of: root, was: at, is: at}}
	return &picture{before: before, root: root, linked: map[uint64]*inode{}}
}

// find gives what a command is about.
func (p *picture) find(path string) (*entry, error) {
	e := p.root.names[0]
	if path != "" {
		dir, name, err := p.parent(path)
		if err != nil {
			return nil, err
		}
		if e, err = p.child(dir, name); err != nil {
			return nil, err
		}
	}
	return e, p.identify(e)
}

// parent gives the directory of a path.
func (p *picture) parent(path string) (*inode, string, error) {
	dir := p.root
	for {
		name, rest, more := strings.Cut(path, "/")
		if !more {
			return dir, name, nil
		}
		e, err := p.child(dir, name)
		if err != nil {
			return nil, "", err
		}
		if e.of.typ != "" && e.of.typ != Directory {
			return nil, "", fmt.Errorf("%s is not a directory", sendstream.Quote(name))
		}
		e.of.typ = Directory
		dir, path = e.of, rest
	}
}

func (p *picture) child(dir *inode, name string) (*entry, error) {
	e, known := dir.entries[name]
	switch {
	case e != nil:
		return e, nil
	case known || dir.isNew:
		return nil, fmt.Errorf("%s does not exist", sendstream.Quote(name))
	}
	at := place{dir, name}
	e = &entry{of: &inode{}, was: at, is: at}
	e.of.names = []*entry{e}
	dir.set(name, e)
	return e, nil
}

func (n *inode) set(name string, e *entry) {
	if n.entries == nil {
		n.entries = map[string]*entry{}
	}
	n.entries[name] = e
}

// identify looks at what is in the older snapshot, once.
func (p *picture) identify(e *entry) error {
	if e.of.isNew || e.of.old != nil {
		return nil
	}
	path, err := e.was.oldPath()
	if err != nil {
		return err
	}
	st, mtime, err := p.before.stat(path)
	if err != nil {
		return err
	}
	if same := p.linked[st.Ino]; same != nil && typeOf(st.Mode) != Directory {
		same.names = append(same.names, e)
		e.of = same
		return nil
	}
	was := factsOf(&st, mtime)
	e.of.old, e.of.now, e.of.typ = &was, was, typeOf(st.Mode)
	if st.Nlink > 1 && e.of.typ != Directory {
		p.linked[st.Ino] = e.of
	}
	p.inodes = append(p.inodes, e.of)
	return nil
}

func typeOf(mode uint32) Type {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return Directory
	case unix.S_IFLNK:
		return Symlink
	case unix.S_IFIFO:
		return FIFO
	case unix.S_IFSOCK:
		return Socket
	case unix.S_IFCHR, unix.S_IFBLK:
		return Device
	}
	return File
}

// create makes a new inode.
func (p *picture) create(path string, typ Type) error {
	n := &inode{typ: typ, isNew: true}
	if typ == Symlink { // of which no mode is sent
		n.now.mode = 0o777
	}
	p.inodes = append(p.inodes, n)
	return p.name(n, path)
}

// link gives a file a further name.
func (p *picture) link(path, existing string) error {
	e, err := p.find(existing)
	if err != nil {
		return err
	}
	if e.of.typ == Directory {
		return fmt.Errorf("a second name for directory %s", sendstream.Quote(existing))
	}
	return p.name(e.of, path)
}

// name gives n a name that it has not had before.
func (p *picture) name(n *inode, path string) error {
	dir, name, err := p.parent(path)
	if err != nil {
		return err
	}
	e := &entry{of: n}
	n.names = append(n.names, e)
	e.put(place{dir, name})
	return nil
}

// put moves e to a place that is free; a kernel leaves nothing there.
func (e *entry) put(to place) {
	if there := to.dir.entries[to.name]; there != nil {
		there.is = place{}
	}
	e.is = to
	to.dir.set(to.name, e)
}

func (p *picture) rename(from, to string) error {
	e, err := p.find(from)
	if err != nil {
		return err
	}
	dir, name, err := p.parent(to)
	if err != nil {
		return err
	}
	for above := dir; above.names != nil; above = above.names[0].is.dir {
		if above == e.of {
			return fmt.Errorf("%s is moved into itself", sendstream.Quote(from))
		}
		if above.names[0].is.dir == nil {
			break
		}
	}
	e.take()
	e.put(place{dir, name})
	return nil
}

// take leaves its place free.
func (e *entry) take() {
	e.is.dir.set(e.is.name, nil)
	e.is = place{}
}

func (p *picture) remove(path string) error {
	e, err := p.find(path)
	if err != nil {
		return err
	}
	if e.of == p.root {
		return fmt.Errorf("the root is removed")
	}
	e.take()
	return nil
}

// oldPath is the path of a place in the older snapshot.
func (at place) oldPath() (string, error) {
	return at.path(func(e *entry) place { return e.was })
}

// nowPath is the path of a place now.
func (at place) nowPath() (string, error) {
	return at.path(func(e *entry) place { return e.is })
}

func (at place) path(of func(*entry) place) (string, error) {
	path := at.name
	dir := at.dir
	for {
		if dir == nil {
			return "", fmt.Errorf("%s is in no directory", sendstream.Quote(path))
		}
		if dir.names == nil { // above the root
			return path, nil
		}
		up := of(dir.names[0])
		if up.name != "" {
			path = up.name + "/" + path
		}
		dir = up.dir
	}
}
