package btrfs

import (
	"context"
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/osthread"
)

// readAhead brings the data that a send is about to read into the page cache.
//
// A send reads file after file, extent after extent, and waits for the disk each time: small ones come at the pace of one request after the other. Asked for
// beforehand, in the order in which the kernel goes through them, they come as fast as a disk with many requests can give them.
//
// It does not outrun the stream by more than a given number of bytes, and takes out of the cache again what the stream has passed. The kernel
// does that by itself with what a send reads, but only for files that had nothing in the cache. A file that has is in use: it is left alone here as well.
//
// Compressed data that is sent as it is goes around the page cache: there is nothing to be gained for it.
//
// Whatever goes wrong here makes the send slower, and does not make it fail.
type readAhead struct {
	subvolume  int // open
	id         uint64
	since      uint64 // only extents of later transactions are sent
	compressed bool   // as they are
	ctx        context.Context
	stop       context.CancelFunc
	done       chan struct{}

	inode uint64 // of the regular file that the walk is at; 0 if the inode is none, or is left alone
	next  piece  // is being put together of neighbouring extents
	queue queue
	sent  recentExtents
}

// maxPiece is the most that is asked for at once.
const maxPiece = 1 << 20

// Offsets in items, beside those in layout.go.
const (
	inodeItemMode = 52
	extentOffset  = 37
)

// startReadAhead begins to read ahead for a send of the open subvolume, until everything was passed, close, or the end of ctx. It gives nil if it cannot.
func (s Send) startReadAhead(ctx context.Context, subvolume int, id uint64) *readAhead {
	fd, err := unix.FcntlInt(uintptr(subvolume), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	r := &readAhead{subvolume: fd, id: id, compressed: s.Compressed, done: make(chan struct{})}
	r.ctx, r.stop = context.WithCancel(ctx)
	r.queue = queue{subvolume: fd, id: id, limit: s.ReadAhead, place: newPlace(fd, s.Parent == 0)}
	osthread.Run(func() (changed bool) {
		defer close(r.done)
		defer unix.Close(fd)
		changed = osthread.SetIOPriority(s.IOPriority)
		var ok bool
		if r.since, ok = s.builtOn(fd); ok && r.walk() {
			for len(r.queue.pieces) > 0 && r.wait() {
			}
		}
		r.queue.end()
		return changed
	})
	return r
}

// close ends it, whatever the stream has passed, and waits for that. It may be called more than once, and for none.
func (r *readAhead) close() {
	if r != nil {
		r.stop()
		<-r.done
	}
}

// abandon ends it without waiting.
func (r *readAhead) abandon() {
	if r != nil {
		r.stop()
	}
}

// passed is told each part of the stream.
func (r *readAhead) passed(p []byte) {
	if r != nil {
		r.queue.place.passed(p)
	}
}

// builtOn gives the last transaction that wrote into one of the subvolumes that the send builds on; 0 if it builds on none. What is not later may be in them
// and so not be sent: it is not read.
func (s Send) builtOn(fd int) (since uint64, ok bool) {
	for _, id := range append([]uint64{s.Parent}, s.CloneSources...) {
		if id == 0 {
			continue
		}
		for it, err := range search(fd, rootTreeKey(id, id)) {
			if err != nil {
				return 0, false
			}
			if it.typ == rootItemKey {
				root, _ := decodeRootItem(it.data)
				since = max(since, root.Otransid, root.Ctransid) // one that was received was written into after it was made
			}
		}
	}
	return since, true
}

// walk goes through the tree as the kernel does, inode by inode. False means that it did not come to the end.
func (r *readAhead) walk() bool {
	key := searchKey{
		treeID:      r.id,
		minObjectID: rootDirInode, minType: inodeItemKey,
		maxObjectID: lastFreeObjectID, maxType: extentDataKey, maxOffset: math.MaxUint64,
		minTransid: r.since + 1, maxTransid: math.MaxUint64,
	}
	for it, err := range search(r.subvolume, key) {
		if err != nil {
			break
		}
		ok := true
		switch it.typ {
		case inodeItemKey:
			ok = r.flush()
			r.queue.leave()
			r.inode = r.wanted(it)
		case extentDataKey:
			if it.objectID == r.inode {
				ok = r.extent(it)
			}
		}
		if !ok || r.ctx.Err() != nil {
			return false
		}
	}
	ok := r.flush()
	r.queue.leave()
	return ok
}

// wanted gives the number of an inode whose extents are looked at: of regular files only, since opening a device acts on it.
func (r *readAhead) wanted(it item) uint64 {
	if len(it.data) < inodeItemMode+4 {
		return 0
	}
	mode := binary.LittleEndian.Uint32(it.data[inodeItemMode:])
	if mode&unix.S_IFMT != unix.S_IFREG {
		return 0
	}
	return it.objectID
}

// extent adds one to the next piece, if the kernel is going to read it through the page cache.
func (r *readAhead) extent(it item) bool {
	le := binary.LittleEndian
	d := it.data
	if len(d) < extentSize || d[extentType] != extentRegular || le.Uint64(d[extentGeneration:]) <= r.since {
		return true
	}
	disk, length := le.Uint64(d[extentDiskBytenr:]), le.Uint64(d[extentNumBytes:])
	asItIs := r.compressed && d[extentCompression] != 0 && le.Uint64(d[extentDiskNumBytes:]) <= length
	if disk == 0 || asItIs || r.sent.has(disk+le.Uint64(d[extentOffset:])) {
		return true // a hole; read around the page cache, without ours; or is cloned
	}
	start := int64(it.offset)
	end := start + int64(length)
	most := max(min(maxPiece, r.queue.limit/4), 4<<10)
	for start < end {
		if r.next.inode != r.inode || r.next.end != start || r.next.len() >= most {
			if !r.flush() {
				return false
			}
			r.next = piece{inode: r.inode, start: start, end: start}
		}
		n := min(end-start, most-r.next.len())
		r.next.end += n
		start += n
	}
	return true
}

// flush has the next piece read once there is room for it. False means that nothing more is to be read.
func (r *readAhead) flush() bool {
	p := r.next
	r.next = piece{}
	if p.len() == 0 {
		return true
	}
	for !r.queue.room(p) {
		if !r.wait() {
			return false
		}
	}
	return r.queue.add(p)
}

// wait waits until the stream has moved on, and has what it has passed dropped. False means that it was stopped.
func (r *readAhead) wait() bool {
	select {
	case <-r.ctx.Done():
		return false
	case <-r.queue.place.moved:
		r.queue.look()
		return true
	}
}

// recentExtents remembers some places on the disk. The second time that a send meets an extent, it tells to clone it.
type recentExtents [1 << 12]uint64

func (e *recentExtents) has(place uint64) bool {
	slot := &e[place>>12%uint64(len(e))]
	if *slot == place {
		return true
	}
	*slot = place
	return false
}
