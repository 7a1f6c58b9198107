package content

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// dir is a directory that both sides have, open on both. All work is relative to open directories, so that paths may be of any length.
type dir struct {
	up    *dir // nil for the root
	name  string
	hash  uint64 // of the path
	fd    [2]int
	users atomic.Int32
}

func (d *dir) use() { d.users.Add(1) }

func (d *dir) release() {
	if d.users.Add(-1) == 0 {
		unix.Close(d.fd[want])
		unix.Close(d.fd[have])
	}
}

// path is that of name in d; "" is d itself.
func (d *dir) path(name string) string {
	if d == nil {
		return root
	}
	at := name
	for ; d.up != nil; d = d.up {
		if at == "" {
			at = d.name
		} else {
			at = d.name + "/" + at
		}
	}
	if at == "" {
		return root
	}
	return at
}

// FNV-1a, which goes on from a directory to what is in it.
const (
	hashStart = 14695981039346656037
	hashPrime = 1099511628211
)

func hash(h uint64, name string) uint64 {
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * hashPrime
	}
	return (h ^ '/') * hashPrime
}

// chosen reports whether data is to be compared of the file called name in d.
func (c *comparison) chosen(d *dir, name string) bool {
	if c.o.Parts <= 1 {
		return c.o.Parts == 1
	}
	h := hash(d.hash, name)
	return (h^h>>32)%c.o.Parts == c.o.Part // the low bits alone are the weakest
}
