package testdisk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// chunk is how much of a file is looked at at once.
const chunk = 128 << 10

// extent returns the next range of data at or after offset, as the file system
// tells it; both ends are size when only a hole is left.
func extent(f *os.File, offset, size int64) (start, end int64, err error) {
	start, err = unix.Seek(int(f.Fd()), offset, unix.SEEK_DATA)
	if err == unix.ENXIO || err == nil && start >= size {
		return size, size, nil
	}
	if err == nil {
		end, err = unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
	}
	if err != nil {
		return 0, 0, &os.PathError{Op: "seek", Path: f.Name(), Err: err}
	}
	return start, min(end, size), nil
}

// content compares two regular files of the same size: what they hold, and
// where their holes are. It keeps two buffers for all files.
type content struct {
	exact bool // else a hole in a may be zeros in b
	a, b  [chunk]byte
}

// compare returns at most one difference of each sort.
func (c *content) compare(a, b *os.File, size int64) (diffs []string, err error) {
	holes := ""
	for offset := int64(0); offset < size; {
		startA, endA, err := extent(a, offset, size)
		if err != nil {
			return nil, err
		}
		startB, endB, err := extent(b, offset, size)
		if err != nil {
			return nil, err
		}
		if startA != startB || endA != endB {
			if startA, endA, err = written(a, offset, size); err != nil {
				return nil, err
			}
			if startB, endB, err = written(b, offset, size); err != nil {
				return nil, err
			}
		}
		if holes == "" && (startA != startB || endA != endB) {
			good, err := c.tolerates(b, startA, endA, size)
			if err != nil {
				return nil, err
			}
			if !good {
				holes = fmt.Sprintf("holes: data at %d-%d, %d-%d", startA, endA, startB, endB)
				diffs = append(diffs, holes)
			}
		}
		offset = max(endA, endB)
		at, err := c.firstDifference(a, b, min(startA, startB), offset)
		if err != nil {
			return nil, err
		}
		if at >= 0 {
			return append(diffs, fmt.Sprintf("content: differs at byte %d", at)), nil
		}
	}
	return diffs, nil
}

// tolerates tells whether b has data wherever a has, and that is enough.
func (c *content) tolerates(b *os.File, startA, endA, size int64) (bool, error) {
	if c.exact {
		return false, nil
	}
	if startA == endA {
		return true, nil
	}
	start, end, err := extent(b, startA, size)
	return start == startA && end >= endA, err
}

// written is [extent] with what the tree of the subvolume says: the kernel takes a file for one without holes when it has as many bytes as it is long
// and has never been preallocated itself, though a reflink may have brought it preallocated ranges (find_desired_extent in fs/btrfs/file.c, Linux 6.18).
func written(f *os.File, offset, size int64) (start, end int64, err error) {
	start, end, err = extent(f, offset, size)
	if err != nil || end < size {
		return start, end, err
	}
	items, err := fileExtents(f)
	if errors.Is(err, unix.ENOTTY) { // another file system
		return start, end, nil
	}
	for _, e := range items {
		if at := int64(e.logical); e.kind == preallocated && at < end && at+int64(e.length) > start {
			if at > start {
				return start, at, err
			}
			start = min(at+int64(e.length), size)
		}
	}
	return start, end, err
}

// firstDifference returns the offset of the first byte in [start, end) that
// differs, or -1.
func (c *content) firstDifference(a, b *os.File, start, end int64) (int64, error) {
	for start < end {
		n := min(end-start, chunk)
		if err := readFull(a, c.a[:n], start); err != nil {
			return 0, err
		}
		if err := readFull(b, c.b[:n], start); err != nil {
			return 0, err
		}
		if !bytes.Equal(c.a[:n], c.b[:n]) {
			for i := range n {
				if c.a[i] != c.b[i] {
					return start + i, nil
				}
			}
		}
		start += n
	}
	return -1, nil
}

// digest writes the file's data and its place into w.
func (c *content) digest(w io.Writer, f *os.File, size int64) error {
	for offset := int64(0); offset < size; {
		start, end, err := extent(f, offset, size)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "data %d-%d\n", start, end)
		for start < end {
			n := min(end-start, chunk)
			if err := readFull(f, c.a[:n], start); err != nil {
				return err
			}
			if _, err := w.Write(c.a[:n]); err != nil {
				return err
			}
			start += n
		}
		offset = end
	}
	return nil
}

func readFull(f *os.File, b []byte, offset int64) error {
	if _, err := f.ReadAt(b, offset); err != nil {
		return fmt.Errorf("read %s at %d: %w", f.Name(), offset, err)
	}
	return nil
}
