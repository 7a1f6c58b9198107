package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
)

// What shows all jobs is quick because it lists each file system once and reads the mounts once, however many jobs there are. How long it takes is in the bench ("status").
func TestGlanceCost(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	var jobs strings.Builder
	configure := func(from, to int) {
		for i := from; i < to; i++ {
			name := fmt.Sprintf("vol%02d", i)
			must(t, btrfs.Create(m.srcPath, name))
			fmt.Fprintf(&jobs, "[jobs.%s]\nsource = \"$SRC/%s\"\ndestination = \"$DST1/%s\"\n", name, name, name)
		}
		m.configure(jobs.String())
		m.mustRun()
	}
	count := func(command string) (listings, mounts int) {
		t.Helper()
		trace := filepath.Join(m.dir, "trace")
		cmd := exec.Command("strace", "-f", "-qq", "-o", trace, "-e", "trace=ioctl,openat,open", program(t), "--config", m.config, command)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "vol00") {
			t.Fatalf("%v: %s", err, out)
		}
		text, err := os.ReadFile(trace)
		must(t, err)
		return strings.Count(string(text), "BTRFS_IOC_TREE_SEARCH_V2"), strings.Count(string(text), "mountinfo")
	}
	commands := []string{"status", "list", "check"}
	type cost struct{ listings, mounts int }
	few := map[string]cost{}
	configure(0, 2)
	for _, c := range commands {
		listings, mounts := count(c)
		few[c] = cost{listings, mounts}
		if listings == 0 || mounts == 0 {
			t.Errorf("%s of 2 jobs: %d listings, mounts read %d times", c, listings, mounts)
		}
	}
	configure(2, 14)
	for _, c := range commands {
		if listings, mounts := count(c); (cost{listings, mounts}) != few[c] {
			t.Errorf("%s: %d calls for listings, mounts read %d times; of 2 jobs %+v", c, listings, mounts, few[c])
		}
	}
}
