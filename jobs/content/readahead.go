package content

import "golang.org/x/sys/unix"

// readAhead has a range of both sides read at the same time, a little ahead of the comparison, and drops it again from the page cache where nothing of it was in there before: who
// verifies terabytes must not push out what others work with. The kernel's own reading ahead would go beyond the range, and nobody could tell then what was there before. The zero value does
// nothing.
type readAhead struct {
	fd       [2]int
	from, to int64
	asked    int64 // up to here
	cold     [2]bool
}

// aheadBytes is how far ahead is read at most, in two steps. The kernel does not read more at once than its own window, 4 MiB with btrfs.
const aheadBytes = 2 << 20

func newReadAhead(fd [2]int, from, to int64) readAhead {
	r := readAhead{fd: fd, from: from, to: to, asked: from}
	for side := range fd {
		var stat unix.Cachestat_t
		err := unix.Cachestat(uint(fd[side]), &unix.CachestatRange{Off: uint64(from), Len: uint64(to - from)}, &stat, 0)
		r.cold[side] = err == nil && stat.Cache == 0 // before Linux 6.5 nobody knows, and what is there stays
		_ = unix.Fadvise(fd[side], from, to-from, unix.FADV_RANDOM)
	}
	return r
}

// reached asks for what comes next, once the comparison is at an offset.
func (r *readAhead) reached(at int64) {
	for r.asked = max(r.asked, at); r.asked < r.to && at > r.asked-aheadBytes/2; {
		n := min(r.to-r.asked, aheadBytes/2)
		for side := range r.fd {
			_ = unix.Fadvise(r.fd[side], r.asked, n, unix.FADV_WILLNEED)
		}
		r.asked += n
	}
}

func (r *readAhead) drop() {
	for side := range r.fd {
		if r.cold[side] {
			_ = unix.Fadvise(r.fd[side], r.from, r.to-r.from, unix.FADV_DONTNEED)
		}
	}
}
