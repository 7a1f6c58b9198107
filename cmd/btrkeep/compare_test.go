package main_test

import (
	"os"
	"strings"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// compare makes sure that everything that has the name of a backup is complete and, while its snapshot exists, identical to it in all that a file has.
func (m *machine) compare(l listing) {
	m.t.Helper()
	m.compareSome(l, func(backup) bool { return true })
}

// compareSome is compare with the content of some backups only.
func (m *machine) compareSome(l listing, which func(backup) bool) {
	m.t.Helper()
	for _, d := range l.Destinations {
		for _, b := range d.Backups {
			if !b.Complete {
				m.t.Errorf("%s has the name of a backup and is not complete: %+v", b.Path, b)
			}
			if snapshot := l.snapshotPath(b); snapshot != "" && which(b) {
				m.identical(snapshot, b.Path)
			}
		}
	}
}

// identical makes sure that a backup is what its snapshot is.
func (m *machine) identical(snapshot, backup string) {
	m.t.Helper()
	diffs, err := testdisk.Compare(snapshot, backup)
	must(m.t, err)
	if len(diffs) > 0 {
		m.t.Errorf("%s differs from %s:\n%s", backup, snapshot, strings.Join(diffs, "\n"))
	}
}

// hidden are the names in a directory that begin with a dot, without those of files that stay there.
func (m *machine) hidden(dir string) []string {
	m.t.Helper()
	entries, err := os.ReadDir(dir)
	must(m.t, err)
	var names []string
	for _, e := range entries {
		switch name := e.Name(); {
		case name == ".btrkeep.lock", name == ".btrkeep.catalog":
		case strings.HasPrefix(name, "."):
			names = append(names, name)
		}
	}
	return names
}
