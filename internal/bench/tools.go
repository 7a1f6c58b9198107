package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/btrkeep/btrkeep/btrfs"
)

// plan is what both tools are configured for, with the same retention at source and destination.
type plan struct {
	volumes  int
	onChange bool // no snapshot where nothing has changed; else a new one, and so an empty transfer, each time
	keepAll  bool // else the newest one
}

// tool is btrkeep or btrbk with its part of a pair of disks.
type tool struct {
	*pair
	name    string
	argv    []string // of one run
	config  string   // file
	sources string   // directory of the volumes
	backups string   // pattern of the names of all backups
	text    func(plan) string
}

func volume(i int) string { return fmt.Sprintf("vol%d", i) }

// globals begins each configuration of btrkeep.
func (p *pair) globals() string {
	return fmt.Sprintf("state_dir = %q\nruntime_dir = %q\n", p.dir+"/state", p.dir+"/run")
}

// newBtrkeep has it as most people do: snapshots inside their source, all jobs in one call, everything else as it comes.
func (b *bench) newBtrkeep(p *pair) *tool {
	t := &tool{pair: p, name: "btrkeep", config: p.dir + "/btrkeep.toml", sources: p.src.Path + "/btrkeep", backups: p.dst.Path + "/btrkeep/*/[^.]*"}
	t.argv = []string{b.btrkeep, "-c", t.config, "run"}
	t.text = func(w plan) string {
		keep := 1
		if w.keepAll {
			keep = 1_000_000
		}
		var c strings.Builder
		c.WriteString(p.globals())
		fmt.Fprintf(&c, "[defaults]\nschedule = \"@hourly\"\nonly_if_changed = %t\nkeep = { last = %d }\n", w.onChange, keep)
		for i := range w.volumes {
			name := volume(i + 1)
			fmt.Fprintf(&c, "[jobs.%s]\nsource = %q\ndestination = %q\n", name, t.sources+"/"+name, p.dst.Path+"/btrkeep/"+name)
		}
		return c.String()
	}
	return t
}

// newBtrbk has snapshots in a directory beside their sources, as its manual does.
func (b *bench) newBtrbk(p *pair) *tool {
	t := &tool{pair: p, name: "btrbk", config: p.dir + "/btrbk.conf", sources: p.src.Path + "/btrbk", backups: p.dst.Path + "/btrbk/*"}
	t.argv = []string{"btrbk", "-q", "-c", t.config, "run"}
	t.text = func(w plan) string {
		create, keep := "always", "snapshot_preserve_min latest\nsnapshot_preserve no\ntarget_preserve_min latest\ntarget_preserve no\n"
		if w.onChange {
			create = "onchange"
		}
		if w.keepAll {
			keep = "snapshot_preserve_min all\ntarget_preserve_min all\n"
		}
		var c strings.Builder
		fmt.Fprintf(&c, "timestamp_format long-iso\nlockfile %s.lock\nsnapshot_create %s\n%s", t.config, create, keep)
		fmt.Fprintf(&c, "volume %s\n  snapshot_dir snapshots\n  target %s\n", t.sources, filepath.Dir(t.backups))
		for i := range w.volumes {
			fmt.Fprintf(&c, "  subvolume %s\n", volume(i+1))
		}
		return c.String()
	}
	return t
}

// configure writes the configuration, and makes the volumes that are missing: a few small files each.
func (t *tool) configure(w plan) {
	must(t.t, os.MkdirAll(t.sources+"/snapshots", 0o700))
	must(t.t, os.MkdirAll(filepath.Join(t.dst.Path, t.name), 0o700))
	for i := range w.volumes {
		dir := filepath.Join(t.sources, volume(i+1))
		if _, err := os.Stat(dir); err == nil {
			continue
		}
		must(t.t, btrfs.Create(t.sources, volume(i+1)))
		must(t.t, fill(dir, data{files: 50, size: 2000}))
	}
	must(t.t, os.WriteFile(t.config, []byte(t.text(w)), 0o600))
}

// have lists the backups.
func (t *tool) have() []string {
	names, err := filepath.Glob(t.backups)
	must(t.t, err)
	return names
}
