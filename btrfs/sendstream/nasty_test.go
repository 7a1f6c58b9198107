package sendstream

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// change is what becomes of a tree between two snapshots.
type change struct {
	before, after func(scene)
	sent          []string // patterns for wantSent, of the stream of the change; those with "full: " of the stream of what was before
}

// The incremental sends that went wrong in one kernel or receiver or another in the last ten years arrive as they were sent, and as btrfs receive would
// have them.
func TestReceiveNasty(t *testing.T) {
	w := newTwins(t)
	w.compress(t, "zstd")
	all := maps.Clone(nastyNames)
	maps.Copy(all, nastyData)
	maps.Copy(all, nastyMetadata)
	for name, test := range all {
		t.Run(name, func(t *testing.T) {
			w.incremental(t, func(root string) { test.before(scene{t, root}) }, func(root string) string { test.after(scene{t, root}); return root }, test.sent...)
		})
	}
	// The highest inode numbers, free again, are given out anew only where the file system was mounted or the subvolume made since.
	t.Run("inode numbers used again", func(t *testing.T) {
		w.incremental(t, func(root string) {
			s := scene{t, root}
			s.mkdir("d")
			s.file(3000, "f", "d/g", "z")
			s.mkdir("d/last")
		}, func(root string) string {
			s := scene{t, root}
			s.remove("d/last", "z", "d/g")
			ok(t, btrfs.Snapshot(root, w.source, "again", false))
			s.root = filepath.Join(w.source, "again")
			s.mkdir("d/file becomes directory")
			s.file(4000, "d/last", "z2")
			s.move("f", "z")
			return s.root
		}, "rename z path_to=o…", "link z path_link=f", "unlink d/g", `mkdir o\S+ ino=259`, "unlink o…", `mkfile o\S+ ino=260`, "rename d/last path_to=o…", "rmdir o…", `mkfile o\S+ ino=261`)
	})
	// A parent that is no ancestor: all that they share is extents.
	t.Run("unrelated parent", func(t *testing.T) {
		w.incremental(t, func(root string) {
			s := scene{t, root}
			s.mkdir("d")
			s.file(100_000, "f", "d/g")
		}, func(root string) string {
			ok(t, btrfs.Create(w.source, "again"))
			s := scene{t, w.source}
			s.mkdir("again/f")
			s.clone("source/d/g", 0, 0, "again/f/g", 0)
			s.clone("source/f", 4096, 8192, "again/d", 0)
			return s.at("again")
		}, "rename d path_to=o…", `mkdir o\S+ ino=257`, "clone f/g .*clone_path=d/g clone_offset=0 clone_len=100000", "rmdir o…", "clone d .*clone_path=f clone_offset=4096 clone_len=8192")
	})
}

// incremental makes a subvolume, has it filled and changed with a snapshot after each, and sends those in every way. change gives the subvolume that the
// second is taken of: the same, or one called again; sent is what the streams must have in them.
func (w *twins) incremental(t *testing.T, fill func(root string), change func(root string) string, sent ...string) {
	t.Helper()
	ok(t, btrfs.Create(w.source, "source"))
	defer func() {
		for _, name := range []string{"source", "again", "first", "second"} {
			remove(t, w.source, name)
		}
	}()
	root := filepath.Join(w.source, "source")
	fill(root)
	ok(t, btrfs.Snapshot(root, w.source, "first", true))
	root = change(root)
	ok(t, btrfs.Snapshot(root, w.source, "second", true))
	for _, how := range sendings {
		chain, err := w.send(t, []snapshotOf{{"first", -1}, {"second", 0}}, how)
		ok(t, err)
		var full, changed []string
		for _, pattern := range sent {
			if pattern, isFull := strings.CutPrefix(pattern, "full: "); isFull {
				full = append(full, pattern)
			} else {
				changed = append(changed, pattern)
			}
		}
		wantSent(t, full, how.name, chain[0].stream)
		wantSent(t, changed, how.name, chain[1].stream)
		if accepted, said := w.apply(t, chain); accepted < len(chain) {
			t.Errorf("%s: refused: %s", how.name, said)
		}
		if *update && how.version == 2 && !how.compressed && len(chain[0].stream)+len(chain[1].stream) < 16<<10 {
			keep(t, filepath.Join(keptDir, strings.NewReplacer("_", "-", ",", "").Replace(filepath.Base(t.Name()))), chain)
		}
	}
}

// About 2,000 subvolumes can be entered under one received UUID. The parent is found among more than that, and what cannot be entered is an error and
// not a backup. (With nodes of 4 KiB it is about 480, which takes less time.)
func TestReceiverManyWithOneReceivedUUID(t *testing.T) {
	first, second, full, incremental := chain(t)
	count, options := 520, testdisk.Options{InMemory: true, Mkfs: []string{"-n", "4096"}}
	if os.Getenv("BTRKEEP_LONG") != "" {
		count, options.Mkfs = 2100, nil
	}
	disk := testdisk.New(t, options).Path
	dir := filepath.Join(disk, "backups")
	ok(t, os.Mkdir(dir, 0o700))
	ok(t, receive(dir, "first", full))
	for n := range count { // snapshots of a received one are received ones as well
		ok(t, btrfs.Snapshot(filepath.Join(dir, "first"), disk, fmt.Sprint(n), true))
	}
	ok(t, receive(dir, "second", incremental))
	wantBackup(t, first, filepath.Join(dir, "first"))
	wantBackup(t, second, filepath.Join(dir, "second"))
	if err := receive(dir, "again", full); !errors.Is(err, unix.EOVERFLOW) {
		t.Errorf("one more: %v", err)
	}
	wantIncomplete(t, filepath.Join(dir, "again"))
	ok(t, os.WriteFile(filepath.Join(dir, "file"), []byte("the file system lives"), 0o600))
	ok(t, btrfs.Sync(dir))
}
