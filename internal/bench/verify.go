package main

import (
	"fmt"
	"path/filepath"
	"slices"
)

// verifyWorkloads are those that comparing two trees differs by: by the file, and by the byte.
func (b *bench) verifyWorkloads() []workload {
	small, large := data{files: 10_000, size: 16 << 10}, data{files: 4, size: 256 << 20}
	if b.short {
		small.files, large.size = 500, 8<<20
	}
	return []workload{
		{title: fmt.Sprintf("%d files of 16 KiB", small.files), data: small},
		{title: fmt.Sprintf("%d files of %d MiB", large.files, large.size>>20), data: large},
	}
}

// verify measures btrkeep verify --deep beside rsync, once with both trees in the page cache and once from cold caches.
func (b *bench) verify(w workload) {
	titles := []string{w.title + ", cached", w.title + ", cold"}
	wanted := []bool{b.wants("verify", titles[0]), b.wants("verify", titles[1])}
	if !slices.Contains(wanted, true) {
		return
	}
	c := b.newCourse(w)
	run := c.btrkeep(b.btrkeep, nameBtrkeep, "native").argv
	spend(b.t, run)
	btrkeep := append(slices.Clone(run[:len(run)-1]), "verify", "--deep")
	rsync := []string{"rsync", "-nac", filepath.Join(c.snapshots, c.only(c.snapshots)) + "/", filepath.Join(c.backups, c.only(c.backups)) + "/"}
	nothing := func() {}
	for i, prepare := range []func(){nothing, c.cold} {
		if !wanted[i] {
			continue
		}
		spend(b.t, rsync) // so that the caches are full, unless they are to be cold
		b.report.Verifies = append(b.report.Verifies, row{Title: titles[i], Bytes: 2 * w.bytes(), Results: alternate(b.t, b.runs,
			contestant{name: nameBtrkeep, argv: btrkeep, prepare: prepare, check: nothing},
			contestant{name: "rsync", argv: rsync, prepare: prepare, check: nothing},
		)})
	}
	c.close()
}
