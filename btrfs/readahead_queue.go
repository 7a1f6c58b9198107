package btrfs

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// piece is a range of a file.
type piece struct {
	inode      uint64
	start, end int64
	file       *aheadFile
}

func (p piece) len() int64 { return p.end - p.start }

// behind reports whether a stream that is at the position has all of p behind it.
func (p piece) behind(at position) bool {
	return p.inode < at.inode || p.inode == at.inode && p.end <= at.offset
}

// aheadFile is an open file of which something was read ahead.
type aheadFile struct {
	fd    int
	users int       // pieces in the queue, and the walk
	until time.Time // when it is given up
}

// queue is what was brought into the page cache and not yet passed by the stream, in the stream's order.
type queue struct {
	subvolume int // open
	id        uint64
	limit     int64 // bytes
	place     *place

	pieces  []piece
	bytes   int64
	files   int          // open
	file    *aheadFile   // that the walk is at
	ignored uint64       // inode that is left alone
	left    []*aheadFile // of which something was still in the cache when it was dropped
	unasked int          // pieces since the stream was asked where it is
	at      position     // where it was
	skip    int64        // bytes to leave out
}

const (
	// maxFiles bounds the open files, and so the requests that wait for the disk: a disk has no more use for them.
	maxFiles = 256
	// askEvery is after how many pieces the stream is asked where it is, which may take the search for a path.
	askEvery = 16
	// overtaken is by how much to go on behind a stream that is farther than the walk: the kernel is farther still, by what is in the pipe.
	overtaken = 2 * pipeBytes
	// patience is how long what cannot be dropped is tried: the disk may still be reading it.
	patience = 500 * time.Millisecond
)

// room reports whether a piece may be added.
func (q *queue) room(p piece) bool {
	return len(q.pieces) == 0 || q.bytes+p.len() <= q.limit && q.files < maxFiles
}

// add has a piece read, unless its file is in use or the stream is already there. False means that this machine does not let files be read ahead.
func (q *queue) add(p piece) bool {
	if q.unasked++; q.unasked >= askEvery {
		q.look()
	}
	if p.inode < q.at.inode || p.inode == q.at.inode && p.start < q.at.offset {
		q.skip = overtaken
	}
	late := q.skip > 0
	q.skip = max(0, q.skip-p.len())
	if q.file == nil {
		if late || p.inode == q.ignored {
			return true
		}
		fd, err := openFileByID(q.subvolume, q.id, p.inode)
		if err == nil && anyCached(fd) {
			unix.Close(fd)
			err = unix.EBUSY
		}
		if err != nil {
			q.ignored = p.inode
			return err != unix.EPERM && err != unix.EOPNOTSUPP
		}
		q.file = &aheadFile{fd: fd, users: 1}
		q.files++
	}
	p.file = q.file
	p.file.users++
	if !late { // else the kernel reads it, and leaves it there, since the file has something of ours
		_ = unix.Fadvise(p.file.fd, p.start, p.len(), unix.FADV_WILLNEED)
	}
	q.pieces = append(q.pieces, p)
	q.bytes += p.len()
	return true
}

// leave ends the walk's use of its file.
func (q *queue) leave() {
	if q.file != nil {
		q.release(q.file)
		q.file = nil
	}
}

// look asks where the stream is, and drops what it has passed.
func (q *queue) look() {
	q.at, q.unasked = q.place.position(), 0
	n := 0
	for n < len(q.pieces) && q.pieces[n].behind(q.at) {
		q.drop(q.pieces[n])
		n++
	}
	q.pieces = slices.Delete(q.pieces, 0, n)
	q.dropLeft()
}

func (q *queue) drop(p piece) {
	q.bytes -= p.len()
	if p.file.users > 1 {
		_ = unix.Fadvise(p.file.fd, p.start, p.len(), unix.FADV_DONTNEED)
	}
	q.release(p.file)
}

// release drops all of a file that has no user left: also what the kernel has read of it, which it leaves there when it finds something of ours.
func (q *queue) release(f *aheadFile) {
	if f.users--; f.users == 0 {
		f.until = time.Now().Add(patience)
		q.left = append(q.left, f)
	}
}

func (q *queue) dropLeft() {
	q.left = slices.DeleteFunc(q.left, func(f *aheadFile) bool {
		_ = unix.Fadvise(f.fd, 0, 0, unix.FADV_DONTNEED)
		if anyCached(f.fd) && time.Now().Before(f.until) {
			return false
		}
		unix.Close(f.fd)
		q.files--
		return true
	})
}

// end drops everything.
func (q *queue) end() {
	q.leave()
	for _, p := range q.pieces {
		q.drop(p)
	}
	q.pieces = nil
	for q.dropLeft(); len(q.left) > 0; q.dropLeft() {
		time.Sleep(patience / 50)
	}
}
