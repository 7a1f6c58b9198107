package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
)

// A gate is a job whose runs write into a log when they have begun, wait until they are let through, and write again when they end. What writes
// are hooks, so it is written while the job's lock is held.
type gate struct {
	t    *testing.T
	job  string
	log  string
	fifo *os.File
}

// Without a transfer in it, a run is short: nothing changes in these sources.
const gatedJob = `
[jobs.%[1]s]
source          = "$SRC/%[1]s"
destination     = "$DST1/%[1]s"
only_if_changed = true
keep            = { last = 2 }
hooks.before_snapshot = ["/bin/sh", "-c", 'echo begin >>"$0.log" && read line <"$0.fifo"', "$DIR/%[1]s"]
hooks.after_snapshot  = ["/bin/sh", "-c", 'echo end >>"$0.log"', "$DIR/%[1]s"]
`

// gates configures n gated jobs.
func (m *machine) gates(n int) []*gate {
	m.t.Helper()
	text := "parallel = 32\n"
	var gates []*gate
	for i := range n {
		job := fmt.Sprintf("job%d", i)
		text += fmt.Sprintf(gatedJob, job)
		must(m.t, btrfs.Create(m.srcPath, job))
		g := &gate{t: m.t, job: job, log: filepath.Join(m.dir, job+".log")}
		fifo := filepath.Join(m.dir, job+".fifo")
		must(m.t, unix.Mkfifo(fifo, 0o600))
		var err error
		g.fifo, err = os.OpenFile(fifo, os.O_RDWR, 0) // for both, so that opening does not wait
		must(m.t, err)
		m.t.Cleanup(func() { g.fifo.Close() })
		gates = append(gates, g)
	}
	m.configure(text)
	return gates
}

// pass lets one run through, the one that waits or the next.
func (g *gate) pass() {
	g.t.Helper()
	_, err := g.fifo.WriteString("\n")
	must(g.t, err)
}

// runs are what the log has.
func (g *gate) runs() []string {
	b, _ := os.ReadFile(g.log) // no run has been
	return strings.Fields(string(b))
}
