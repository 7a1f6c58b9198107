package testdisk_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// Where data lies in a file is in its manifest, how it lies there is not.
func TestManifestContent(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{}).Path
	data := bytes.Repeat([]byte("0123456"), 50_000)
	written := func(name string, write func(f *os.File) error) (line, content string) {
		t.Helper()
		dir := mkdir(t, disk, name)
		f, err := os.Create(filepath.Join(dir, "f"))
		ok(t, err)
		defer f.Close()
		ok(t, write(f))
		setTimes(t, dir)
		lines, err := testdisk.Manifest(dir)
		ok(t, err)
		if len(lines) != 2 || !strings.HasPrefix(lines[0], `".": mode 40755 `) || !strings.HasPrefix(lines[1], `"./f": mode 100644 `) {
			t.Fatalf("%s: %q", name, lines)
		}
		_, content, _ = strings.Cut(lines[1], " content ")
		return lines[1], content
	}
	at := func(offset int64, data []byte) func(f *os.File) error {
		return func(f *os.File) error { _, err := f.WriteAt(data, offset); return err }
	}
	both := func(a, b func(f *os.File) error) func(f *os.File) error {
		return func(f *os.File) error { return errors.Join(a(f), b(f)) }
	}
	const end = 1 << 20
	line, content := written("hole", at(end, data))
	for name, write := range map[string]func(f *os.File) error{
		"zeros":        at(0, append(make([]byte, end), data...)),
		"preallocated": both(func(f *os.File) error { return unix.Fallocate(int(f.Fd()), 0, 0, end+int64(len(data))) }, at(end, data)),
		"in parts":     both(at(end+100_000, data[100_000:]), at(end, data[:100_000])),
	} {
		if got, _ := written(name, write); got != line {
			t.Errorf("%s: %s, want %s", name, got, line)
		}
	}
	for n, offset := range []int64{0, 4095, 4096, 131_072, 300_000, int64(len(data)) - 1} {
		changed := bytes.Clone(data)
		changed[offset] ^= 1
		if _, got := written(strings.Repeat("x", n+1), at(end, changed)); got == content {
			t.Errorf("the byte at %d is not seen", offset)
		}
	}
	if _, got := written("a block on", at(end+4096, data)); got == content {
		t.Error("the place is not seen")
	}
	if _, got := written("longer", both(at(end, data), func(f *os.File) error { return f.Truncate(end + int64(len(data)) + 9) })); got != content {
		t.Error("zeros at the end are part of the content, which makes the size count twice")
	}
	// 1 TiB without data takes no time.
	written("huge", func(f *os.File) error { return f.Truncate(1 << 40) })
}

// What is known is left out, however much of it there is.
func TestTwinsKnown(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{}).Path
	a, b := filepath.Join(disk, "a"), filepath.Join(disk, "b")
	for _, dir := range []string{a, b} {
		btrfs(t, "subvolume", "create", dir)
	}
	for n := range 30 {
		ok(t, os.Mkdir(filepath.Join(a, strings.Repeat("n", n+1)), 0o755))
	}
	ok(t, os.Mkdir(filepath.Join(b, "zzz"), 0o755))
	setTimes(t, a)
	setTimes(t, b)
	pair := testdisk.Twins{Known: func(diff string) bool {
		return strings.Contains(diff, "only in the first tree") || strings.Contains(diff, "inode, links")
	}}
	diffs, err := pair.Compare(a, b)
	ok(t, err)
	if len(diffs) != 1 || diffs[0] != `"./zzz": only in the second tree` {
		t.Errorf("differences = %q", diffs)
	}
}
