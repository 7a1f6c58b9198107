package fingerprint

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
)

const rootInode = 256

// assembly puts the parts of a tree together to records.
type assembly struct {
	emit   func(*job) error
	wanted func(inode, index uint64) bool

	inode           uint64
	fresh           bool        // a file that the base has not
	attributes      *attributes // of the inode whose parts come; nil once they were emitted, or if there is none
	xattrs, content hash.Hash   // nil as long as there are none
	file            *attributes // the same, of a regular file

	next  uint64 // chunk that nothing was said of yet, by its index
	stale uint64 // chunk that holds the end of the file as it is or was, so that it is longer or shorter now; 0: none
	job   *job   // chunks to be read
}

func (a *assembly) part(p btrfs.Part) error {
	switch p.Kind {
	case btrfs.PartInode:
		if err := a.end(); err != nil {
			return err
		}
		a.begin(p)
	case btrfs.PartName:
		if a.inode != rootInode && a.attributes.dir == 0 {
			a.attributes.dir, a.attributes.name = p.Ref, string(p.Name)
		}
	case btrfs.PartXattr:
		// The properties of btrfs are inherited from where a backup is received, and so not what it holds.
		if !bytes.HasPrefix(p.Name, []byte("btrfs.")) {
			add(&a.xattrs, 0, p.Name, p.Value)
		}
	case btrfs.PartEntry:
		add(&a.content, p.Ref, p.Name)
	case btrfs.PartTarget:
		add(&a.content, 0, p.Value)
	case btrfs.PartData:
		return a.chunks(isChunk, p.Start/chunkSize+1, chunksOf(p.End))
	case btrfs.PartHole:
		return a.hole(p.Start, p.End)
	}
	return nil
}

// add hashes a number and strings. They are hashed in the order of the tree, which is that of names' hashes or of the entries' making: it stays the same in the same subvolume and its snapshots.
func add(h *hash.Hash, number uint64, strings ...[]byte) {
	if *h == nil {
		*h = sha256.New()
	}
	b := binary.LittleEndian.AppendUint64(nil, number)
	for _, s := range strings {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
	}
	(*h).Write(b)
}

func sumUp(h hash.Hash) (s sum) {
	if h != nil {
		copy(s[:], h.Sum(nil))
	}
	return s
}

func (a *assembly) begin(p btrfs.Part) {
	i := p.Inode
	at := &attributes{mode: i.Mode, uid: i.UID, gid: i.GID, links: i.Links, sec: i.Mtime.Sec, nsec: uint32(i.Mtime.Nsec)}
	*a = assembly{emit: a.emit, wanted: a.wanted, inode: i.Number, fresh: p.New, attributes: at, next: 1}
	switch i.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		a.file, at.size = at, i.Size
		if end := min(i.Size, p.OldSize); i.Size != p.OldSize && end%chunkSize != 0 {
			a.stale = chunksOf(end)
		}
	case unix.S_IFLNK:
		at.size = i.Size
	case unix.S_IFCHR, unix.S_IFBLK:
		at.rdev = i.Rdev
	}
	if i.Number == rootInode { // it is that of the receiving, when new files passed through it under temporary names
		at.sec, at.nsec = 0, 0
	}
}

// attributesDone emits what comes before chunks.
func (a *assembly) attributesDone() error {
	at := a.attributes
	if at == nil {
		return nil
	}
	at.xattrs, at.content = sumUp(a.xattrs), sumUp(a.content)
	a.attributes = nil
	return a.emit(&job{result: result{record: record{inode: a.inode, kind: isInode, attributes: at, fresh: a.fresh}}})
}

// hole takes a range that has no data any more. Chunks that it has only a part of are read.
func (a *assembly) hole(start, end uint64) error {
	first, last := chunksOf(start)+1, end/chunkSize
	if end == a.file.size {
		last = chunksOf(end)
	}
	if first > last+1 { // it lies within a chunk
		return a.chunks(isChunk, last+1, last+1)
	}
	if err := a.chunks(isChunk, start/chunkSize+1, first-1); err != nil {
		return err
	}
	if err := a.chunks(isZeros, first, last); err != nil {
		return err
	}
	return a.chunks(isChunk, last+1, chunksOf(end))
}

// chunks takes the chunks from the first to the last, if any, that are to be read, or have no data any more. What was said of one before stays.
func (a *assembly) chunks(k kind, first, last uint64) error {
	if stale := a.stale; stale != 0 && stale <= last {
		a.stale = 0
		if stale < first {
			if err := a.chunks(isChunk, stale, stale); err != nil {
				return err
			}
		}
	}
	first = max(first, a.next)
	if first > last {
		return nil
	}
	a.next = last + 1
	if err := a.attributesDone(); err != nil {
		return err
	}
	if k == isZeros {
		return a.run(isZeros, first, last)
	}
	for index := first; index <= last; index++ {
		read := a.wanted == nil || a.wanted(a.inode, index)
		if err := a.chunk(index, read); err != nil {
			return err
		}
	}
	return nil
}

// run emits one record of several chunks.
func (a *assembly) run(k kind, first, last uint64) error {
	if err := a.flush(); err != nil {
		return err
	}
	return a.emit(&job{result: result{record: record{inode: a.inode, index: first, kind: k, count: last - first + 1}}})
}

// chunk puts chunks together that are neighbours.
func (a *assembly) chunk(index uint64, read bool) error {
	k := isUnread
	if read {
		k = isChunk
	}
	if j := a.job; j != nil && (j.kind != k || j.last()+1 != index || read && j.count == jobChunks) {
		if err := a.flush(); err != nil {
			return err
		}
	}
	if a.job == nil {
		a.job = &job{attributes: a.file, result: result{record: record{inode: a.inode, index: index, kind: k}}}
		if read {
			a.job.done = make(chan struct{})
		}
	}
	a.job.count++
	return nil
}

func (a *assembly) flush() error {
	j := a.job
	a.job = nil
	if j == nil {
		return nil
	}
	return a.emit(j)
}

// end emits what is left of an inode.
func (a *assembly) end() error {
	if a.attributes == nil && a.file == nil {
		return nil
	}
	if err := a.attributesDone(); err != nil {
		return err
	}
	if a.file != nil && a.stale != 0 && a.stale <= a.file.chunks() {
		if err := a.chunks(isChunk, a.stale, a.stale); err != nil {
			return err
		}
	}
	return a.flush()
}
