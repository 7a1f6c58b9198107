package testdisk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Manifest lists a tree in text, to keep what must be in it: one line for each name, which begins with its path as a Go string literal. It has what
// [Compare] sees, without holes and the time of the root directory: a backup has the manifest of its source.
//
// The content is the SHA-256 of the blocks of 4 KiB that are not all zeros, each with its number; zeros fill the last one.
func Manifest(dir string) ([]string, error) {
	root, err := openTree(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	m := manifest{seen: map[uint64]string{}}
	err = m.entry(entry{root, "."}, ".")
	return m.lines, err
}

type manifest struct {
	lines   []string
	seen    map[uint64]string // the first names of files that have several
	content content
}

func (m *manifest) entry(e entry, path string) error {
	f, err := e.facts()
	if err != nil {
		return err
	}
	if path == "." {
		f.mtime = unix.Timespec{}
	}
	line, err := m.line(e, f, path)
	if err != nil {
		return err
	}
	m.lines = append(m.lines, fmt.Sprintf("%q: %s%s", path, f, line))
	if !f.isDir() {
		return nil
	}
	dir, names, err := list(e)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, name := range names {
		if err := m.entry(entry{dir, name}, path+"/"+name); err != nil {
			return err
		}
	}
	return nil
}

// line is what a line has beside the facts.
func (m *manifest) line(e entry, f facts, path string) (string, error) {
	if !f.isDir() && f.linked {
		if first, seen := m.seen[f.inode]; seen {
			return fmt.Sprintf(" same as %q", first), nil
		}
		m.seen[f.inode] = path
	}
	if f.mode&unix.S_IFMT != unix.S_IFREG {
		return "", nil
	}
	file, err := e.open(0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum, err := m.content.sum(file, f.size)
	return fmt.Sprintf(" content %x", sum), err
}

// sum is the content of a file as a manifest has it.
func (c *content) sum(f *os.File, size int64) ([]byte, error) {
	hash := sha256.New()
	var zeros [block]byte
	for offset := int64(0); offset < size; {
		start, end, err := extent(f, offset, size)
		if err != nil {
			return nil, err
		}
		offset = end
		// An extent may begin inside a block where it follows data in the inode.
		for start -= start % block; start < end; start += chunk {
			data := c.a[:min(size-start, chunk)]
			if err := readFull(f, data, start); err != nil {
				return nil, err
			}
			offset = max(offset, start+int64(len(data)))
			clear(c.a[len(data):])
			for n := 0; n < len(data); n += block {
				if b := c.a[n:][:block]; !bytes.Equal(b, zeros[:]) {
					hash.Write(binary.LittleEndian.AppendUint64(nil, uint64(start)/block+uint64(n)/block))
					hash.Write(b)
				}
			}
		}
	}
	return hash.Sum(nil), nil
}
