package jobs_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// TROUBLE 35: the source is the top level of a file system that mkfs.btrfs before 4.16 has made: it has no UUID, and its snapshots have no parent. They lie inside it.
func TestTopLevelWithoutUUID(t *testing.T) {
	t.Parallel()
	src := testdisk.New(t, testdisk.Options{MountOptions: "noatime", Mkfs: []string{"-m", "single"}})
	src.Unmount()
	clearTopLevelUUID(t, src.Image)
	src.Mount("noatime")
	if top, err := btrfs.Info(src.Path); err != nil || !top.UUID.IsZero() {
		t.Fatalf("%+v, %v", top, err)
	}
	must(t, btrfs.Create(src.Path, "home"))
	w := newWorldOn(t, src, testdisk.New(t, testdisk.Options{MountOptions: "noatime"}))
	must(t, btrfs.Snapshot(w.source(), src.Path, "of another", true))
	w.job.Source, w.job.SnapshotDir = src.Path, filepath.Join(src.Path, config.DefaultSnapshotDir)
	w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 2}, config.Keep{Last: 2}
	w.write("a", "1")
	last := w.mustRun().Snapshot
	// Somebody else's, without a parent either.
	must(t, btrfs.Create(w.job.SnapshotDir, "foreign"))
	must(t, btrfs.SetReadOnly(filepath.Join(w.job.SnapshotDir, "foreign")))
	for range 3 {
		w.write("a", w.now.String())
		if p := w.runner.Plan(t.Context(), w.placed(), w.clock()); len(p.Transfers) != 1 || p.Transfers[0].Parent != last {
			t.Errorf("planned %+v, want it against %s", p, last)
		}
		last = w.incremental(last).Snapshot
	}
	if got := w.snapshots(); len(got) != 2 || got[1] != last {
		t.Errorf("snapshots %v", got)
	}
	w.job.OnlyIfChanged = true
	if r := w.mustRun(); !r.Unchanged {
		t.Errorf("%+v", r)
	}
	for _, name := range []string{filepath.Join(config.DefaultSnapshotDir, "foreign"), "of another"} {
		if _, err := btrfs.Info(filepath.Join(src.Path, name)); err != nil {
			t.Error(err)
		}
	}
}

// clearTopLevelUUID takes the UUID out of the root item of tree 5, wherever a node has one. For the layout of nodes see
// struct btrfs_header, btrfs_item and btrfs_root_item in linux/btrfs_tree.h.
func clearTopLevelUUID(t *testing.T, image string) {
	t.Helper()
	const nodeSize, header, item, uuid = 16 << 10, 101, 25, 247
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	super := make([]byte, 4096)
	_, err = f.ReadAt(super, 64<<10)
	must(t, err)
	st, err := f.Stat()
	must(t, err)
	key := append(binary.LittleEndian.AppendUint64(nil, 5), 132, 0, 0, 0, 0, 0, 0, 0, 0)
	changed := 0
	for at := int64(1 << 20); at < min(st.Size(), 128<<20); at += 4096 {
		node := make([]byte, nodeSize)
		_, err := f.ReadAt(node, at)
		must(t, err)
		if !bytes.Equal(node[32:48], super[32:48]) || binary.LittleEndian.Uint64(node[88:]) != 1 || node[100] != 0 {
			continue
		}
		for i := range int(binary.LittleEndian.Uint32(node[96:])) {
			if it := node[header+i*item:]; bytes.Equal(it[:17], key) {
				data := node[header+int(binary.LittleEndian.Uint32(it[17:])):]
				clear(data[uuid : uuid+16])
				binary.LittleEndian.PutUint32(node, crc32.Checksum(node[32:], crc32.MakeTable(crc32.Castagnoli)))
				_, err = f.WriteAt(node, at)
				must(t, err)
				changed++
			}
		}
	}
	if changed == 0 {
		t.Fatal("no root item of the top level")
	}
}

