package filetime

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What is set, by name and by descriptor, is what is read; also beyond 2038, where the file system of the test can hold that.
func TestSetAndOf(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	far := Time{time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC).Unix(), 678}
	if err := os.Chtimes(path, time.Unix(far.Sec, far.Nsec), time.Unix(far.Sec, far.Nsec)); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.ModTime().Unix() != far.Sec {
		t.Logf("the file system in %s ends before 2100: %v", dir, err)
		far.Sec = 2e9
	}
	near := Time{1e9, 1}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, set := range map[string]func([2]Time) error{
		"by name":       func(times [2]Time) error { return Set(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW) },
		"by descriptor": func(times [2]Time) error { return Set(int(f.Fd()), "", times, 0) },
		"empty path":    func(times [2]Time) error { return Set(int(f.Fd()), "", times, unix.AT_EMPTY_PATH) },
	} {
		for _, want := range [][2]Time{{near, far}, {far, near}} {
			if err := set(want); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			var st unix.Stat_t
			if err := unix.Fstat(int(f.Fd()), &st); err != nil {
				t.Fatal(err)
			}
			if got, err := Of(int(f.Fd()), "", unix.AT_EMPTY_PATH, &st); err != nil || got != want {
				t.Errorf("%s: %v, want %v (%v)", name, got, want, err)
			}
		}
	}
}
