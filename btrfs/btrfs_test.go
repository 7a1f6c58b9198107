package btrfs_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("BTRFS_TEST_RECEIVE_INTO"); dir != "" {
		fmt.Println(btrfs.Progs{}.Receive(context.Background(), dir, "name", os.Stdin))
		return
	}
	testdisk.Main(m)
}

func newDisk(t testing.TB) string {
	t.Helper()
	return testdisk.New(t, testdisk.Options{}).Path
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, dir, name string) string {
	t.Helper()
	ok(t, btrfs.Create(dir, name))
	return filepath.Join(dir, name)
}

// snapshot makes a read-only snapshot.
func snapshot(t testing.TB, source, dir, name string) string {
	t.Helper()
	ok(t, btrfs.Snapshot(source, dir, name, true))
	return filepath.Join(dir, name)
}

func info(t testing.TB, path string) btrfs.Subvolume {
	t.Helper()
	s, err := btrfs.Info(path)
	ok(t, err)
	return s
}

func list(t testing.TB, path string) []btrfs.Subvolume {
	t.Helper()
	all, err := btrfs.List(path)
	ok(t, err)
	return all
}

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	ok(t, os.WriteFile(path, content, 0o644))
}
