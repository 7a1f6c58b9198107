package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

func TestMain(m *testing.M) {
	if part(os.Args[1:]) {
		return
	}
	testdisk.Main(m)
}

// A small version of everything; and what of it does not depend on the machine.
func TestShort(t *testing.T) {
	r := measure(t, options{short: true, log: t.Output()})
	var table strings.Builder
	if err := r.print(&table); err != nil {
		t.Fatal(err)
	}
	t.Log(table.String())
	all := slices.Concat(r.NoChange, r.Transfers, r.Receives, r.Sends, r.Diffs, r.Together, r.Verifies, r.Status)
	if len(all) != 6+4+8+5+1+3+4+1 {
		t.Fatalf("%d rows", len(all))
	}
	for _, row := range all {
		for _, c := range row.Results {
			if c.wall() <= 0 || c.cpu() <= 0 {
				t.Errorf("%s: %s took %v, CPU %v", row.Title, c.Name, c.wall(), c.cpu())
			}
		}
	}
	for _, row := range r.NoChange {
		btrkeep, btrbk := row.Results[0], row.Results[1]
		if nothingToSend := strings.HasSuffix(row.Title, ifChanged); nothingToSend && btrkeep.Programs != 1 {
			t.Errorf("%s: btrkeep started %d programs, want itself alone", row.Title, btrkeep.Programs)
		}
		if btrbk.Programs <= btrkeep.Programs {
			t.Errorf("%s: btrbk started %d programs, btrkeep %d", row.Title, btrbk.Programs, btrkeep.Programs)
		}
	}
}

func TestCountPrograms(t *testing.T) {
	if got := countPrograms(t, []string{"bash", "-c", "true; /bin/true; (/bin/true); nonesuch 2>/dev/null; /bin/true"}); got != 4 {
		t.Errorf("%d programs, want 4", got)
	}
}
