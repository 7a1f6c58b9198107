package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
)

// A daemon with 200 jobs that has nothing to do costs next to nothing.
func TestIdleDaemon(t *testing.T) {
	t.Parallel()
	const (
		jobs    = 200
		maxRSS  = 40 << 10 // KiB
		seconds = 10
		wakes   = 3 * seconds // each wakes more than one thread
	)
	m := newMachine(t, 1)
	var text strings.Builder
	for i := range jobs {
		must(t, btrfs.Create(m.srcPath, fmt.Sprintf("job%d", i)))
		fmt.Fprintf(&text, "[jobs.job%[1]d]\nsource = \"$SRC/job%[1]d\"\ndestination = \"$DST1/job%[1]d\"\nschedule = \"@yearly\"\nkeep = { daily = 7 }\n", i)
	}
	m.configure(text.String())
	daemon := m.startDaemon()
	eventually(t, "the daemon has made the acquaintance of all jobs", func() bool {
		known, _ := filepath.Glob(filepath.Join(m.state, "jobs", "*.json"))
		return len(known) == jobs
	})
	time.Sleep(time.Second)
	before := daemon.switches()
	time.Sleep(seconds * time.Second)
	woke := daemon.switches() - before
	rss := daemon.field("status", "VmRSS:")
	t.Logf("%d jobs: %d KiB resident, woke %d times in %d s", jobs, rss, woke, seconds)
	if before == 0 || rss == 0 {
		t.Error("nothing was measured")
	}
	if rss > maxRSS {
		t.Errorf("%d KiB resident, want at most %d", rss, maxRSS)
	}
	if woke > wakes {
		t.Errorf("woke %d times in %d s, want at most %d", woke, seconds, wakes)
	}
	daemon.stop()
}

// switches is how often the threads have gone to sleep by themselves, and so how often they woke.
func (p *process) switches() int {
	p.t.Helper()
	sum := 0
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", p.cmd.Process.Pid))
	for _, task := range tasks {
		sum += p.field(filepath.Join("task", filepath.Base(task), "status"), "voluntary_ctxt_switches:")
	}
	return sum
}

// field is the number after a word in a file of the process in /proc.
func (p *process) field(file, word string) int {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file))
	must(p.t, err)
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == word {
			n, err := strconv.Atoi(fields[1])
			must(p.t, err)
			return n
		}
	}
	p.t.Fatalf("/proc/…/%s has no %s", file, word)
	return 0
}

// A run in which nothing is to be sent starts no process, neither does one that receives natively.
func TestQuietRunForksNothing(t *testing.T) {
	t.Parallel()
	for _, receiver := range []string{"native", "btrfs-progs"} {
		t.Run(receiver, func(t *testing.T) {
			m := newMachine(t, 1)
			m.configure(fmt.Sprintf("receiver = %q\n", receiver) + `
[jobs.home]
source          = "$SRC/home"
destination     = "$DST1/home"
only_if_changed = true
keep            = { last = 2 }
`)
			daemon := m.startDaemon()
			fresh := daemon.childFaults()
			m.write("file", "content")
			m.mustRun()
			sent := daemon.childFaults()
			if forks := sent != fresh; forks != (receiver == "btrfs-progs") {
				t.Errorf("%s: a transfer started a process: %v", receiver, forks)
			}
			for range 3 {
				r := m.mustRun()
				if !strings.Contains(r.stdout, "nothing has changed since") {
					t.Errorf("not a quiet run: %s", r)
				}
			}
			if daemon.childFaults() != sent {
				t.Error("a run with nothing to send started a process")
			}
			daemon.stop()
		})
	}
}

// childFaults are the page faults of all children that have been waited for, proc_pid_stat(5): no process can do without.
func (p *process) childFaults() int {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	must(p.t, err)
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	const cminflt, cmajflt, state = 11, 13, 3 // numbers of the fields in the manual; the first of ours is state
	sum := 0
	for _, number := range []int{cminflt, cmajflt} {
		n, err := strconv.Atoi(fields[number-state])
		must(p.t, err)
		sum += n
	}
	return sum
}
