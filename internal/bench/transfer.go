package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// transfers measures full transfers, each from cold caches to an empty disk, until the data is on that disk.
func (b *bench) transfers() {
	large, small := data{files: 1, size: 1 << 30}, data{files: 30_000, size: 4096}
	if b.short {
		large.size, small.files = 32<<20, 500
	}
	compressed := large
	compressed.compressible = true
	b.transfer(fmt.Sprintf("1 file of %d MiB", large.size>>20), "", large)
	b.transfer(fmt.Sprintf("%d files of 4 KiB", small.files), "", small)
	b.transfer(fmt.Sprintf("1 file of %d MiB, disks with compress=zstd", large.size>>20), ",compress=zstd", compressed)
}

// course is where one transfer is made after the other: of a source, by way of snapshots, into backups.
type course struct {
	*pair
	source, snapshots, backups string
	config, state              string
}

func (b *bench) transfer(title, options string, d data) {
	if !b.wants(title) {
		return
	}
	b.say("%s", title)
	p := b.newPair(options)
	c := course{
		pair: p, source: p.src.Path + "/data", snapshots: p.src.Path + "/snapshots", backups: p.dst.Path + "/backups",
		config: p.dir + "/btrkeep.toml", state: p.dir + "/state",
	}
	c.make(d)
	job := fmt.Sprintf("[jobs.data]\nsource = %q\nsnapshot_dir = %q\ndestination = %q\nschedule = \"@hourly\"\nkeep = { last = 1 }\n", c.source, c.snapshots, c.backups)
	must(b.t, os.WriteFile(c.config, []byte(b.globals(p)+job), 0o600))
	contestants := []contestant{
		{name: "btrkeep", argv: []string{b.btrkeep, "-c", c.config, "run"}, prepare: c.clear, check: c.check()},
		c.pipe("pipe", ""),
	}
	if d.compressible {
		contestants = append(contestants, c.pipe("pipe with --compressed-data", "--proto 2 --compressed-data"))
	}
	b.report.Transfers = append(b.report.Transfers, row{Title: title, Bytes: d.bytes(), Results: alternate(b.t, b.runs, contestants...)})
	p.close()
}

// make makes what is transferred.
func (c course) make(d data) {
	must(c.t, btrfs.Create(c.src.Path, filepath.Base(c.source)))
	must(c.t, fill(c.source, d))
	must(c.t, os.Mkdir(c.snapshots, 0o700))
}

// clear forgets all that was made of the source, and all that was read of it.
func (c course) clear() {
	c.deleteAll(c.snapshots)
	must(c.t, os.RemoveAll(c.state))
	c.cold()
	must(c.t, os.Mkdir(c.backups, 0o700))
}

// pipe is what a careful person types. Its snapshot is made beforehand and timed on its own: a run of btrkeep includes it.
func (c course) pipe(name, options string) contestant {
	const script = `set -eo pipefail; btrfs send -q $1 "$2/snapshot" | btrfs receive -q "$3"; sync -f "$3"`
	return contestant{
		name: name, prepare: c.clear, check: c.check(),
		argv:     []string{"bash", "-c", script, "bash", options, c.snapshots, c.backups},
		snapshot: []string{"btrfs", "subvolume", "snapshot", "-r", c.source, c.snapshots + "/snapshot"},
	}
}

// check has the first backup of one contestant compared with the source, every file's content included.
func (c course) check() func() {
	compared := false
	return func() {
		names := c.subvolumes(c.backups)
		if len(names) != 1 {
			c.t.Fatalf("%d backups were made in one run", len(names))
		}
		if compared {
			return
		}
		compared = true
		diffs, err := testdisk.Compare(c.source, filepath.Join(c.backups, names[0]))
		must(c.t, err)
		if len(diffs) > 0 {
			c.t.Fatalf("the backup is not the source: %s", diffs[0])
		}
	}
}
