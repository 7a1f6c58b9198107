package content

import (
	"bytes"
	"io"

	"golang.org/x/sys/unix"
)

// task is what one worker does at once: some names in a directory, or a piece of a large file.
type task struct {
	dir   *dir
	items []item

	large    *large
	from, to int64
}

// item is a name that both sides have, of one type.
type item struct {
	name string
	typ  uint8
	data bool        // to be compared, too
	stat unix.Stat_t // of a regular file, on the first side
}

// chunk is how much is read at once: both sides' fit into a processor's cache.
const chunk = 128 << 10

type worker struct {
	*comparison
	buffer [2][chunk]byte
}

func (w *worker) work() {
	for t := range w.tasks {
		if t.large != nil {
			if !w.failed() && !t.large.differs.Load() {
				w.piece(t)
			}
			t.large.release()
			continue
		}
		for i := range t.items {
			if w.failed() {
				break
			}
			w.item(t.dir, &t.items[i])
		}
		t.dir.release()
	}
}

func (w *worker) item(d *dir, i *item) {
	w.entries.Add(1)
	if i.typ != unix.DT_REG {
		w.special(d, i.name)
		return
	}
	var fd [2]int
	for side := range fd {
		var err error
		if fd[side], err = openAt(d.fd[side], i.name, 0); err != nil {
			w.trouble(d, i.name, side, "open", err)
			return
		}
		defer unix.Close(fd[side])
	}
	var other unix.Stat_t
	if err := unix.Fstat(fd[have], &other); err != nil {
		w.trouble(d, i.name, have, "stat", err)
		return
	}
	w.compareStat(d, i.name, &i.stat, &other)
	w.compareXattrs(d, i.name, open(fd))
	if !i.data || i.stat.Size != other.Size {
		return
	}
	w.files.Add(1)
	if i.stat.Size > batchBytes {
		dropped := cold(fd)
		begin(fd, 0, i.stat.Size)
		defer dropAll(fd, dropped)
	}
	w.data(d, i.name, fd, 0, i.stat.Size, sparse(&i.stat) || sparse(&other))
}

// piece opens the file for itself, since the kernel reads ahead by open file.
func (w *worker) piece(t task) {
	l := t.large
	var fd [2]int
	for side := range fd {
		var err error
		if fd[side], err = openAt(l.dir.fd[side], l.name, 0); err != nil {
			w.trouble(l.dir, l.name, side, "open", err)
			return
		}
		defer unix.Close(fd[side])
	}
	begin(fd, t.from, t.to)
	if w.data(l.dir, l.name, fd, t.from, t.to, l.sparse) {
		l.differs.Store(true)
	}
	drop(fd, l.cold, t.from, t.to-t.from)
}

// data compares a range of two files of one size. It reports the first byte that differs, if none was in the file before.
func (w *worker) data(d *dir, name string, fd [2]int, from, to int64, sparse bool) (differs bool) {
	for at := from; at < to; {
		if sparse {
			var err error
			var side int
			if at, side, err = nextData(fd, at, to); err != nil {
				w.trouble(d, name, side, "seek", err)
				return true
			}
		}
		n := min(to-at, chunk)
		for side := range fd {
			if err := readFull(fd[side], w.buffer[side][:n], at); err != nil {
				w.trouble(d, name, side, "read", err)
				return true
			}
		}
		a, b := w.buffer[want][:n], w.buffer[have][:n]
		if !bytes.Equal(a, b) {
			i := 0
			for a[i] == b[i] {
				i++
			}
			w.differ(d, name, "content differs from byte %d on", at+int64(i))
			return true
		}
		at += n
		w.bytes.Add(n)
	}
	if w.o.Progress != nil && to > from {
		w.o.Progress(w.bytes.Load())
	}
	return false
}

func readFull(fd int, b []byte, offset int64) error {
	for len(b) > 0 {
		n, err := unix.Pread(fd, b, offset)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		}
		b, offset = b[n:], offset+int64(n)
	}
	return nil
}
