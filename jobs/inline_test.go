package jobs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// Files that go on behind compressed data in their inode arrive whole, though a send of compressed data as it is loses the rest of that sector.
func TestFilesBehindInlineDataArriveWhole(t *testing.T) {
	src := testdisk.New(t, testdisk.Options{MountOptions: "compress-force=zstd"})
	must(t, btrfs.Create(src.Path, "home"))
	w := newWorldOn(t, src, testdisk.New(t, testdisk.Options{}))
	lengthen := func(name string) {
		w.write(name, strings.Repeat("a", 2048))
		must(t, btrfs.Sync(w.source()))
		f, err := os.OpenFile(filepath.Join(w.source(), name), os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		must(t, unix.Fallocate(int(f.Fd()), 0, 2048, 2048))
	}
	arrives := func(name string) {
		t.Helper()
		r := w.mustRun()
		st, err := os.Stat(w.path(0, filepath.Join(r.Snapshot, name)))
		must(t, err)
		if st.Size() != 4096 {
			t.Errorf("%s arrived with %d bytes: %+v", name, st.Size(), r)
		}
		w.verify()
	}
	lengthen("full")
	arrives("full")
	lengthen("incremental")
	arrives("incremental")
}
