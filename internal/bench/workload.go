package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// workload is what is sent and received: a subvolume in full, or what was changed in it since.
type workload struct {
	data
	title   string
	changed int    // files, after the others were sent; 0 is a full send
	options string // of mount
}

func (w workload) bytes() int64 {
	if w.changed > 0 {
		return int64(w.changed) * w.size
	}
	return w.data.bytes()
}

// workloads are those that sending and receiving differ by: by the byte, by the file, by the change, and by the compressed extent.
func (b *bench) workloads() []workload {
	large, small, changed := data{files: 4, size: 256 << 20}, data{files: 50_000, size: 4096}, 5000
	if b.short {
		large.size, small.files, changed = 8<<20, 500, 50
	}
	compressed := large
	compressed.compressible = true
	files := func(d data, size string) string { return fmt.Sprintf("%d files of %s", d.files, size) }
	mebi := fmt.Sprintf("%d MiB", large.size>>20)
	return []workload{
		{title: files(large, mebi), data: large},
		{title: files(small, "4 KiB"), data: small},
		{title: fmt.Sprintf("%d changes in %s", changed, files(small, "4 KiB")), data: small, changed: changed},
		{title: files(large, mebi) + ", disks with compress=zstd", data: compressed, options: ",compress=zstd"},
	}
}

// receiveWorkloads has more of what a receiver differs by: data that lies in the inode needs no flush.
func (b *bench) receiveWorkloads() []workload {
	all := b.workloads()
	tiny := all[1].data
	tiny.size = 200
	return slices.Insert(all, 2, workload{title: fmt.Sprintf("%d files of %d bytes", tiny.files, tiny.size), data: tiny})
}

// course is where a workload is run over and over: from a source, by way of snapshots, into backups.
type course struct {
	*pair
	workload
	source, snapshots, backups, state string
	base                              string // name of the snapshot and the backup that the changes are against; "" if there is none
}

func (b *bench) newCourse(w workload) *course {
	p := b.newPair(w.options)
	c := &course{
		pair: p, workload: w,
		source: p.src.Path + "/data", snapshots: p.src.Path + "/snapshots", backups: p.dst.Path + "/backups", state: p.dir + "/state",
	}
	must(b.t, btrfs.Create(p.src.Path, filepath.Base(c.source)))
	must(b.t, fill(c.source, w.data))
	must(b.t, os.Mkdir(c.snapshots, 0o700))
	must(b.t, os.Mkdir(c.backups, 0o700))
	return c
}

// changeSince makes the changes, if there are any, once what makes a base has made it.
func (c *course) changeSince(makeBase func()) {
	if c.changed == 0 {
		return
	}
	makeBase()
	base := c.only(c.backups)
	if c.only(c.snapshots) != base {
		c.t.Fatalf("the first snapshot is not called %s", base)
	}
	c.base = base
	must(c.t, change(c.source, c.data, c.changed))
}

// only gives the name of the one subvolume in dir that is not the base.
func (c *course) only(dir string) string {
	var found []string
	for _, name := range c.subvolumes(dir) {
		if name != c.base || c.base == "" {
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		c.t.Fatalf("%s has %q, want one subvolume", dir, found)
	}
	return found[0]
}

// clear forgets all that was made of the source since the base, and all that was read.
func (c *course) clear() {
	must(c.t, os.RemoveAll(c.state))
	c.deleteAll(c.snapshots, c.base)
	c.clearBackups()
}

// clearBackups is clear for the destination.
func (c *course) clearBackups() {
	if c.base != "" {
		c.deleteAll(c.backups, c.base)
		c.cold()
		return
	}
	c.empty()
	must(c.t, os.Mkdir(c.backups, 0o700))
}

// check has the first backup of one contestant compared with the source, every file's content included.
func (c *course) check() func() {
	compared := false
	return func() {
		name := c.only(c.backups)
		if compared {
			return
		}
		compared = true
		c.compare(c.source, filepath.Join(c.backups, name))
	}
}

func (c *course) compare(source, backup string) {
	diffs, err := testdisk.Compare(source, backup)
	must(c.t, err)
	if len(diffs) > 0 {
		c.t.Fatalf("the backup is not the source: %s", diffs[0])
	}
}
