package testdisk

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// CachedPages is how many pages of a file are in the page cache: cachestat(2). Before Linux 6.5, which brought it, the test is skipped.
func CachedPages(t testing.TB, path string) uint64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var stat unix.Cachestat_t
	err = unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &stat, 0)
	if errors.Is(err, unix.ENOSYS) {
		t.Skip("cachestat(2) is there from Linux 6.5 on")
	}
	if err != nil {
		t.Fatal(err)
	}
	return stat.Cache
}
