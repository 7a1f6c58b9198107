package testdisk

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Spec says what [Tree] makes. The zero value is a tree of a few MiB.
type Spec struct {
	Seed    uint64
	Files   int   // ordinary files, besides one of every oddity; 0 is 100
	MaxSize int64 // bytes, of the largest ordinary file; 0 is 4 MiB. Most are far smaller
}

// Tree fills dir, which must exist, with a file tree that depends on spec
// alone: ordinary files in nested directories, and one of every oddity that a
// backup must carry: holes, preallocation, hard links, reflinks, dangling
// links, fifos, sockets, device nodes, xattrs, capabilities, ACLs, and strange
// names, modes, owners and times. What the file system or a user other than
// root cannot make is left out.
func Tree(t testing.TB, dir string, spec Spec) {
	t.Helper()
	if spec.Files == 0 {
		spec.Files = 100
	}
	if spec.MaxSize == 0 {
		spec.MaxSize = 4 << 20
	}
	g := &grower{rnd: newRand(spec.Seed)}
	g.ordinary(filepath.Join(dir, "files"), spec)
	g.names(filepath.Join(dir, "names"))
	g.contents(filepath.Join(dir, "contents"))
	g.kinds(filepath.Join(dir, "kinds"))
	g.attributes(filepath.Join(dir, "attributes"))
	g.settle(dir)
	g.times(filepath.Join(dir, "times"))
	g.touch(dir, epoch)
	if g.err != nil {
		t.Fatalf("make a tree in %s: %v", dir, g.err)
	}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x62747266)) }

// grower makes files until the first error.
type grower struct {
	rnd    *rand.Rand
	err    error
	buffer []byte
}

// do keeps the first error. That something cannot be had here is none.
func (g *grower) do(err error) {
	switch {
	case g.err != nil, err == nil, errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY):
	case errors.Is(err, unix.EPERM) && os.Geteuid() != 0:
	default:
		g.err = err
	}
}

func (g *grower) mkdir(path string) string {
	g.do(os.MkdirAll(path, 0o755))
	return path
}

// bytes returns n random bytes that are overwritten by the next call.
func (g *grower) bytes(n int64) []byte {
	if int64(cap(g.buffer)) < n {
		g.buffer = make([]byte, n)
	}
	return fill(g.rnd, g.buffer[:n])
}

// fill makes every second 4 KiB compressible, as real data is now and then.
func fill(rnd *rand.Rand, b []byte) []byte {
	for i := range b {
		if i%8 == 0 {
			word := rnd.Uint64()
			if i&4096 != 0 {
				word = 0x20202020_20202020 | word&7
			}
			for j := i; j < min(i+8, len(b)); j++ {
				b[j] = byte(word >> (8 * (j - i)))
			}
		}
	}
	return b
}

func (g *grower) file(path string, size int64) string {
	g.do(os.WriteFile(path, g.bytes(size), 0o644))
	return path
}

// ordinary makes files as a home directory has them: many small, few large.
func (g *grower) ordinary(dir string, spec Spec) {
	for i := range spec.Files {
		sub := g.mkdir(filepath.Join(dir, fmt.Sprintf("d%02d", i%7), fmt.Sprintf("e%03d", i/50)))
		g.file(filepath.Join(sub, fmt.Sprintf("f%05d", i)), g.size(spec.MaxSize))
	}
	deep := dir
	for i := range 20 {
		deep = filepath.Join(deep, fmt.Sprintf("deep%d", i))
	}
	g.file(filepath.Join(g.mkdir(deep), "bottom"), 1)
}

// size is spread evenly over the orders of magnitude, with the edges of blocks
// and of inline extents more often than chance would have them.
func (g *grower) size(most int64) int64 {
	edges := []int64{0, 1, 2047, 2048, 2049, 4095, 4096, 4097, 65536, 131072, 131073}
	if g.rnd.IntN(4) == 0 {
		return min(edges[g.rnd.IntN(len(edges))], most)
	}
	size := most >> g.rnd.IntN(12)
	return size/2 + g.rnd.Int64N(size/2+1)
}

// epoch is the earliest time of what has no odd one.
var epoch = time.Date(2020, 2, 29, 12, 0, 0, 0, time.UTC)

// settle gives everything below dir a time that depends on the seed instead of
// the time of its making, directories last.
func (g *grower) settle(dir string) {
	if g.err != nil {
		return
	}
	entries, err := os.ReadDir(dir)
	g.do(err)
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if entry.IsDir() {
			g.settle(path)
		}
		g.touch(path, g.moment())
	}
}

func (g *grower) moment() time.Time {
	return epoch.Add(time.Duration(g.rnd.Int64N(int64(365 * 24 * time.Hour))))
}

func (g *grower) touch(path string, at time.Time) {
	ts := unix.NsecToTimespec(int64(at.Nanosecond()))
	ts.Sec = at.Unix()
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		g.do(&os.PathError{Op: "utimensat", Path: path, Err: err})
	}
}
