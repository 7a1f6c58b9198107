package copytree

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Incomplete is the error of a copy that lacks some files, because they cannot be read or the target cannot hold them.
type Incomplete struct {
	Count  int     // files left out, or directories that could not be read to their end
	Errors []error // of the first hundred, each with its path
}

const (
	maxErrors = 100 // kept
	maxShown  = 10  // in one message
)

func (e *Incomplete) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d left out", e.Count)
	for i, err := range e.Errors {
		if i == maxShown {
			break
		}
		fmt.Fprintf(&b, "; %v", err)
	}
	if e.Count > maxShown {
		fmt.Fprintf(&b, "; and %d more", e.Count-maxShown)
	}
	return b.String()
}

func (e *Incomplete) Unwrap() []error { return e.Errors }

// leftOut is the error of one file, which does not keep the others from being copied.
type leftOut struct{ error }

func (e leftOut) Unwrap() error { return e.error }

// verdict records an error that concerns one file, and returns any other.
func (c *copier) verdict(err error) error {
	var one leftOut
	if !errors.As(err, &one) {
		return err
	}
	c.left.Count++
	if len(c.left.Errors) < maxErrors {
		c.left.Errors = append(c.left.Errors, one.error)
	}
	return nil
}

// unreadable is the error of a file that the source does not give.
func (c *copier) unreadable(e *entry, op string, err error) error {
	failed := &fs.PathError{Op: op, Path: c.sourcePath(e), Err: err}
	switch err {
	case unix.EMFILE, unix.ENFILE, unix.ENOMEM: // the fault of this machine, and the next file would fare no better
		return failed
	}
	return leftOut{failed}
}

// refused is the error of a file that the target does not take, or of a target that is full or broken.
func (c *copier) refused(e *entry, op string, err error) error {
	failed := &fs.PathError{Op: op, Path: c.targetPath(e), Err: err}
	switch err {
	case unix.EPERM, unix.EINVAL, unix.EOPNOTSUPP, unix.ENOSYS, unix.ENAMETOOLONG, unix.EILSEQ, unix.EFBIG: // such as a device or a file of 5 GiB on FAT
		return leftOut{failed}
	}
	return failed
}

func (c *copier) sourcePath(e *entry) string { return show(c.source + within(e)) }

func (c *copier) targetPath(e *entry) string { return show(c.target + within(e)) }

// within gives the path of e in what is copied.
func within(e *entry) string {
	var names []string
	l, name := e.at, e.name
	for ; l.depth > 0; l = l.up {
		names = append(names, name)
		name = l.name
	}
	if len(names) == 0 {
		return l.within
	}
	slices.Reverse(names)
	return l.within + "/" + strings.Join(names, "/")
}

// show quotes a path that would do something to a terminal.
func show(path string) string {
	if quoted := strconv.Quote(path); quoted[1:len(quoted)-1] != path {
		return quoted
	}
	return path
}

// notes are those of a copy, by what they say.
type notes struct {
	order []string
	met   map[string]*tally
}

type tally struct {
	count int
	first string
}

func (c *copier) note(e *entry, what string) {
	n := &c.notes
	if t, ok := n.met[what]; ok {
		t.count++
		return
	}
	if n.met == nil {
		n.met = map[string]*tally{}
	}
	n.met[what] = &tally{1, c.targetPath(e)}
	n.order = append(n.order, what)
}

func (n *notes) texts() []string {
	var out []string
	for _, what := range n.order {
		t := n.met[what]
		text := what + ": " + t.first
		if t.count > 1 {
			text += fmt.Sprintf(" and %d more", t.count-1)
		}
		out = append(out, text)
	}
	return out
}
