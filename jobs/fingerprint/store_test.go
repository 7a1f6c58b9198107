package fingerprint_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs/fingerprint"
)

// Of a large image with holes, of which a little has changed, little is read.
func TestDeltaReadsWhatChanged(t *testing.T) {
	w := newWorld(t, testdisk.Options{})
	image := w.in("image")
	noise := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	for i := range int64(100) { // 100 MiB in a file of 100 GiB
		write(t, image, noise, i<<30+i*4096)
	}
	for i := range 200 {
		write(t, w.in(fmt.Sprint("other", i)), noise[:10_000], 0)
	}
	if s := w.next(); !s.Whole || s.BytesRead < 100<<20 || s.BytesRead > 210<<20 {
		t.Errorf("everything: %+v", s)
	}
	write(t, image, noise[:1<<20], 50<<30+12345)
	write(t, w.in("other7"), noise[:10_000], 5000)
	write(t, w.in("another"), noise[:100], 0)
	s := w.next()
	if s.Whole || s.BytesRead < 1<<20 || s.BytesRead > 2<<20+20_000 {
		t.Errorf("1 MiB has changed: %+v", s)
	}
	w.compare()
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	ok(t, err)
	defer f.Close()
	ok(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 20<<30, 4096)) // sent as zeros
	ok(t, f.Truncate(90<<30+1))
	if s := w.next(); s.Whole || s.BytesRead > 2<<20 {
		t.Errorf("a hole, and shorter: %+v", s)
	}
	w.compare()
	ok(t, os.Chmod(image, 0o600))
	if s := w.next(); s.Whole || s.BytesRead != 0 || s.Inodes != 1 {
		t.Errorf("a mode: %+v", s)
	}
	if s := w.next(); s.Whole || s.BytesRead != 0 || s.Inodes > 1 { // the root directory
		t.Errorf("nothing: %+v", s)
	}
	w.compare()
}

// A chain ends after some files, and when it outweighs what it is to.
func TestChainEnds(t *testing.T) {
	w := newDirect(t, testdisk.Options{InMemory: true})
	for i := range 500 {
		write(t, w.in(fmt.Sprint(i)), []byte("some"), 0)
	}
	w.next()
	chain := 1
	for i := range 40 {
		write(t, w.in(fmt.Sprint(i)), []byte("other"), 0)
		s := w.next()
		if chain++; s.Whole {
			if chain != 16 {
				t.Errorf("whole after %d", chain)
			}
			chain = 1
		}
		if s.BytesRead != 5 {
			t.Errorf("%+v", s)
		}
	}
	w.compare()
	for i := range 400 {
		write(t, w.in(fmt.Sprint(i)), []byte("the most"), 0)
	}
	ok(t, os.Remove(w.in("0")))
	if s := w.next(); s.Whole || s.Inodes != 400 {
		t.Errorf("heavy: %+v", s)
	}
	for i := range 400 {
		write(t, w.in(fmt.Sprint(1+i)), []byte("the most again"), 0)
	}
	if s := w.next(); !s.Whole || s.Inodes != 401 && s.Inodes != 400 {
		t.Errorf("heavier: %+v", s)
	}
	w.compare()
}

