package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// The names of contestants begin with these.
const (
	nameBtrkeep = "btrkeep"
	namePipe    = "pipe"
)

// transfer measures whole transfers, each from cold caches until the data is on the disk.
func (b *bench) transfer(w workload) {
	if !b.wants("transfer", w.title) {
		return
	}
	c := b.newCourse(w)
	native := c.btrkeep(b.btrkeep, nameBtrkeep, "native")
	c.changeSince(func() { spend(c.t, native.argv) })
	contestants := []contestant{
		native,
		c.btrkeep(b.btrkeep, nameBtrkeep+" with btrfs-progs", "btrfs-progs"),
		c.pipe(namePipe, ""),
	}
	if w.compressible {
		contestants = append(contestants, c.pipe(namePipe+" with --compressed-data", "--proto 2 --compressed-data"))
	}
	b.report.Transfers = append(b.report.Transfers, row{Title: w.title, Bytes: w.bytes(), Results: alternate(b.t, b.runs, contestants...)})
	c.close()
}

// btrkeep is its whole run with one of its receivers.
func (c *course) btrkeep(program, name, receiver string) contestant {
	config := filepath.Join(c.dir, receiver+".toml")
	text := c.globals() + fmt.Sprintf("receiver = %q\n[jobs.data]\nsource = %q\nsnapshot_dir = %q\ndestination = %q\nschedule = \"@hourly\"\nkeep = { last = 10 }\n",
		receiver, c.source, c.snapshots, c.backups)
	must(c.t, os.WriteFile(config, []byte(text), 0o600))
	return contestant{name: name, argv: []string{program, "-c", config, "run"}, prepare: c.clear, check: c.check()}
}

// pipe is what a careful person types. Its snapshot is made beforehand and timed on its own: a run of btrkeep includes it.
func (c *course) pipe(name, options string) contestant {
	const script = `set -eo pipefail; btrfs send -q $1 "$2/snapshot" | btrfs receive -q "$3"; sync -f "$3"`
	if c.base != "" {
		options += " -p " + filepath.Join(c.snapshots, c.base)
	}
	return contestant{
		name: name, prepare: c.clear, check: c.check(),
		argv:     []string{"bash", "-c", script, "bash", options, c.snapshots, c.backups},
		snapshot: []string{"btrfs", "subvolume", "snapshot", "-r", c.source, c.snapshots + "/snapshot"},
	}
}
