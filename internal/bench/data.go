package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// data is what a subvolume holds.
type data struct {
	files        int
	size         int64 // bytes of each
	compressible bool  // to about half; else not at all
}

func (d data) bytes() int64 { return int64(d.files) * d.size }

// fill makes the files, a hundred to a directory.
func fill(dir string, d data) error {
	random := rand.NewChaCha8([32]byte{1})
	for i := range d.files {
		if i%100 == 0 {
			if err := os.Mkdir(filepath.Dir(fileName(dir, i)), 0o755); err != nil {
				return err
			}
		}
		if err := write(fileName(dir, i), d, random); err != nil {
			return err
		}
	}
	return nil
}

func fileName(dir string, i int) string {
	return filepath.Join(dir, fmt.Sprintf("d%03d", i/100), fmt.Sprintf("f%05d", i))
}

// change does something to n of the files, all over the tree: most are written anew in place, some removed, renamed or replaced.
func change(dir string, d data, n int) error {
	random := rand.NewChaCha8([32]byte{2})
	for i := range n {
		name := fileName(dir, i*d.files/n)
		var err error
		switch i % 10 {
		case 0:
			err = os.Remove(name)
		case 1:
			err = os.Rename(name, name+" renamed")
		case 2:
			if err = write(name+" new", d, random); err == nil {
				err = os.Rename(name+" new", name)
			}
		default:
			err = write(name, d, random)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func write(path string, d data, random io.Reader) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, int(min(d.size, 1<<20)))
	var to io.Writer = w
	if d.compressible {
		to = hex.NewEncoder(w)
		d.size /= 2
	}
	if _, err := io.CopyN(to, random, d.size); err != nil {
		return err
	}
	return w.Flush()
}
