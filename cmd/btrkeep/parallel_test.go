package main_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// Runs of many jobs on the same disks at once are no trap for each other: none has to wait for the kernel's periodic commit, which comes every
// 30 seconds.
func TestManyJobsAtOnce(t *testing.T) {
	t.Parallel()
	const jobs = 8
	m := newMachine(t, 1)
	text := "parallel = 8\n"
	for i := range jobs {
		must(t, btrfs.Create(m.srcPath, fmt.Sprintf("job%d", i)))
		text += fmt.Sprintf("[jobs.job%[1]d]\nsource = \"$SRC/job%[1]d\"\ndestination = \"$DST1/job%[1]d\"\nkeep = { last = 2 }\n", i)
	}
	m.configure(text)
	for round := range uint64(5) {
		for i := range jobs {
			must(t, testdisk.Mutate(filepath.Join(m.srcPath, fmt.Sprintf("job%d", i)), round, 5))
		}
		if r := m.mustRun(); r.took > 15*time.Second {
			t.Errorf("round %d: eight small runs took %s", round, r.took)
		}
	}
	for _, l := range decode[[]listing](t, m.must("list", "--json")) {
		if got := l.backups(0); len(got) != 2 {
			t.Errorf("%s has %v", l.Job, got)
		}
		m.compare(l)
	}
}