// TROUBLE 36: the destination began as a copy of the source's disk, made with dd: everything there has the UUIDs that it has here. With a file system UUID of its own, and with
// the same one, where the kernel mounts both.
func TestDestinationIsACopyOfTheDisk(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"TROUBLE 36: another fsid":               {"-m"},
		"TROUBLE 36: another fsid in every node": {"-f", "-u"},
		"TROUBLE 36: the same fsid":              nil,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 2}, config.Keep{Last: 2}
			w.write("a", "1")
			w.mustRun()
			w.src.Unmount()
			image := filepath.Join(t.TempDir(), "copy.img")
			if out, err := exec.Command("cp", "--sparse=always", w.src.Image, image).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if args != nil {
				if out, err := exec.Command("btrfstune", append(args, image)...).CombinedOutput(); err != nil {
					t.Fatalf("btrfstune: %v: %s", err, out)
				}
			}
			w.src.Mount("noatime")
			copied := testdisk.OpenImage(t, image)
			if err := copied.TryMount("noatime"); err != nil {
				if args == nil {
					t.Skipf("this kernel refuses two of one UUID: %v", err)
				}
				t.Fatal(err)
			}
			// Beside the copies of the snapshots, and among them.
			for _, dir := range []string{"backups", "home/" + config.DefaultSnapshotDir} {
				w.job.Destinations[0].URL = filepath.Join(copied.Path, dir)
				before, err := btrfs.List(copied.Path)
				must(t, err)
				w.write("a", w.now.String())
				r := w.run()
				for _, tr := range r.Transfers { // the name of an older one may be in the way, but nothing is deleted or taken for what it is not
					if tr.Result != jobs.ResultOK && !strings.Contains(tr.Error, "taken by another subvolume") {
						t.Errorf("%s: %+v", dir, tr)
					}
				}
				w.write("a", w.now.String())
				r = w.run()
				tr := r.Transfers[len(r.Transfers)-1]
				if tr.Result != jobs.ResultOK || tr.Snapshot != r.Snapshot || tr.Parent == "" {
					t.Errorf("%s: %+v", dir, tr)
				}
				diffs, err := testdisk.Compare(filepath.Join(w.job.SnapshotDir, r.Snapshot), w.path(0, r.Snapshot))
				if must(t, err); len(diffs) > 0 {
					t.Errorf("%s: %v", dir, diffs)
				}
				after, err := btrfs.List(copied.Path)
				must(t, err)
				for _, v := range before {
					if !slices.ContainsFunc(after, func(a btrfs.Subvolume) bool { return a.UUID == v.UUID }) {
						t.Errorf("%s: %s was deleted", dir, v.Name)
					}
				}
			}
		})
	}
}

// TROUBLE 38: thousands of subvolumes on the file system, quotas on, and most of them deleted by one prune.
func TestThousandsOfSubvolumes(t *testing.T) {
	t.Parallel()
	others, old := 300, 150
	if os.Getenv("BTRKEEP_LONG") != "" {
		others, old = 2500, 1200
	}
	w := newWorld(t, 1)
	w.write("a", "1")
	w.mustRun()
	btrfsProgram(t, "quota", "enable", w.src.Path)
	elsewhere := filepath.Join(w.src.Path, "others")
	must(t, os.Mkdir(elsewhere, 0o700))
	for i := range others {
		must(t, btrfs.Create(elsewhere, fmt.Sprint(i)))
	}
	var entries []catalog.Entry
	for i := range old {
		taken := w.now.Add(time.Duration(i) * time.Minute)
		name := w.job.NameFormat.Format(taken, time.UTC) + "-old"
		must(t, btrfs.Snapshot(w.source(), w.job.SnapshotDir, name, true))
		v, err := btrfs.Info(filepath.Join(w.job.SnapshotDir, name))
		must(t, err)
		entries = append(entries, catalog.Entry{UUID: v.UUID, Name: name, Taken: taken, Ctransid: v.Ctransid})
	}
	must(t, catalog.Add(w.job.SnapshotDir, entries...))
	w.pass(time.Duration(old) * time.Minute)
	w.job.Keep = config.Keep{Last: 3}
	w.job.Destinations[0].Keep = config.Keep{Last: 1}
	start := time.Now()
	w.write("a", "2")
	r := w.mustRun()
	took := time.Since(start)
	if n := len(r.Pruned); n < old-3 {
		t.Errorf("%d were pruned", n)
	}
	if got := w.snapshots(); len(got) != 3 || got[2] != r.Snapshot {
		t.Errorf("snapshots %v", got)
	}
	all, err := btrfs.List(w.src.Path)
	must(t, err)
	if len(all) != others+len(w.snapshots())+1 {
		t.Errorf("%d subvolumes are left", len(all))
	}
	t.Logf("%d of %d subvolumes deleted in %s", len(r.Pruned), others+old, took)
	if took > time.Duration(old)*50*time.Millisecond+10*time.Second {
		t.Errorf("the run took %s", took)
	}
	start = time.Now()
	w.incremental("")
	t.Logf("the next run took %s", time.Since(start))
}
