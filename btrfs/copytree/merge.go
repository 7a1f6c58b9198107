package copytree

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// root is a directory, built, that is to be laid over one that is there: what is copied, and below it whatever lies on another mount of the target.
type root struct {
	stage  *stage
	over   handle
	within string // the path in what is copied
}

// laidOver opens the directory that e will be laid over. Without one, the handle is closed; an error if what is there will not be replaced by e.
func (c *copier) laidOver(e *entry) (handle, error) {
	none := handle{fd: -1}
	at, name := e.at.over.fd, e.name
	if e.at.depth == 0 {
		name = c.name
	}
	if at < 0 {
		return none, nil
	}
	var there unix.Stat_t
	err := unix.Fstatat(at, name, &there, unix.AT_SYMLINK_NOFOLLOW)
	switch isDir := there.Mode&unix.S_IFMT == unix.S_IFDIR; {
	case err == unix.ENOENT:
		return none, nil
	case err != nil:
		return none, c.refused(e, "stat", err)
	case !c.options.Overwrite:
		return none, c.refused(e, "create", unix.EEXIST)
	case isDir != e.isDir():
		return none, leftOut{fmt.Errorf("%s is a %s, and %s is a %s, which is not replaced by that", c.sourcePath(e), kindName(e.stat.Mode),
			c.targetPath(e), kindName(there.Mode))}
	case !isDir:
		return none, nil
	}
	over, err := openDir(at, name, 0)
	if err == unix.ENOTDIR || err == unix.ELOOP { // somebody has just put it there
		return none, c.inTheWay(e, err)
	}
	if err != nil {
		return none, c.refused(e, "open", err)
	}
	return over, nil
}

func (c *copier) inTheWay(e *entry, err error) error {
	return leftOut{&fs.PathError{Op: "create", Path: c.targetPath(e), Err: err}}
}

// addRoot prepares for e to be laid over a directory; on the mount of the stage of its level, or on another one.
func (c *copier) addRoot(e *entry, over handle) (*root, error) {
	again, err := openDir(over.fd, ".", 0)
	if err != nil {
		return nil, c.refused(e, "open", err)
	}
	r := &root{stage: e.at.stage, over: again, within: within(e)}
	if !over.sameMount(r.stage.dir) {
		if r.stage, err = c.addStage(over); err != nil {
			again.close()
			return nil, fmt.Errorf("prepare %s/%s: %w", c.targetPath(e), c.stageName, err)
		}
		c.note(e, "hard links between file systems, mounts and subvolumes of the target become files of their own")
	}
	c.roots = append(c.roots, r)
	return r, nil
}

// lay gives what was built in a root its names.
func (c *copier) lay(r *root) error {
	tree, err := openat(r.stage.dir.fd, treeName, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("open what was built for %s: %w", show(c.target+r.within), err)
	}
	top := &level{within: r.within, from: r.stage.dir, to: r.over, over: handle{fd: -1}}
	e := &entry{at: top, fd: tree}
	to, err := openDir(r.over.fd, ".", 0)
	if err != nil {
		e.close()
		return c.refused(e, "open", err)
	}
	return c.layDir(e, to, r.stage)
}

// layDir lays a directory over one that is there, whose owner may change it at any time.
func (c *copier) layDir(e *entry, to handle, own *stage) error {
	defer e.close()
	// As it was before its entries move away.
	if err := unix.Fstat(e.fd, &e.stat); err != nil {
		to.close()
		return c.refused(e, "stat", err)
	}
	l, err := e.at.below(e, to)
	if err != nil {
		to.close()
		return c.refused(e, "stat", err)
	}
	defer l.close()
	for {
		names, err := l.names()
		if err != nil {
			return c.refused(e, "read", err)
		}
		if len(names) == 0 {
			break
		}
		for _, name := range names {
			if err := c.verdict(c.move(&entry{at: l, name: name, fd: -1})); err != nil {
				return err
			}
		}
	}
	if own != nil {
		c.removeStage(own) // it may lie in this very directory, and the times come last
	}
	if err := c.verdict(c.dirMetadata(e, l)); err != nil {
		return err
	}
	return l.leave()
}

// move renames one built entry to its place.
func (c *copier) move(e *entry) error {
	from, to := e.at.from.fd, e.at.to.fd
	err := renameNew(from, e.name, to, e.name)
	if err != unix.EEXIST {
		return c.placed(e, err)
	}
	if err := unix.Fstatat(from, e.name, &e.stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return c.refused(e, "stat", err)
	}
	if !e.isDir() {
		return c.placed(e, unix.Renameat(from, e.name, to, e.name))
	}
	over, err := openDir(to, e.name, 0)
	if err == unix.ENOTDIR || err == unix.ELOOP {
		return c.inTheWay(e, err)
	}
	if err == nil {
		if e.fd, err = openat(from, e.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW); err != nil {
			over.close()
		}
	}
	if err != nil {
		return c.refused(e, "open", err)
	}
	return c.layDir(e, over, nil)
}

// placed judges a renaming.
func (c *copier) placed(e *entry, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EEXIST), err == unix.EISDIR, err == unix.ENOTDIR, err == unix.ENOTEMPTY: // somebody has just put it there
		return c.inTheWay(e, err)
	}
	return c.refused(e, "create", err)
}

// renameNew renames to a name that is free, else EEXIST.
func renameNew(fromDir int, from string, toDir int, to string) error {
	err := unix.Renameat2(fromDir, from, toDir, to, unix.RENAME_NOREPLACE)
	if err != unix.EINVAL {
		return err
	}
	// Some file systems, such as NFS, do not have that.
	if err := unix.Fstatat(toDir, to, new(unix.Stat_t), unix.AT_SYMLINK_NOFOLLOW); err != unix.ENOENT {
		return unix.EEXIST
	}
	return unix.Renameat(fromDir, from, toDir, to)
}

func kindName(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFREG:
		return "file"
	case unix.S_IFLNK:
		return "symbolic link"
	}
	return "special file"
}
