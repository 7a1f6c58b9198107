package content

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// piece is how much of a large file is one worker's task: as long as that takes, a comparison cannot be cut.
	piece = 8 << 20
	// A task of small files is of so many at most, and of so many bytes.
	batchFiles = 32
	batchBytes = 1 << 20

	dirBuffer = 64 << 10
)

// errCut ends the walk.
var errCut = errors.New("cut")

// walker goes through both trees by name, each directory before what is in it, compares directories itself and gives files to the workers. What it has given away will be done:
// so the place it has come to is where the next comparison goes on.
type walker struct {
	*comparison
	links  links
	device [2]uint64
	batch  task
	bytes  int64 // in batch, at most
	given  bool  // something; so the comparison has got further
	last   struct {
		dir    *dir
		name   string
		offset int64
	}
	buffer [dirBuffer]byte
}

// walk walks until it is cut or through.
func (w *walker) walk() (complete bool) {
	top := &dir{hash: hashStart, fd: [2]int{-1, -1}}
	top.use()
	defer top.release()
	for side, path := range w.roots {
		fd, err := openAt(unix.AT_FDCWD, path, unix.O_DIRECTORY)
		if err != nil {
			w.fail(fmt.Errorf("open %s: %w", path, err))
			return false
		}
		top.fd[side] = fd
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			w.fail(fmt.Errorf("stat %s: %w", path, err))
			return false
		}
		w.device[side] = st.Dev
	}
	var after []string
	if at := w.o.After.Path; at != "" && at != root {
		after = strings.Split(at, "/")
	}
	if w.o.After.Path == "" {
		w.entries.Add(1)
		w.dirFacts(top)
		w.reached(top, "", 0)
	}
	err := w.inside(top, after)
	w.flush()
	if w.last.dir != nil {
		w.after = Cursor{w.last.dir.path(w.last.name), w.last.offset}
	}
	return err == nil && !w.failed()
}

// inside compares what is in d, from after on: the rest of the cursor's path, if it leads through d.
func (w *walker) inside(d *dir, after []string) error {
	var in [2]listing
	for side := range in {
		var err error
		if in[side], err = list(d.fd[side], w.buffer[:]); err != nil {
			w.trouble(d, "", side, "readdir", err)
			return nil
		}
	}
	for a, b := 0, 0; a < in[want].len() || b < in[have].len(); {
		var name []byte
		var is found
		if a < in[want].len() {
			name, is[want] = in[want].name(in[want].entries[a]), in[want].entries[a].typ
		}
		if b < in[have].len() {
			other := in[have].name(in[have].entries[b])
			switch order := bytes.Compare(other, name); {
			case is[want] == 0 || order < 0:
				name, is = other, found{have: in[have].entries[b].typ}
			case order == 0:
				is[have] = in[have].entries[b].typ
			}
		}
		if is[want] != 0 {
			a++
		}
		if is[have] != 0 {
			b++
		}
		e := visit{dir: d, name: string(name), is: is}
		if len(after) > 0 {
			order := strings.Compare(e.name, after[0])
			if order < 0 {
				continue
			}
			if order == 0 {
				e.done, e.after = true, after[1:]
			}
			after = nil
		}
		if err := w.visit(e); err != nil {
			return err
		}
	}
	return nil
}

// found is what type of entry the sides have under a name; 0 is none.
type found [2]uint8

// visit is a name that one side or both have in a directory.
type visit struct {
	dir   *dir
	name  string
	is    found
	done  bool     // compared before the cut, but perhaps not what is in it
	after []string // the rest of the cursor's path
}

func (w *walker) visit(v visit) error {
	if w.given && w.ctx.Err() != nil {
		return errCut
	}
	for side, typ := range v.is {
		if typ != unix.DT_DIR {
			continue
		}
		// Another subvolume, or the stub with inode 2 that a snapshot has in its place: neither is part of a snapshot.
		st, err := statAt(v.dir.fd[side], v.name)
		if err != nil {
			w.trouble(v.dir, v.name, side, "stat", err)
			return nil
		}
		if st.Ino == 2 || st.Dev != w.device[side] {
			v.is[side] = 0
		}
	}
	switch {
	case v.is == found{}:
		return nil
	case v.is[want] == unix.DT_DIR && v.is[have] == unix.DT_DIR:
		return w.subdir(v)
	case v.done && w.o.After.Offset == 0:
		return nil
	case v.is[want] != v.is[have]:
		w.entries.Add(1)
		w.unlike(v)
		w.reached(v.dir, v.name, 0)
		return nil
	case v.is[want] == unix.DT_REG:
		return w.file(v)
	}
	w.add(v.dir, item{name: v.name, typ: v.is[want]}, 0)
	return nil
}

func (w *walker) unlike(v visit) {
	switch {
	case v.is[have] == 0:
		w.differ(v.dir, v.name, "is missing")
	case v.is[want] == 0:
		w.differ(v.dir, v.name, "should not be there")
	default:
		w.differ(v.dir, v.name, "is a %s instead of a %s", typeName(v.is[have]), typeName(v.is[want]))
	}
}

func (w *walker) subdir(v visit) error {
	d := &dir{up: v.dir, name: v.name, hash: hash(v.dir.hash, v.name)}
	for side := range d.fd {
		fd, err := openAt(v.dir.fd[side], v.name, unix.O_DIRECTORY)
		if err != nil {
			if side == have {
				unix.Close(d.fd[want])
			}
			w.trouble(v.dir, v.name, side, "open", err)
			return nil
		}
		d.fd[side] = fd
	}
	d.use()
	defer d.release()
	if !v.done {
		w.entries.Add(1)
		w.dirFacts(d)
		w.reached(d, "", 0)
	}
	return w.inside(d, v.after)
}

// file gives a regular file to the workers: with others if it is small, else in pieces.
func (w *walker) file(v visit) error {
	i := item{name: v.name, typ: unix.DT_REG, data: w.chosen(v.dir, v.name)}
	var err error
	if i.stat, err = statAt(v.dir.fd[want], v.name); err != nil {
		w.trouble(v.dir, v.name, want, "stat", err)
		return nil
	}
	if i.stat.Nlink > 1 {
		other, err := statAt(v.dir.fd[have], v.name)
		if err != nil {
			w.trouble(v.dir, v.name, have, "stat", err)
			return nil
		}
		if w.seen(v, &i.stat, &other) {
			w.entries.Add(1)
			w.reached(v.dir, v.name, 0)
			return nil
		}
	}
	if !i.data || i.stat.Size <= piece {
		w.add(v.dir, i, min(i.stat.Size, batchBytes))
		return nil
	}
	if !v.done {
		facts := i
		facts.data = false
		w.add(v.dir, facts, 0)
	}
	w.flush()
	return w.pieces(v, &i.stat)
}

// add puts an entry into the batch.
func (w *walker) add(d *dir, i item, size int64) {
	if w.batch.dir != d || len(w.batch.items) == batchFiles || w.bytes >= batchBytes {
		w.flush()
		d.use() // until the worker is done with it
		w.batch = task{dir: d, items: make([]item, 0, batchFiles)}
	}
	w.batch.items = append(w.batch.items, i)
	w.bytes += size
	w.reached(d, i.name, 0)
}

// flush gives the batch to the workers.
func (w *walker) flush() {
	if len(w.batch.items) > 0 {
		w.tasks <- w.batch
	}
	w.batch, w.bytes = task{}, 0
}

// reached notes how far the walk has come.
func (w *walker) reached(d *dir, name string, offset int64) {
	w.given = true
	w.last.dir, w.last.name, w.last.offset = d, name, offset
}
