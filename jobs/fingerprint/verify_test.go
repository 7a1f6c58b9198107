package fingerprint_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs/fingerprint"
)

// What is changed in a copy of a backup is named, and nothing else; and that copy is found intact before.
func TestVerifyNames(t *testing.T) {
	w := newDirect(t, testdisk.Options{InMemory: true})
	data := make([]byte, 5<<20)
	for i := range data {
		data[i] = byte(i*i>>3) | 1
	}
	ok(t, os.MkdirAll(w.in("dir/sub"), 0o755))
	for _, name := range []string{"file", "dir/small", "dir/sub/a", "dir/sub/b"} {
		write(t, w.in(name), data[:5000], 0)
	}
	write(t, w.in("large"), data, 0)
	write(t, w.in("sparse"), data[:1], 5<<20)
	ok(t, os.Symlink("file", w.in("link")))
	ok(t, os.Link(w.in("file"), w.in("dir/hard")))
	ok(t, unix.Setxattr(w.in("file"), "user.a", []byte("1"), 0))
	ok(t, unix.Mknod(w.in("null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	w.next()
	write(t, w.in("large"), data[1:4], 3<<20) // a delta
	w.next()

	restored := filepath.Join(w.target, "restored")
	in := func(name string) string { return filepath.Join(restored, name) }
	put := func(name string, at int64, b string) { write(t, in(name), []byte(b), at) }
	fallocate := func(name string, mode uint32, start, length int64) {
		f, err := os.OpenFile(in(name), os.O_RDWR, 0)
		ok(t, err)
		ok(t, errors.Join(unix.Fallocate(int(f.Fd()), mode, start, length), f.Close()))
	}
	for name, tc := range map[string]struct {
		do   func()
		want []string
	}{
		"nothing":      {func() {}, nil},
		"preallocated": {func() { fallocate("sparse", 0, 0, 1<<20) }, nil},
		"zeros":        {func() { put("sparse", 1<<20, strings.Repeat("\x00", 100)) }, nil},
		"flipped byte": {func() { put("large", 2<<20+7, "x") }, []string{"large: content differs between byte 2097152 and 3145728"}},
		"two chunks":   {func() { put("large", 2<<20-1, "xx") }, []string{"large: content differs between byte 1048576 and 3145728"}},
		"last byte":    {func() { put("sparse", 5<<20, "y") }, []string{"sparse: content differs between byte 5242880 and 5242881"}},
		"in a hole":    {func() { put("sparse", 1<<20, "y") }, []string{"sparse: content differs between byte 1048576 and 2097152"}},
		"hole": {func() { fallocate("large", unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 2<<20) },
			[]string{"large: content differs between byte 0 and 2097152"}},
		"owner":   {func() { ok(t, os.Lchown(in("dir/small"), 7, 8)) }, []string{"dir/small: owner 7:8 instead of 0:0"}},
		"mode":    {func() { ok(t, os.Chmod(in("dir"), 0o700)) }, []string{"dir: mode 0700 instead of 0755"}},
		"xattr":   {func() { ok(t, unix.Removexattr(in("file"), "user.a")) }, []string{"file: extended attributes differ"}},
		"missing": {func() { ok(t, os.Remove(in("dir/small"))) }, []string{"dir: entries are missing, new or others", "dir/small: is missing"}},
		"missing directory": {func() { ok(t, os.RemoveAll(in("dir/sub"))) },
			[]string{"dir: entries are missing, new or others", "dir/sub: is missing", "dir/sub/a: is missing", "dir/sub/b: is missing"}},
		"new":     {func() { put("dir/new", 0, "new") }, []string{"dir: entries are missing, new or others", "dir/new: is new"}},
		"renamed": {func() { ok(t, os.Rename(in("dir/small"), in("dir/other"))) }, []string{"dir: entries are missing, new or others", `dir/other: was called "small"`}},
		"link": {func() { ok(t, os.Link(in("large"), in("dir/large"))) },
			[]string{"dir: entries are missing, new or others", "large: has 2 names instead of 1"}},
		"shorter": {func() { ok(t, os.Truncate(in("large"), 3<<20)) }, []string{"large: size 3145728 instead of 5242880"}},
		"longer":  {func() { ok(t, os.Truncate(in("large"), 9<<20)) }, []string{"large: size 9437184 instead of 5242880"}},
		"target": {func() { ok(t, errors.Join(os.Remove(in("link")), os.Symlink("File", in("link")))) },
			[]string{".: entries are missing, new or others", "link: is missing", "link: is new"}},
		"time": {func() {
			ok(t, unix.UtimesNanoAt(unix.AT_FDCWD, in("null"), []unix.Timespec{{}, {Sec: 1, Nsec: 1}}, 0))
			ok(t, unix.UtimesNanoAt(unix.AT_FDCWD, restored, []unix.Timespec{{}, {Sec: 1, Nsec: 1}}, 0))
		}, []string{"null: modified 1970-01-01T00:00:01.000000001Z instead of …"}},
	} {
		t.Run(name, func(t *testing.T) {
			ok(t, btrfs.Snapshot(w.path(1), w.target, "restored", false))
			tc.do()
			if name != "time" {
				sameTimes(t, w.path(1), restored)
			}
			found := w.verify(restored, 1)
			for i := range found {
				if before, _, cut := strings.Cut(found[i], "instead of 20"); cut {
					found[i] = before + "instead of …"
				}
			}
			slices.Sort(found)
			slices.Sort(tc.want)
			if diff := cmp.Diff(tc.want, found); diff != "" {
				t.Error(diff)
			}
			info, err := btrfs.Info(restored)
			ok(t, err)
			ok(t, btrfs.Delete(w.target, "restored", info.UUID))
		})
	}
	for n := range w.backups {
		if found := w.verify(w.path(n), n); found != nil {
			t.Error(found)
		}
	}
}

// sameTimes gives what is in both the times that it has in the first.
func sameTimes(t *testing.T, from, to string) {
	t.Helper()
	ok(t, filepath.Walk(to, func(path string, _ os.FileInfo, err error) error {
		relative, relErr := filepath.Rel(to, path)
		var st unix.Stat_t
		if err = errors.Join(err, relErr); err != nil || unix.Lstat(filepath.Join(from, relative), &st) != nil {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
	}))
}

// A comparison that is cut again and again finds everything once, and the parts together are the whole.
func TestVerifyGoesOn(t *testing.T) {
	w := newDirect(t, testdisk.Options{InMemory: true})
	testdisk.Tree(t, w.live, testdisk.Spec{Files: 50})
	for i := range 20 {
		write(t, w.in("large"), []byte("some data"), int64(i)<<20)
	}
	w.next()
	restored := filepath.Join(w.target, "restored")
	ok(t, btrfs.Snapshot(w.path(0), w.target, "restored", false))
	ok(t, testdisk.Mutate(restored, 1, 60))
	write(t, filepath.Join(restored, "large"), []byte("other data"), 3<<20)
	write(t, filepath.Join(restored, "large"), []byte("other data"), 17<<20)
	want := w.verify(restored, 0)
	if len(want) < 30 {
		t.Fatalf("%q", want)
	}

	var got []string
	cuts := 0
	o := fingerprint.VerifyOptions{Parts: 1, Workers: 1}
	for complete := false; !complete; cuts++ {
		ctx, cancel := context.WithCancel(t.Context())
		read := 0
		o.Progress = func(int64) {
			if read++; read == 3 {
				cancel()
			}
		}
		r, err := w.store.Verify(ctx, restored, w.backups[0].UUID, o, func(d fingerprint.Difference) { got = append(got, d.Path+": "+d.What) })
		ok(t, err)
		if r.After == o.After && !r.Complete && cuts > 1000 {
			t.Fatal("it does not get on")
		}
		o.After, complete = r.After, r.Complete
		cancel()
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after %d cuts: %s", cuts, diff)
	}
	if cuts < 5 {
		t.Errorf("%d cuts", cuts)
	}

	parts, chunks := map[string]bool{}, int64(0)
	whole := int64(0)
	for part := range uint64(8) {
		r, err := w.store.Verify(t.Context(), restored, w.backups[0].UUID, fingerprint.VerifyOptions{Parts: 7, Part: part % 7}, func(d fingerprint.Difference) { parts[d.Path+": "+d.What] = true })
		ok(t, err)
		if part < 7 {
			chunks += r.Chunks
		}
	}
	r, err := w.store.Verify(t.Context(), restored, w.backups[0].UUID, fingerprint.VerifyOptions{Parts: 1}, func(fingerprint.Difference) {})
	ok(t, err)
	if whole = r.Chunks; whole != chunks || whole < 50 {
		t.Errorf("the parts have %d chunks, the whole has %d", chunks, whole)
	}
	for _, d := range want {
		if !parts[d] {
			t.Errorf("no part has %q", d)
		}
	}
	// Without data.
	r, err = w.store.Verify(t.Context(), restored, w.backups[0].UUID, fingerprint.VerifyOptions{}, func(d fingerprint.Difference) {
		if strings.Contains(d.What, "content") && !slices.Contains(want, d.Path+": "+d.What) {
			t.Error(d)
		}
	})
	if err != nil || r.Bytes != 0 || !r.Complete {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := w.store.Verify(t.Context(), restored, w.backups[0].UUID, fingerprint.VerifyOptions{Parts: 3, Part: 3}, nil); err == nil {
		t.Error("part 3 of 3")
	}
}

// A block that the disk has damaged is named, and the rest is compared.
func TestVerifyNamesUnreadable(t *testing.T) {
	d := testdisk.New(t, testdisk.Options{InMemory: true, Mkfs: []string{"-d", "single"}})
	w := onDisk(t, d)
	secret := []byte(strings.Repeat("a block that will be damaged ", 1000))
	write(t, w.in("bad"), secret, 1<<20)
	write(t, w.in("good"), []byte(strings.Repeat("another ", 10000)), 0)
	w.next()
	d.Unmount()
	flip(t, d.Image, secret[:4096])
	d.Mount("")
	want := []string{"bad: cannot be read between byte 1048576 and 1077576: read inode 257 of " + w.path(0) + ": input/output error"}
	if diff := cmp.Diff(want, w.verify(w.path(0), 0)); diff != "" {
		t.Error(diff)
	}
	if _, err := w.store.Make(t.Context(), w.path(0), w.backups[0], nil, fingerprint.Options{}); !errors.Is(err, unix.EIO) {
		t.Errorf("a fingerprint of what cannot be read: %v", err)
	}
	if found := w.verify(w.path(0), 0); len(found) != 1 {
		t.Errorf("the fingerprint is another one now: %q", found)
	}
}

// flip changes the first byte of what is found in a file.
func flip(t *testing.T, path string, what []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	ok(t, err)
	defer f.Close()
	block := make([]byte, len(what))
	info, err := f.Stat()
	ok(t, err)
	for at := int64(0); at < info.Size(); {
		at, err = unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if err != nil {
			break
		}
		_, err := f.ReadAt(block, at)
		ok(t, err)
		if string(block) == string(what) {
			_, err := f.WriteAt([]byte{what[0] ^ 1}, at)
			ok(t, err)
			return
		}
		at += 4096
	}
	t.Fatal("the block is not on the disk")
}

func TestVerifyRefuses(t *testing.T) {
	w := newDirect(t, testdisk.Options{InMemory: true})
	w.backup()
	_, err := w.store.Verify(t.Context(), w.path(0), w.backups[0].UUID, fingerprint.VerifyOptions{}, nil)
	if !errors.Is(err, fingerprint.ErrNone) {
		t.Errorf("no fingerprint: %v", err)
	}
	if _, err := w.store.Root(w.backups[0].UUID); !errors.Is(err, fingerprint.ErrNone) {
		t.Errorf("no fingerprint: %v", err)
	}
	if _, err := w.store.Make(t.Context(), w.live, w.backups[0], nil, fingerprint.Options{}); err == nil {
		t.Error("another subvolume")
	}
	live, err := btrfs.Info(w.live)
	ok(t, err)
	if _, err := w.store.Make(t.Context(), w.live, live, nil, fingerprint.Options{}); err == nil || !strings.Contains(err.Error(), "writable") {
		t.Errorf("a writable subvolume: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.store.Make(ctx, w.path(0), w.backups[0], nil, fingerprint.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	if left, err := os.ReadDir(w.store.Dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
