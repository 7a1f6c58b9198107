package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
)

// The two ways to make a run in which nothing has changed.
const (
	always    = ", always a snapshot"
	ifChanged = ", only if changed"
)

// noChangeRuns measures runs in which no file has changed.
func (b *bench) noChangeRuns() {
	volumes, existing := []int{1, 10, 50}, 1000
	if b.short {
		volumes, existing = []int{1, 3}, 5
	}
	p := b.newPair("")
	for _, n := range volumes {
		b.noChange(p, fmt.Sprintf("subvolumes: %d", n), plan{volumes: n})
	}
	p.close()
	title := fmt.Sprintf("subvolumes: 1, snapshots: %d", existing)
	if !b.wants("no change", title+always) && !b.wants("no change", title+ifChanged) {
		return
	}
	p = b.newPair("")
	b.makeMany(p, existing)
	b.noChange(p, title, plan{volumes: 1, keepAll: true})
	p.close()
}

// noChange measures both tools in both ways. They work on the same disks, each on subvolumes of its own: the snapshot of one tool looks like
// a change to the other.
func (b *bench) noChange(p *pair, title string, w plan) {
	for _, onChange := range []bool{false, true} {
		w.onChange = onChange
		row := row{Title: title + always}
		if onChange {
			row.Title = title + ifChanged
		}
		if !b.wants("no change", row.Title) {
			continue
		}
		var contestants []contestant
		for _, t := range []*tool{b.newBtrkeep(p), b.newBtrbk(p)} {
			contestants = append(contestants, t.contestant(w))
		}
		row.Results = alternate(b.t, b.runs, contestants...)
		for i, c := range contestants {
			c.prepare()
			row.Results[i].Programs = countPrograms(b.t, c.argv)
		}
		b.report.NoChange = append(b.report.NoChange, row)
	}
}

// contestant runs the tool until each run is like the last.
func (t *tool) contestant(w plan) contestant {
	var before []string
	c := contestant{name: t.name, argv: t.argv}
	c.prepare = func() {
		before = t.have()
		t.settle()
	}
	c.check = func() {
		after := t.have()
		switch same := slices.Equal(before, after); {
		case len(after) < w.volumes, len(after) > w.volumes && !w.keepAll:
			t.t.Fatalf("%s keeps %d backups of %d subvolumes", t.name, len(after), w.volumes)
		case same && !w.onChange:
			t.t.Fatalf("%s has made no new backup", t.name)
		case !same && w.onChange:
			t.t.Fatalf("%s has made a new backup of what has not changed", t.name)
		}
	}
	t.configure(w)
	for range 2 {
		c.prepare()
		spend(t.t, t.argv)
	}
	c.check()
	return c
}

// makeMany gives both tools a subvolume with n snapshots and their backups. btrkeep makes its own, since it counts and deletes no
// others; for btrbk that would take an hour, and all that has such a name is its own.
func (b *bench) makeMany(p *pair, n int) {
	b.say("making %d snapshots and backups for each", n)
	w := plan{volumes: 1, keepAll: true}
	btrkeep, btrbk := b.newBtrkeep(p), b.newBtrbk(p)
	btrkeep.configure(w)
	btrbk.configure(w)
	first := time.Now().Add(-time.Duration(n+24) * time.Hour)
	var parent uint64
	for i := range n {
		for _, t := range []*tool{btrkeep, btrbk} {
			must(b.t, os.WriteFile(filepath.Join(t.sources, volume(1), "counter"), fmt.Appendln(nil, i), 0o600))
		}
		spend(b.t, btrkeep.argv)
		at := first.Add(time.Duration(i) * time.Hour)
		parent = btrbk.snapshot(volume(1)+"."+at.Format("20060102T150405-0700"), parent)
	}
}

// snapshot makes one more of volume 1, and its backup. It returns its id.
func (t *tool) snapshot(name string, parent uint64) uint64 {
	dir := t.sources + "/snapshots"
	must(t.t, btrfs.Snapshot(filepath.Join(t.sources, volume(1)), dir, name, true))
	ctx := t.t.Context()
	stream, err := btrfs.Send{Subvolume: filepath.Join(dir, name), Parent: parent}.Start(ctx)
	must(t.t, err)
	err = btrfs.Progs{}.Receive(ctx, filepath.Dir(t.backups), name, stream)
	must(t.t, errors.Join(err, stream.Close()))
	s, err := btrfs.Info(filepath.Join(dir, name))
	must(t.t, err)
	return s.ID
}
