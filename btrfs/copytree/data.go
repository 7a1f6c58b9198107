package copytree

import (
	"io"

	"golang.org/x/sys/unix"
)

const (
	cloneBytes = 1 << 30  // shared by one call, which cannot be interrupted
	flushBytes = 16 << 20 // written before the disk is told to begin: else all waits for the sync at the end, and the disk for that
)

// data copies what a regular file holds, holes left out, and tells how much of it shares its blocks with the source.
func (c *copier) data(e *entry, to int) (shared int64, err error) {
	if shared, err = c.clone(e, to); err != nil || shared >= e.stat.Size {
		return shared, err
	}
	if err := c.write(e, to, shared); err != nil {
		return 0, err
	}
	// The file may end in a hole.
	if err := unix.Ftruncate(to, e.stat.Size); err != nil {
		return 0, c.refused(e, "truncate", err)
	}
	return shared, nil
}

// clone shares blocks as far as it can, and tells how far: FICLONERANGE. Whatever keeps it from that, another file system or a broken disk, is left to [copier.write] to
// find out.
func (c *copier) clone(e *entry, to int) (at int64, err error) {
	for at < e.stat.Size {
		if err := c.ctx.Err(); err != nil {
			return at, err
		}
		r := unix.FileCloneRange{Src_fd: int64(e.fd), Src_offset: uint64(at), Dest_offset: uint64(at), Src_length: cloneBytes}
		n := e.stat.Size - at
		if n <= cloneBytes {
			r.Src_length = 0 // to the end
		} else {
			n = cloneBytes
		}
		if unix.IoctlFileCloneRange(to, &r) != nil {
			break
		}
		at += n
		c.progress(n)
	}
	return at, nil
}

// write copies the data from the given offset on.
func (c *copier) write(e *entry, to int, at int64) error {
	flushed := at
	for at < e.stat.Size {
		start, end, err := extent(e.fd, at, e.stat.Size)
		if err != nil {
			return c.unreadable(e, "seek", err)
		}
		c.progress(start - at)
		for at = start; at < end; {
			if err := c.ctx.Err(); err != nil {
				return err
			}
			b := c.buffer[:min(int64(len(c.buffer)), end-at)]
			if err := readFull(e.fd, b, at); err != nil {
				return c.unreadable(e, "read", err)
			}
			if err := writeFull(to, b, at); err != nil {
				return c.refused(e, "write", err)
			}
			at += int64(len(b))
			c.progress(int64(len(b)))
			if at-flushed >= flushBytes {
				_ = unix.SyncFileRange(to, flushed, at-flushed, unix.SYNC_FILE_RANGE_WRITE) // that it fails is told by the sync
				flushed = at
			}
		}
	}
	return nil
}

func (c *copier) progress(n int64) {
	c.moved += n
	if c.options.Progress != nil && n > 0 {
		c.options.Progress(c.moved)
	}
}

// extent gives the next range of data at or after offset, both ends size if there is none. Preallocated ranges are holes.
func extent(fd int, offset, size int64) (start, end int64, err error) {
	start, err = unix.Seek(fd, offset, unix.SEEK_DATA)
	switch {
	case err == unix.ENXIO || err == nil && start >= size:
		return size, size, nil
	case err == unix.EINVAL: // a file system without holes
		return offset, size, nil
	case err != nil:
		return 0, 0, err
	}
	end, err = unix.Seek(fd, start, unix.SEEK_HOLE)
	return start, min(end, size), err
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

func writeFull(fd int, b []byte, offset int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, offset)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b, offset = b[n:], offset+int64(n)
	}
	return nil
}