// Without a base that can be built on, everything is read.
func TestMakeWithoutBase(t *testing.T) {
	w := newDirect(t, testdisk.Options{InMemory: true})
	write(t, w.in("f"), []byte("some"), 0)
	w.backup()
	n := w.backup()
	if s := w.make(n); !s.Whole || s.BytesRead != 4 {
		t.Errorf("the base has none: %+v", s)
	}
	ok(t, btrfs.Delete(w.target, "b1", w.backups[1].UUID))
	n = w.backup()
	if s := w.make(n); !s.Whole {
		t.Errorf("the base is gone: %+v", s)
	}
	damage(t, w, n, func(b []byte) []byte { return b[:len(b)-1] })
	n = w.backup()
	if s := w.make(n); !s.Whole {
		t.Errorf("that of the base is damaged: %+v", s)
	}
	w.compare()
	// A flipped bit is only seen when all is put together.
	damage(t, w, n, func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	for range 16 {
		write(t, w.in("f"), []byte("other"), 0)
		if w.next().Whole {
			w.compare()
			return
		}
	}
	t.Error("it is never whole")
}

func damage(t *testing.T, w *world, n int, do func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(w.store.Dir, w.backups[n].UUID.String()+".fingerprint")
	b, err := os.ReadFile(path)
	ok(t, err)
	ok(t, os.WriteFile(path, do(b), 0o600))
}

// Whatever happens to a file, it is not taken for a fingerprint, nor is what builds on it.
func TestDamaged(t *testing.T) {
	w := newDirect(t, testdisk.Options{InMemory: true})
	for i := range 20 {
		write(t, w.in(fmt.Sprint(i)), []byte("some"), 0)
	}
	w.next()
	write(t, w.in("5"), []byte("other"), 0)
	if w.next().Whole {
		t.Fatal("no delta")
	}
	refused := func(what string) {
		t.Helper()
		for n := range 2 {
			_, err := w.store.Verify(t.Context(), w.path(n), w.backups[n].UUID, fingerprint.VerifyOptions{Parts: 1}, func(fingerprint.Difference) {})
			if _, root := w.store.Root(w.backups[n].UUID); n == 1 && !errors.Is(err, fingerprint.ErrDamaged) || (err == nil) != (root == nil) {
				t.Fatalf("%s: backup %d: %v, %v", what, n, err, root)
			}
		}
	}
	for n := range 2 {
		path := filepath.Join(w.store.Dir, w.backups[n].UUID.String()+".fingerprint")
		good, err := os.ReadFile(path)
		ok(t, err)
		for at := 0; at < len(good); at += 1 + at/50 {
			damage(t, w, n, func(b []byte) []byte { b[at] ^= 1 << (at % 8); return b })
			refused(fmt.Sprint("flipped at ", at))
			damage(t, w, n, func([]byte) []byte { return good[:at] })
			refused(fmt.Sprint("cut at ", at))
			ok(t, os.WriteFile(path, good, 0o600))
		}
		damage(t, w, n, func(b []byte) []byte { return append(b, 0) })
		refused("longer")
		damage(t, w, n, func(b []byte) []byte { return make([]byte, len(b)) })
		refused("zeros")
		ok(t, os.WriteFile(path, good, 0o600))
	}
	ok(t, os.Rename(filepath.Join(w.store.Dir, w.backups[0].UUID.String()+".fingerprint"), filepath.Join(w.target, "away")))
	_, err := w.store.Root(w.backups[1].UUID)
	if !errors.Is(err, fingerprint.ErrDamaged) || !strings.Contains(err.Error(), "is missing") {
		t.Error(err)
	}
	ok(t, os.Rename(filepath.Join(w.store.Dir, w.backups[1].UUID.String()+".fingerprint"), filepath.Join(w.store.Dir, w.backups[0].UUID.String()+".fingerprint")))
	if _, err := w.store.Root(w.backups[0].UUID); !errors.Is(err, fingerprint.ErrDamaged) {
		t.Error("that of another backup:", err)
	}
}

// What is forgotten goes as soon as nothing builds on it, in whatever order, and what is not goes on saying what it said.
func TestForget(t *testing.T) {
	w := newDirect(t, testdisk.Options{InMemory: true})
	for i := range 200 {
		write(t, w.in(fmt.Sprint(i)), []byte("some"), 0)
	}
	roots := map[int]string{}
	for n := range 24 {
		write(t, w.in(fmt.Sprint(n)), []byte("other"), 0)
		w.next()
		roots[n] = w.root(n)
	}
	ok(t, w.store.Forget()) // nothing
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, n := range rnd.Perm(24) {
		ok(t, w.store.Forget(w.backups[n].UUID, btrfs.UUID{1}))
		delete(roots, n)
		if w.store.Has(w.backups[n].UUID) {
			t.Error("it is still there")
		}
		if _, err := w.store.Root(w.backups[n].UUID); !errors.Is(err, fingerprint.ErrNone) {
			t.Error(err)
		}
		for n, root := range roots {
			if got := w.root(n); got != root {
				t.Fatalf("backup %d says something else now", n)
			}
		}
		left, err := w.store.List()
		if err != nil || len(left) != len(roots) {
			t.Errorf("%d are listed, not %d: %v", len(left), len(roots), err)
		}
		for n := range roots {
			if !slices.Contains(left, w.backups[n].UUID) || !w.store.Has(w.backups[n].UUID) {
				t.Errorf("backup %d is not listed", n)
			}
		}
	}
	if left, err := os.ReadDir(w.store.Dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	ok(t, fingerprint.In(filepath.Join(w.target, "never")).Forget(w.backups[0].UUID))
}

// A making that is cut leaves the fingerprint that there was.
func TestMakeCut(t *testing.T) {
	w := newDirect(t, testdisk.Options{InMemory: true})
	write(t, w.in("f"), []byte("some"), 0)
	w.next()
	before := w.root(0)
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := w.store.Make(ctx, w.path(0), w.backups[0], nil, fingerprint.Options{Progress: func(int64) { cancel() }})
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		cancel()
	}
	left, err := os.ReadDir(w.store.Dir)
	if err != nil || len(left) != 1 || w.root(0) != before {
		t.Errorf("%v, %v", left, err)
	}
	info, err := os.Stat(w.store.Dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
