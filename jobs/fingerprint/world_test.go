package fingerprint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs/fingerprint"
)

func TestMain(m *testing.M) { testdisk.Main(m) }

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a live subvolume and a disk with its backups.
type world struct {
	t            testing.TB
	live, source string
	target       string
	version      int  // of the protocol
	direct       bool // a backup is a snapshot: with the holes that a send has not
	snapshots    []btrfs.Subvolume
	backups      []btrfs.Subvolume
	store        fingerprint.Store
}

func newWorld(t testing.TB, o testdisk.Options) *world {
	w := &world{t: t, source: testdisk.New(t, o).Path, target: testdisk.New(t, o).Path, version: 2}
	ok(t, btrfs.Create(w.source, "live"))
	w.live = filepath.Join(w.source, "live")
	w.store = fingerprint.In(w.target)
	return w
}

func (w *world) in(name string) string { return filepath.Join(w.live, name) }

// path is that of a backup.
func (w *world) path(n int) string { return filepath.Join(w.target, fmt.Sprint("b", n)) }

// backup makes the next one, on top of the one before, and returns its number.
func (w *world) backup() int {
	w.t.Helper()
	n := len(w.backups)
	if w.direct {
		return w.snapshot(n)
	}
	snapshot := fmt.Sprint("s", n)
	ok(w.t, btrfs.Snapshot(w.live, w.source, snapshot, true))
	info, err := btrfs.Info(filepath.Join(w.source, snapshot))
	ok(w.t, err)
	send := btrfs.Send{Subvolume: filepath.Join(w.source, snapshot), Version: w.version, Compressed: w.version == 2 && n%2 == 0}
	if n > 0 {
		send.Parent = w.snapshots[n-1].ID
	}
	stream, err := send.Start(w.t.Context())
	ok(w.t, err)
	ok(w.t, sendstream.Receiver{}.Receive(w.t.Context(), w.target, fmt.Sprint("b", n), stream))
	ok(w.t, stream.Close())
	ok(w.t, btrfs.Sync(w.target))
	made, err := btrfs.Info(w.path(n))
	ok(w.t, err)
	w.snapshots, w.backups = append(w.snapshots, info), append(w.backups, made)
	return n
}

// newDirect is a world whose backups are snapshots.
func newDirect(t testing.TB, o testdisk.Options) *world { return onDisk(t, testdisk.New(t, o)) }

func onDisk(t testing.TB, d *testdisk.Disk) *world {
	disk := d.Path
	ok(t, btrfs.Create(disk, "live"))
	return &world{t: t, source: disk, target: disk, live: filepath.Join(disk, "live"), store: fingerprint.In(disk), direct: true}
}

func (w *world) snapshot(n int) int {
	ok(w.t, btrfs.Snapshot(w.live, w.target, fmt.Sprint("b", n), true))
	info, err := btrfs.Info(w.path(n))
	ok(w.t, err)
	w.backups = append(w.backups, info)
	return n
}

// base is what Make is told of backup n's parent.
func (w *world) base(n int) *fingerprint.Base {
	if n == 0 {
		return nil
	}
	b := w.backups[n-1]
	return &fingerprint.Base{UUID: b.UUID, Since: b.Ctransid}
}

func (w *world) make(n int) fingerprint.Summary {
	w.t.Helper()
	s, err := w.store.Make(w.t.Context(), w.path(n), w.backups[n], w.base(n), fingerprint.Options{})
	ok(w.t, err)
	return s
}

// next makes a backup and its fingerprint.
func (w *world) next() fingerprint.Summary {
	w.t.Helper()
	return w.make(w.backup())
}

// whole is a store in which the fingerprint of backup n was made from nothing.
func (w *world) whole(n int) fingerprint.Store {
	w.t.Helper()
	s := fingerprint.Store{Dir: filepath.Join(w.target, "alone")}
	_, err := s.Make(w.t.Context(), w.path(n), w.backups[n], nil, fingerprint.Options{})
	ok(w.t, err)
	return s
}

func (w *world) verify(path string, n int) []string {
	w.t.Helper()
	return verify(w.t, w.store, path, w.backups[n].UUID)
}

func verify(t testing.TB, s fingerprint.Store, path string, of btrfs.UUID) []string {
	t.Helper()
	var found []string
	r, err := s.Verify(t.Context(), path, of, fingerprint.VerifyOptions{Parts: 1}, func(d fingerprint.Difference) {
		found = append(found, d.Path+": "+d.What)
	})
	ok(t, err)
	if !r.Complete {
		t.Errorf("the comparison ended early: %+v", r)
	}
	return found
}

func (w *world) root(n int) string {
	w.t.Helper()
	sum, err := w.store.Root(w.backups[n].UUID)
	ok(w.t, err)
	return fmt.Sprintf("%x", sum)
}

func write(t testing.TB, path string, data []byte, offset int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	ok(t, err)
	_, err = f.WriteAt(data, offset)
	ok(t, err)
	ok(t, f.Close())
}
