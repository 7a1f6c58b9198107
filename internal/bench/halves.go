package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/btrkeep/btrkeep/btrfs"
)

// readAhead is what btrkeep's transfers read ahead.
const readAhead = 16 << 20

// receive measures both receivers, fed with the same stream from memory: until the data is on the disk, and with many files also until they are done with what is then in the
// kernel's hands. With them goes the least that a receiver can do, where that knows the stream.
func (b *bench) receive(w workload) {
	if !b.wants("receive", w.title) {
		return
	}
	c := b.newCourse(w)
	stream := c.makeStream()
	for _, synced := range []bool{true, false} {
		if !synced && w.files < 100 {
			continue // a large stream has a checkpoint in it, with a sync of its own
		}
		own, script, title := []string{b.self, "receive"}, `btrfs receive -q -f "$1" "$2"`, w.title
		if synced {
			script = "set -e; " + script + `; sync -f "$2"`
		} else {
			own, title = append(own, "-unsynced"), title+", without its sync"
		}
		run := func(name string, argv ...string) contestant {
			return contestant{name: name, argv: argv, prepare: c.clearBackups, check: c.check()}
		}
		contestants := []contestant{
			run("native", slices.Concat(own, []string{c.backups, stream})...),
			run("btrfs receive", "bash", "-c", script, "bash", stream, c.backups),
		}
		if c.base == "" && !c.compressible {
			contestants = append(contestants, run("bare calls", slices.Concat(own, []string{"-bare", c.backups, stream})...))
		}
		b.report.Receives = append(b.report.Receives, row{Title: title, Bytes: size(b.t, stream), Results: alternate(b.t, b.runs, contestants...)})
	}
	c.close()
}

// makeStream makes the snapshots and brings the base, if there is one, to the destination. It gives the file with the stream of the rest.
func (c *course) makeStream() string {
	c.changeSince(func() {
		base := c.file("base", c.snapshot("base"))
		must(c.t, receiving{dir: c.backups}.file(c.t.Context(), "base", base))
		must(c.t, os.Remove(base))
	})
	return c.file("stream", c.snapshot("snapshot"))
}

// snapshot makes a snapshot of the source, and describes the sending of it.
func (c *course) snapshot(name string) btrfs.Send {
	must(c.t, btrfs.Snapshot(c.source, c.snapshots, name, true))
	s := btrfs.Send{Subvolume: filepath.Join(c.snapshots, name), Version: 1}
	if c.compressible {
		s.Version, s.Compressed = 2, true
	}
	if c.base != "" {
		base, err := btrfs.Info(filepath.Join(c.snapshots, c.base))
		must(c.t, err)
		s.Parent = base.ID
	}
	return s
}

// file writes a stream to a file in memory.
func (c *course) file(name string, s btrfs.Send) string {
	path := filepath.Join(c.dir, "run", name)
	file, err := os.Create(path)
	must(c.t, err)
	stream, err := s.Start(c.t.Context())
	must(c.t, err)
	_, err = io.Copy(file, stream)
	must(c.t, errors.Join(err, stream.Close(), file.Close()))
	return path
}

func size(t interface{ Fatal(...any) }, path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}

// send measures sends from cold caches to nobody, with and without reading ahead.
func (b *bench) send(w workload) {
	if !b.wants("send", w.title) {
		return
	}
	c := b.newCourse(w)
	c.changeSince(func() {
		must(b.t, receiving{dir: c.backups}.file(b.t.Context(), "base", c.file("base", c.snapshot("base"))))
	})
	s := c.snapshot("snapshot")
	c.sends(b, w.title, s)
	if s.Compressed {
		// The kernel reads compressed data around the page cache only if it is to stay so.
		s.Version, s.Compressed = 1, false
		c.sends(b, w.title+", decompressed", s)
	}
	c.close()
}

func (c *course) sends(b *bench, title string, s btrfs.Send) {
	argv := func(ahead int) []string {
		return []string{
			b.self, "send", fmt.Sprintf("-parent=%d", s.Parent), fmt.Sprintf("-proto=%d", s.Version), fmt.Sprintf("-compressed=%t", s.Compressed),
			fmt.Sprintf("-ahead=%d", ahead), s.Subvolume,
		}
	}
	b.report.Sends = append(b.report.Sends, row{Title: title, Bytes: c.bytes(), Results: alternate(b.t, b.runs,
		contestant{name: "read ahead", argv: argv(readAhead), prepare: c.cold, check: func() {}},
		contestant{name: "kernel alone", argv: argv(0), prepare: c.cold, check: func() {}},
	)})
}

// together measures two receives into one file system, side by side and one after the other.
func (b *bench) together(w workload) {
	if w.changed > 0 || !b.wants("two receives", w.title) {
		return
	}
	c := b.newCourse(w)
	streams := []string{c.file("first", c.snapshot("first")), c.file("second", c.snapshot("second"))}
	check := func() {
		if n := len(c.subvolumes(c.backups)); n != 2 {
			b.t.Fatalf("%d backups were made of 2 streams", n)
		}
	}
	argv := func(together bool) []string {
		return append([]string{b.self, "receive", fmt.Sprintf("-together=%t", together), c.backups}, streams...)
	}
	b.report.Together = append(b.report.Together, row{
		Title: "two times " + w.title, Bytes: size(b.t, streams[0]) + size(b.t, streams[1]), Results: alternate(b.t, b.runs,
			contestant{name: "side by side", argv: argv(true), prepare: c.clearBackups, check: check},
			contestant{name: "one after the other", argv: argv(false), prepare: c.clearBackups, check: check},
		),
	})
	c.close()
}

// diff measures what tells the changes between two snapshots against the send that it is made of, to nobody and without the data.
func (b *bench) diff(w workload) {
	if w.changed == 0 || !b.wants("diff", w.title) {
		return
	}
	c := b.newCourse(w)
	c.changeSince(func() {
		must(b.t, receiving{dir: c.backups}.file(b.t.Context(), "base", c.file("base", c.snapshot("base"))))
	})
	before, after := filepath.Join(c.snapshots, c.base), c.snapshot("snapshot").Subvolume
	b.report.Diffs = append(b.report.Diffs, row{Title: w.title, Results: alternate(b.t, b.runs,
		contestant{name: "btrkeep diff", argv: []string{b.btrkeep, "diff", before, after}, prepare: c.cold, check: func() {}},
		contestant{name: "btrfs send", argv: []string{"btrfs", "send", "-q", "--no-data", "-f", "/dev/null", "-p", before, after}, prepare: c.cold, check: func() {}},
	)})
	c.close()
}
