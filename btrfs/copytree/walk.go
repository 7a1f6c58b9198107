package copytree

import (
	"errors"

	"golang.org/x/sys/unix"
)

// contents builds what is in the source directory of l.
func (c *copier) contents(l *level) error {
	for {
		names, err := l.names()
		if err != nil {
			// What was read of it is copied.
			return c.verdict(c.unreadable(&entry{at: l.up, name: l.name}, "read", err))
		}
		if len(names) == 0 {
			return nil
		}
		for _, name := range names {
			if err := c.ctx.Err(); err != nil {
				return err
			}
			if err := c.verdict(c.member(l, name)); err != nil {
				return err
			}
		}
	}
}

// member builds one entry of a directory.
func (c *copier) member(l *level, name string) error {
	e, err := c.open(l, name)
	if errors.Is(err, errNested) {
		return c.skip(&entry{at: l, name: name}, "nested subvolumes and mounts are not copied")
	}
	if err != nil {
		return err
	}
	defer e.close()
	if name == c.stageName && e.isDir() {
		// In the target, this copy itself may be at work under that name.
		return c.skip(e, "what an interrupted restore has left is not copied")
	}
	return c.build(e, name)
}

func (c *copier) skip(e *entry, why string) error {
	c.summary.Skipped++
	c.note(e, why)
	return nil
}

// build makes e under the given name in the target directory of its level, where it is not there yet.
func (c *copier) build(e *entry, name string) error {
	over, err := c.laidOver(e)
	if err != nil {
		return err
	}
	if e.isDir() {
		return c.buildDir(e, name, over)
	}
	linked := e.stat.Nlink > 1 && e.at.depth > 0
	if linked {
		if done, err := c.linkAgain(e, name); done || err != nil {
			return err
		}
	}
	if err := c.make(e, name); err != nil {
		_ = unix.Unlinkat(e.at.to.fd, name, 0) // never half a file; what cannot be removed ends the copy anyway
		return err
	}
	c.count(e)
	if linked {
		c.remember(e, name)
	}
	return nil
}

func (c *copier) count(e *entry) {
	switch e.kind() {
	case unix.S_IFREG:
		c.summary.Files++
	case unix.S_IFDIR:
		c.summary.Directories++
	default:
		c.summary.Others++
	}
}

// buildDir makes a directory and all that is in it. One that will be laid over another is built on the mount where that lies, so that it can be renamed there.
func (c *copier) buildDir(e *entry, name string, over handle) error {
	to, s := e.at.to.fd, e.at.stage
	if over.fd >= 0 && (e.at.depth == 0 || !over.sameMount(s.dir)) {
		r, err := c.addRoot(e, over)
		if err != nil {
			over.close()
			return err
		}
		to, name, s = r.stage.dir.fd, treeName, r.stage
		pinned := e.at.pinned
		e.at.pinned = true
		defer func() { e.at.pinned = pinned }()
	}
	l, err := c.makeDir(e, to, name)
	if err != nil {
		over.close()
		return err
	}
	defer l.close()
	l.over, l.stage = over, s
	if err := c.contents(l); err != nil {
		return err
	}
	// Last of all its times, once everything is in it.
	if err := c.verdict(c.dirMetadata(e, l)); err != nil {
		return err
	}
	c.count(e)
	return l.leave()
}

func (c *copier) makeDir(e *entry, to int, name string) (*level, error) {
	if err := unix.Mkdirat(to, name, 0o700); err != nil {
		return nil, c.refused(e, "mkdir", err)
	}
	made, err := openDir(to, name, 0)
	if err != nil {
		return nil, c.refused(e, "open", err)
	}
	l, err := e.at.below(e, made)
	if err != nil {
		made.close()
		return nil, c.unreadable(e, "stat", err)
	}
	return l, nil
}

func (c *copier) dirMetadata(e *entry, l *level) error {
	c.flags(e, l.from.fd, l.to.fd)
	return c.metadata(e, l.from.fd, l.to.fd)
}
