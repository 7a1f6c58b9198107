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
		sub := filepath.Join(dir, fmt.Sprintf("d%03d", i/100))
		if i%100 == 0 {
			if err := os.Mkdir(sub, 0o755); err != nil {
				return err
			}
		}
		if err := write(filepath.Join(sub, fmt.Sprintf("f%05d", i)), d, random); err != nil {
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
