package content

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// large is a file that is compared in pieces, by several workers.
type large struct {
	dir     *dir
	name    string
	fd      [2]int // the walk's
	cold    [2]bool
	sparse  bool // on one side at least
	users   atomic.Int32
	differs atomic.Bool // which is told once
}

func (l *large) release() {
	if l.users.Add(-1) == 0 {
		dropAll(l.fd, l.cold)
		for _, fd := range l.fd {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
		l.dir.release()
	}
}

// pieces gives the data of a large file to the workers, from the cursor on if that is in it.
func (w *walker) pieces(v visit, st *unix.Stat_t) error {
	v.dir.use()
	l := &large{dir: v.dir, name: v.name, fd: [2]int{-1, -1}}
	l.users.Add(1)
	defer l.release()
	for side := range l.fd {
		fd, err := openAt(v.dir.fd[side], v.name, 0)
		if err != nil {
			w.trouble(v.dir, v.name, side, "open", err)
			return nil
		}
		l.fd[side] = fd
	}
	var other unix.Stat_t
	if err := unix.Fstat(l.fd[have], &other); err != nil {
		w.trouble(v.dir, v.name, have, "stat", err)
		return nil
	}
	if other.Size != st.Size { // told with the facts
		w.reached(v.dir, v.name, 0)
		return nil
	}
	l.cold, l.sparse = cold(l.fd), sparse(st) || sparse(&other)
	at := int64(0)
	if v.done {
		at = w.o.After.Offset
	} else {
		w.files.Add(1)
	}
	for first := true; at < st.Size; first = false {
		if l.sparse {
			var err error
			var side int
			if at, side, err = nextData(l.fd, at, st.Size); err != nil {
				w.trouble(v.dir, v.name, side, "seek", err)
				return nil
			}
			if at >= st.Size {
				break
			}
		}
		if !first && w.ctx.Err() != nil { // the first piece goes with the facts: without it, nothing of the file counts as done
			return errCut
		}
		to := min(at+piece, st.Size)
		l.users.Add(1)
		w.tasks <- task{large: l, from: at, to: to}
		at = to
		w.reached(v.dir, v.name, at)
	}
	w.reached(v.dir, v.name, 0)
	return nil
}

// sparse reports that a file has fewer bytes than its size tells.
func sparse(st *unix.Stat_t) bool { return st.Blocks*512 < st.Size }

// nextData is where data begins on either side, at the offset or behind it; end if there is none. The side is that of the error.
func nextData(fd [2]int, offset, end int64) (at int64, side int, err error) {
	at = end
	for side, fd := range fd {
		data, err := unix.Seek(fd, offset, unix.SEEK_DATA)
		if err == unix.ENXIO { // only a hole is left
			continue
		}
		if err != nil {
			return 0, side, err
		}
		at = min(at, data)
	}
	return at, 0, nil
}
