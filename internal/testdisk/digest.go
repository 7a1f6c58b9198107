package testdisk

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"

	"golang.org/x/sys/unix"
)

// Digest returns one hash over everything that [CompareExact] sees, to compare
// a tree with itself at another time.
func Digest(dir string) (string, error) {
	root, err := openTree(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	d := digest{hash: sha256.New(), seen: map[uint64]int{}}
	if err := d.entry(entry{root, "."}); err != nil {
		return "", err
	}
	return hex.EncodeToString(d.hash.Sum(nil)), nil
}

type digest struct {
	hash    hash.Hash
	seen    map[uint64]int // files with several names, numbered in the order of their first
	content content
}

func (d *digest) entry(e entry) error {
	f, err := e.facts()
	if err != nil {
		return err
	}
	fmt.Fprintf(d.hash, "%q %s\n", e.name, f)
	if !f.isDir() && f.linked {
		number, seen := d.seen[f.inode]
		if !seen {
			number = len(d.seen)
			d.seen[f.inode] = number
		}
		fmt.Fprintf(d.hash, "same as %d\n", number)
		if seen {
			return nil
		}
	}
	switch {
	case f.isDir():
		return d.dir(e)
	case f.mode&unix.S_IFMT == unix.S_IFREG:
		file, err := e.open(0)
		if err != nil {
			return err
		}
		defer file.Close()
		return d.content.digest(d.hash, file, f.size)
	}
	return nil
}

func (d *digest) dir(e entry) error {
	dir, names, err := list(e)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, name := range names {
		if err := d.entry(entry{dir, name}); err != nil {
			return err
		}
	}
	fmt.Fprintln(d.hash, "end")
	return nil
}
