package main_test

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// Slow enough that most of a run is its transfer, so that most random moments fall into one.
const killedJob = `
receiver = "$RECEIVER"
checkpoint = { bytes = "2M", time = "1s" }
[jobs.home]
source = "$SRC/home"
name_format = "20060102T150405.000000" # many in a second, in the order of their names
keep   = { last = 3 }
[jobs.home.destinations.disk]
url        = "$DST1/home"
rate_limit = "$RATE"
`

// kills is how many runs are killed: make test-long kills more.
func kills() int {
	if os.Getenv("BTRKEEP_LONG") != "" {
		return 100
	}
	return 40
}

// TROUBLE 1: runs are killed at random moments: the program alone, the program with its receiver, the receiver alone. After each, the next run ends well
// without a hand, no backup is complete and different from its snapshot, what is left behind counts for nothing, and is gone after the good run.
func TestKilled(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	m.receiver("native", "5M")
	testdisk.Tree(t, m.home(), testdisk.Spec{Seed: 1, Files: 40, MaxSize: 128 << 10})
	v := &victim{machine: m, rnd: rand.New(rand.NewPCG(1, 2)), seen: map[string]bool{}, compared: map[string]bool{}, left: map[string]int{}}
	m.mustRun()
	var longest time.Duration
	for range 3 {
		v.next()
		longest = max(longest, m.mustRun().took)
	}
	v.see()
	for n := range kills() {
		for !v.kill(how(n)%hows, longest) { // too late: the run had ended
			v.see()
		}
		v.recover()
		if t.Failed() {
			break
		}
	}
	m.compare(m.list())
	t.Logf("runs of up to %s, killed when there was:", longest.Round(time.Millisecond))
	for _, left := range slices.Sorted(maps.Keys(v.left)) {
		t.Logf("%4d  %s", v.left[left], left)
	}
	if v.left["a backup half received"]+v.left["a backup half received, and a checkpoint"] < kills()/4 && !t.Failed() {
		t.Error("too few moments within a transfer")
	}
}

// how a run is killed.
type how int

const (
	native        how = iota // there is one process
	alone                    // the receiver is a process that loses the one that started it
	withReceiver             // as systemd does
	receiverAlone            // as the kernel does when memory runs out
	hows
)

// receiver chooses what receives from here on, and how fast.
func (m *machine) receiver(name, rate string) {
	m.t.Helper()
	m.configure(strings.NewReplacer("$RECEIVER", name, "$RATE", rate).Replace(killedJob))
}

// victim is a machine whose runs are killed.
type victim struct {
	*machine
	rnd      *rand.Rand
	changes  uint64
	seen     map[string]bool // names of all snapshots that there have been
	compared map[string]bool // UUIDs of backups
	left     map[string]int  // what was found after kills, how often
}

func (v *victim) next() {
	v.t.Helper()
	v.changes++
	v.change(v.changes)
}

// kill starts a run and kills it at a random moment. It returns false if the run had ended by then.
func (v *victim) kill(how how, longest time.Duration) bool {
	v.t.Helper()
	v.next()
	v.receiver(map[bool]string{true: "native", false: "btrfs-progs"}[how == native], "5M")
	before := len(v.history())
	p := v.start("run")
	time.Sleep(time.Duration(v.rnd.Int64N(int64(longest))))
	children := p.children()
	if how == receiverAlone && len(children) > 0 {
		for _, pid := range children {
			_ = unix.Kill(pid, unix.SIGKILL) // one that has ended meanwhile is fine
		}
	} else if how == withReceiver {
		p.killAll()
	} else {
		p.signal(unix.SIGKILL)
	}
	r := p.wait(patience)
	if r.status == 0 {
		return false
	}
	if r.killed == 0 && !strings.Contains(r.stderr, "killed") {
		v.t.Errorf("a run whose receiver was killed: %s", r)
	}
	eventually(v.t, "what a killed run has started is dead", func() bool {
		return !slices.ContainsFunc(children, func(pid int) bool { return unix.Kill(pid, 0) == nil })
	})
	v.left[v.found(r, before)]++
	return true
}

// found says how far the killed run had got, and checks that what it left is taken for no backup.
func (v *victim) found(r result, before int) string {
	v.t.Helper()
	l := v.list()
	v.compareNew(l)
	for _, name := range append(l.snapshots(), l.backups(0)...) {
		if strings.HasPrefix(name, ".") {
			v.t.Errorf("%s is listed", name)
		}
	}
	if plan := v.must("plan", "--json"); strings.Contains(plan.stdout, ".btrkeep-") {
		v.t.Errorf("a leftover is in the plan: %s", plan)
	}
	fresh := ""
	for _, name := range l.snapshots() {
		if !v.seen[name] {
			fresh = name
		}
	}
	at := v.hidden(filepath.Join(v.dests[0], "home"))
	incoming := slices.IndexFunc(at, func(name string) bool { return strings.HasPrefix(name, ".btrkeep-incoming-") })
	v.see()
	switch {
	case r.killed == 0:
		return "a run that could report the death of its receiver"
	case incoming >= 0:
		checkpoint := false
		for _, name := range at {
			if !strings.HasPrefix(name, ".btrkeep-incoming-") {
				continue
			}
			s, err := btrfs.Info(filepath.Join(v.dests[0], "home", name))
			must(v.t, err)
			if !s.ReceivedUUID.IsZero() {
				return "a backup received and without its name"
			}
			checkpoint = checkpoint || s.ReadOnly
		}
		if checkpoint {
			return "a backup half received, and a checkpoint"
		}
		return "a backup half received"
	case len(v.hidden(filepath.Join(v.home(), ".btrkeep"))) > 0:
		return "a snapshot without its name"
	case fresh == "":
		return "nothing yet"
	case !slices.Contains(l.backups(0), fresh):
		return "a snapshot and nothing at the destination"
	case len(v.history()) == before:
		return "a backup and no account of the run"
	default:
		return "all but the end of the process"
	}
}

// see takes note of the snapshots that there are.
func (v *victim) see() {
	v.t.Helper()
	for _, name := range v.list().snapshots() {
		v.seen[name] = true
	}
}

// compareNew leaves out the content of backups that it has seen. That they stay as they are is looked at in the end.
func (v *victim) compareNew(l listing) {
	v.t.Helper()
	v.compareSome(l, func(b backup) bool {
		seen := v.compared[b.UUID]
		v.compared[b.UUID] = true
		return !seen
	})
}

// recover makes the next run, which has to end well and to leave what the policy says and nothing else.
func (v *victim) recover() {
	v.t.Helper()
	v.next()
	v.receiver([2]string{"native", "btrfs-progs"}[v.changes%2], "1G")
	r := v.mustRun()
	v.see()
	l := v.list()
	v.compareNew(l)
	all := slices.Sorted(maps.Keys(v.seen))
	want := all[len(all)-3:]
	if got := l.snapshots(); !slices.Equal(got, want) {
		v.t.Errorf("snapshots %v, want the last three, %v: %s", got, want, r)
	}
	if got := l.backups(0); !slices.Equal(got, want) {
		v.t.Errorf("backups %v, want the last three, %v: %s", got, want, r)
	}
	for _, dir := range []string{filepath.Join(v.dests[0], "home"), filepath.Join(v.home(), ".btrkeep"), v.state, filepath.Join(v.state, "jobs")} {
		if hidden := v.hidden(dir); len(hidden) > 0 {
			v.t.Errorf("after a good run %s still has %v", dir, hidden)
		}
	}
	if last := v.history()[0]; last.Result != "ok" || last.Snapshot != want[2] {
		v.t.Errorf("history: %+v", last)
	}
}
