package main_test

import (
	"regexp"
	"strings"
	"testing"
)

// The columns of tables line up, whatever is in them.
func TestTablesAreAligned(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	m.configure(`
[jobs.a-job-with-a-name-that-is-rather-long]
source      = "$SRC/home"
destination = "$DST1/home"
schedule    = "@daily"
[jobs.missing]
source       = "$SRC/missing"
snapshot_dir = "$SRC/snapshots"
destination  = "$DST1/missing"
`)
	for range 2 {
		m.btrkeep("run")
	}
	for _, command := range []string{"status", "history"} {
		lines := strings.Split(strings.TrimRight(m.btrkeep(command).stdout, "\n"), "\n")
		if len(lines) < 3 {
			t.Errorf("%s: %q", command, lines)
		}
		for _, start := range regexp.MustCompile(`\S+( \S+)*`).FindAllStringIndex(lines[0], -1) {
			for _, line := range lines[1:] {
				if strings.HasPrefix(line, "   ") || strings.Contains(line, "error:") { // the rest of the row above
					continue
				}
				row := []rune(line)
				column := start[0]
				if column >= len(row) || row[column] == ' ' || column > 0 && (row[column-1] != ' ' || row[column-2] != ' ') {
					t.Errorf("%s: column %d is out of line:\n%s", command, column, strings.Join(lines, "\n"))
				}
			}
		}
		for _, line := range lines {
			if strings.TrimRight(line, " ") != line {
				t.Errorf("%s: a line ends in spaces: %q", command, line)
			}
		}
	}
}
