package fingerprint_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// compare makes sure that the fingerprint of the newest backup says what one says that is made of nothing.
func (w *world) compare() {
	w.t.Helper()
	n := len(w.backups) - 1
	whole, err := w.whole(n).Root(w.backups[n].UUID)
	ok(w.t, err)
	if got, want := w.root(n), fmt.Sprintf("%x", whole); got != want {
		w.t.Fatalf("backup %d: the delta does not say what the whole says; against the delta: %q", n, w.verify(w.path(n), n))
	}
}

// Whatever changes in a source, the fingerprint of an incremental backup says what one says that was made from nothing.
func TestDeltaIsWhole(t *testing.T) {
	for name, tc := range map[string]struct {
		options testdisk.Options
		world   func(testing.TB, testdisk.Options) *world
		rounds  int
	}{
		"received":               {testdisk.Options{InMemory: true}, newWorld, 12},
		"received, with holes":   {testdisk.Options{InMemory: true, Mkfs: []string{"-O", "^no-holes"}}, newWorld, 6},
		"received, compressed":   {testdisk.Options{InMemory: true, MountOptions: "compress-force=zstd"}, newWorld, 6},
		"snapshots":              {testdisk.Options{InMemory: true}, newDirect, 24},
		"snapshots, with holes":  {testdisk.Options{InMemory: true, Mkfs: []string{"-O", "^no-holes"}}, newDirect, 12},
		"snapshots, compressed":  {testdisk.Options{InMemory: true, MountOptions: "compress-force=zstd"}, newDirect, 12},
		"snapshots, small nodes": {testdisk.Options{InMemory: true, Mkfs: []string{"-n", "4k"}}, newDirect, 12},
		"snapshots, nodatacow":   {testdisk.Options{InMemory: true, MountOptions: "nodatacow"}, newDirect, 12},
	} {
		seeds := uint64(1)
		if os.Getenv("BTRKEEP_LONG") != "" {
			seeds = 20
		}
		for seed := range seeds {
			t.Run(fmt.Sprintf("%s/%d", name, seed), func(t *testing.T) { deltas(t, tc.world(t, tc.options), tc.rounds, seed) })
		}
	}
}

// deltas makes backups between random changes.
func deltas(t *testing.T, w *world, rounds int, seed uint64) {
	testdisk.Tree(t, w.live, testdisk.Spec{Seed: seed, Files: 200, MaxSize: 2 << 20})
	large := newLarge(w.in("large"))
	deltas := 0
	for round := range rounds {
		ok(t, large.change(rand.New(rand.NewPCG(uint64(round), seed)), 1+round%20))
		w.version = 1 + round%2
		if s := w.next(); !s.Whole {
			deltas++
		}
		w.compare()
		ok(t, testdisk.Mutate(w.live, seed*1000+uint64(round), 1+round%20*round%20))
	}
	if deltas < rounds/2 {
		t.Errorf("%d deltas", deltas)
	}
	for n := range w.backups {
		if found := w.verify(w.path(n), n); len(found) > 0 {
			t.Errorf("backup %d: %q", n, found)
		}
	}
}

// A new file that has got the number of one that is gone has nothing of its data.
func TestReusedInodeNumber(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{InMemory: true})
	w := onDisk(t, disk)
	inode := func(name string) uint64 {
		var st unix.Stat_t
		ok(t, unix.Stat(w.in(name), &st))
		return st.Ino
	}
	write(t, w.in("stays"), make([]byte, 5<<20), 0)
	write(t, w.in("old"), []byte("x"), 3<<20)
	write(t, w.in("old"), []byte("x"), 0)
	number := inode("old")
	w.next()
	ok(t, os.Remove(w.in("old")))
	disk.Unmount() // the next number is that behind the highest one which is found
	disk.Mount("")
	write(t, w.in("new"), nil, 0)
	ok(t, os.Truncate(w.in("new"), 3<<20+1))
	if inode("new") != number {
		t.Fatalf("the number is %d, not %d again", inode("new"), number)
	}
	w.next()
	w.compare()
}

// large are files of several chunks.
type large struct {
	dir   string
	names []string
}

func newLarge(dir string) *large { return &large{dir: dir, names: []string{"a", "b", "c", "d"}} }

// change makes n changes in ranges of the files, that begin and end at the edges of chunks and blocks more often than chance would have them.
func (l *large) change(rnd *rand.Rand, n int) error {
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return err
	}
	const most = 10 << 20
	place := func() int64 {
		p := rnd.Int64N(most)
		switch rnd.IntN(4) {
		case 0:
			return p &^ (1<<20 - 1)
		case 1:
			return max(0, p&^(1<<20-1)+[]int64{-4096, -1, 1, 4096}[rnd.IntN(4)])
		case 2:
			return p &^ 4095
		}
		return p
	}
	for range n {
		if err := l.one(rnd, place(), place()); err != nil {
			return err
		}
	}
	return nil
}

func (l *large) one(rnd *rand.Rand, a, b int64) error {
	start, length := min(a, b), max(a, b)-min(a, b)+1
	name, other := filepath.Join(l.dir, l.names[rnd.IntN(len(l.names))]), filepath.Join(l.dir, l.names[rnd.IntN(len(l.names))])
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() { // by another change
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	switch rnd.IntN(9) {
	case 0: // random data
		_, err = io.Copy(io.NewOffsetWriter(f, start), io.LimitReader(rand.NewChaCha8([32]byte{byte(start), byte(length)}), min(length, 1<<21)))
	case 1: // few bytes
		_, err = f.WriteAt([]byte("few"), start)
	case 2: // zeros
		_, err = f.WriteAt(make([]byte, min(length, 2<<20)), start)
	case 3:
		err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, start, length)
	case 4:
		err = unix.Fallocate(int(f.Fd()), uint32(rnd.IntN(2))*unix.FALLOC_FL_KEEP_SIZE, start, length)
	case 5:
		err = f.Truncate(start)
	case 6: // to nothing, and longer again
		if err = f.Truncate(start); err == nil {
			err = f.Truncate(start + length)
		}
	case 7:
		err = cloneRange(other, f, start&^4095, length&^4095)
	case 8: // a new file of that name
		if err = os.Remove(name); err == nil {
			err = os.WriteFile(name, make([]byte, rnd.IntN(3<<20)), 0o600)
		}
	}
	return err
}

// cloneRange shares a range of a file with another one, or with another place in the same.
func cloneRange(from string, to *os.File, start, length int64) error {
	src, err := os.Open(from)
	if err != nil {
		return nil // not there yet, or a link to nowhere
	}
	defer src.Close()
	r := unix.FileCloneRange{Src_fd: int64(src.Fd()), Src_length: uint64(length), Dest_offset: uint64(start)}
	if err := unix.IoctlFileCloneRange(int(to.Fd()), &r); err == unix.EINVAL || err == unix.EISDIR { // it is too short, or overlaps, or is no file
		return nil
	} else if err != nil {
		return err
	}
	return nil
}
