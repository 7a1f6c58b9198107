// Package copytree copies a file or a directory out of a snapshot or backup, with all that it carries: owners, modes, times, extended attributes, ACLs,
// capabilities, hard links, holes, device nodes. On the file system of the source, the copy shares the blocks of files.
//
// It is for root: whoever else has it made gets files of his own, and notes of what is missing.
package copytree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Options of a [Copy]. The zero value replaces nothing.
type Options struct {
	// Overwrite replaces a file at the target, and lays a directory over one that is there: each of its files replaces its like, in one step, what the source
	// does not have stays, and directories get the metadata of the source. A file never replaces a directory, nor the reverse: that one is left out ([Incomplete]).
	// All is copied before the first file is replaced, so there must be space for both; whatever goes wrong until then, a cancellation included, changes nothing.
	Overwrite bool

	Progress func(bytes int64) // called with the bytes copied so far, at the end of each file and now and then within a large one; may be nil
}

// Summary is what a [Copy] has copied. After an error that is not [Incomplete] alone, that is not, or not all of it, at the target.
type Summary struct {
	Files       int // names of regular files
	Directories int
	Others      int   // symbolic links, devices, FIFOs, sockets
	Skipped     int   // nested subvolumes, and what a snapshot has in their place
	Bytes       int64 // lengths of the files, of several names of one file once
	Shared      int64 // of these, what shares its blocks with the source

	// Notes tell what the copy lacks though every file is there, such as attributes that the target's file system does not have; one for each sort, with
	// the number of files.
	Notes []string
}

// ErrBusy means that another process copies something to the same name.
var ErrBusy = errors.New("another restore to the same name is going on")

// Copy copies what is at path in the subvolume at root to name in the directory dir. The path is "." for the root itself, or relative, of any bytes, with slashes
// between, of any length. It leads through no symbolic link, and neither out of root nor into another subvolume or mount.
//
// If something is at the target, Copy fails with an error that wraps [fs.ErrExist] and changes nothing, unless [Options] allow it. All is built under a
// hidden name in dir, written to the disk, and renamed: whatever kills the process or the machine, a new target is either not there or whole. What such an end leaves
// under the hidden name is removed by the next copy to the same name.
//
// A file that cannot be read, or that the target's file system cannot hold, is left out. An error that is or wraps an [Incomplete] means that this is all that went wrong.
// Any other error ends the copy. Nobody who can write to dir, or to directories in it, can lead the copy out of them.
func Copy(ctx context.Context, root, path, dir, name string, o Options) (Summary, error) {
	c := &copier{
		ctx: ctx, options: o, source: root + "/" + path, target: dir + "/" + name, name: name,
		stageName: stageOf(name), buffer: make([]byte, bufferSize),
	}
	err := errors.Join(checkName(name), checkPath(path))
	if err == nil {
		err = c.copy(root, path, dir)
	}
	c.summary.Notes = c.notes.texts()
	switch {
	case c.left.Count > 0 && err == nil:
		err = &c.left
	case c.left.Count > 0:
		err = fmt.Errorf("%w; and %s", err, c.left.Error())
	}
	if err != nil {
		err = fmt.Errorf("copy %s to %s: %w", show(c.source), show(c.target), err)
	}
	return c.summary, err
}

const bufferSize = 1 << 20

// copier is one copy.
type copier struct {
	ctx            context.Context
	options        Options
	source, target string // for messages
	name           string // of the target
	stageName      string
	device         uint64 // of the source

	stages  []*stage
	roots   []*root
	summary Summary
	notes   notes
	left    Incomplete
	moved   int64 // bytes, for progress
	buffer  []byte
}

// copy builds all of it under hidden names, brings that to the disk, and only then gives it its names: what fails or is killed before has changed nothing.
func (c *copier) copy(root, path, dir string) error {
	from, last, err := c.resolve(root, path)
	if err != nil {
		return err
	}
	defer from.close()
	to, err := openDir(unix.AT_FDCWD, dir, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: show(dir), Err: err}
	}
	defer to.close()
	if err := sweep(to, c.stageName); err != nil {
		return c.stageError(dir, err)
	}
	top := &level{from: from, over: to}
	e, err := c.open(top, last)
	if err != nil {
		return err
	}
	defer e.close()
	// A first look, before there is a stage.
	over, err := c.laidOver(e)
	if err != nil {
		return c.verdict(err)
	}
	over.close()
	s, err := c.addStage(to)
	if err != nil {
		return c.stageError(dir, err)
	}
	defer func() {
		for _, s := range slices.Backward(c.stages) {
			c.removeStage(s)
		}
		for _, r := range c.roots {
			r.over.close()
		}
	}()
	top.to, top.stage = s.dir, s
	if err := c.build(e, treeName); err != nil {
		return c.verdict(err)
	}
	return c.publish(e, to)
}

// publish gives its names to what was built. It ends quickly and heeds no cancellation, which would leave some of the old among the new.
func (c *copier) publish(e *entry, to handle) error {
	for _, s := range c.stages {
		if err := c.sync(s.dir.fd); err != nil {
			return err
		}
	}
	if len(c.roots) == 0 {
		// Both old and new are files, or there is no old.
		rename := renameNew
		if c.options.Overwrite && !e.isDir() {
			rename = unix.Renameat
		}
		if err := c.placed(e, rename(e.at.stage.dir.fd, treeName, to.fd, c.name)); err != nil {
			return c.verdict(err)
		}
		return c.sync(to.fd)
	}
	for _, r := range c.roots {
		if err := c.lay(r); err != nil {
			return err
		}
	}
	for _, r := range c.roots {
		if err := c.sync(r.over.fd); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) stageError(dir string, err error) error {
	return fmt.Errorf("prepare %s: %w", show(dir+"/"+c.stageName), err)
}

// sync writes to the disk what was copied: syncfs(2).
func (c *copier) sync(fd int) error {
	if err := unix.Syncfs(fd); err != nil {
		return fmt.Errorf("syncfs %s: %w", show(c.target), err)
	}
	return nil
}

// checkName accepts what one directory entry can be called.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%q is not one name", name)
	}
	return nil
}

// checkPath accepts relative paths downwards.
func checkPath(path string) error {
	if path == "." { // the root itself
		return nil
	}
	names := split(path)
	if len(names) == 0 || path[0] == '/' {
		return fmt.Errorf("path %q is not relative", path)
	}
	for _, name := range names {
		if err := checkName(name); err != nil {
			return fmt.Errorf("path %q: %w", path, err)
		}
	}
	return nil
}

// split gives the names in a path; a shell completes that of a directory with a slash.
func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}
