package content

import (
	"time"

	"golang.org/x/sys/unix"
)

// cold reports, of each side of a file, that nothing of it is in the page cache. Then what is read of it is dropped again: who verifies terabytes must not push out what
// others work with. Before Linux 6.5 nobody knows, and it stays.
func cold(fd [2]int) (is [2]bool) {
	for side := range fd {
		var stat unix.Cachestat_t
		err := unix.Cachestat(uint(fd[side]), &unix.CachestatRange{}, &stat, 0)
		is[side] = err == nil && stat.Cache == 0
	}
	return is
}

// drop drops a range of the sides that were cold; length 0: all of it.
func drop(fd [2]int, cold [2]bool, from, length int64) {
	for side := range fd {
		if cold[side] {
			_ = unix.Fadvise(fd[side], from, length, unix.FADV_DONTNEED)
		}
	}
}

// patience is for how long what the kernel is still reading is waited for, about: somebody else may read the file, too.
const patience = time.Second

// dropAll drops all of the sides that were cold, with what the kernel reads ahead: for one worker, it may be reading what another has compared and dropped, and it keeps
// what it is reading.
func dropAll(fd [2]int, was [2]bool) {
	for pause := time.Millisecond; pause < patience; pause *= 2 {
		drop(fd, was, 0, 0)
		if is := cold(fd); (is[want] || !was[want]) && (is[have] || !was[have]) {
			return
		}
		time.Sleep(pause)
	}
}

// begin has both sides of a range read at the same time. The kernel, once it is told, goes on so by itself.
func begin(fd [2]int, from, to int64) {
	for side := range fd {
		_ = unix.Fadvise(fd[side], 0, 0, unix.FADV_SEQUENTIAL)
		_ = unix.Fadvise(fd[side], from, min(to-from, batchBytes), unix.FADV_WILLNEED)
	}
}
