package main_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

const pinJobs = `
timezone = "UTC"
parallel = 1
[defaults]
keep = { last = 1 }
[jobs.%[1]s]
source = "$SRC/home"
[jobs.%[1]s.destinations.desk]
url = "$DST1/home"
[jobs.%[1]s.destinations.usb]
url           = "$DST2/home"
require_mount = "$DST2"
[jobs.other]
source      = "$SRC/other"
destination = "$DST1/other"
`

// What `pin` and `unpin` say, and with which status.
func TestPin(t *testing.T) {
	t.Parallel()
	usb := testdisk.New(t, disk)
	m := newMachine(t, 1)
	m.dests = append(m.dests, usb.Path)
	must(t, btrfs.Create(m.srcPath, "other"))
	m.configure(fmt.Sprintf(pinJobs, "home"))
	m.write("file", "1")
	m.mustRun("home")
	name := decode[[]listing](t, m.must("list", "home", "--json"))[0].snapshots()[0]
	backup := filepath.Join(m.dests[0], "home", name)
	says := func(status int, stdout, stderr string, args ...string) {
		t.Helper()
		r := m.btrkeep(args...)
		expand := strings.NewReplacer("NAME", name, "$DST2", usb.Path, "$DST1", m.dests[0])
		if r.status != status || r.stdout != expand.Replace(stdout) || r.stderr != expand.Replace(stderr) {
			t.Errorf("btrkeep %s: want exit status %d: %s\n%s%s", strings.Join(args, " "), status, r, cmp.Diff(expand.Replace(stdout), r.stdout), cmp.Diff(expand.Replace(stderr), r.stderr))
		}
	}

	const everywhere = "home: source: NAME pinned: before the upgrade\nhome: desk: NAME pinned: before the upgrade\nhome: usb: NAME pinned: before the upgrade\n"
	says(0, everywhere, "", "pin", name, "--reason", " before the upgrade ")
	says(0, everywhere, "", "pin", name)
	if r := m.must("list", "home"); strings.Count(r.stdout, "complete, pinned: before the upgrade\n") != 2 || strings.Count(r.stdout, "common with desk, usb, pinned: before the upgrade\n") != 1 {
		t.Error(r)
	}
	m.configure(fmt.Sprintf(pinJobs, "renamed")) // a pin outlives the name of its job
	for _, content := range []string{"2", "3"} {
		m.write("file", content)
		m.mustRun("renamed")
	}
	m.configure(fmt.Sprintf(pinJobs, "home"))
	if l := decode[[]listing](t, m.must("list", "home", "--json"))[0]; len(l.snapshots()) != 2 || len(l.backups(0)) != 2 || len(l.backups(1)) != 2 || l.snapshots()[0] != name {
		t.Errorf("%+v", l)
	}
	if r := m.must("plan", "home"); strings.Count(r.stdout, "pinned: before the upgrade") != 3 {
		t.Error(r)
	}

	usb.Unmount()
	const absent = "btrkeep: warning: home: usb: absent: nothing is mounted at $DST2\n"
	says(75, "home: source: NAME not pinned\nhome: desk: NAME not pinned\n", absent, "unpin", name)
	says(75, "", absent+"btrkeep: error: job home has no snapshot or backup NAME where one could look\n", "unpin", name, "--destination", "usb")
	says(75, "", "btrkeep: error: no job has a snapshot or backup nothing where one can look now\nbtrkeep: hint: `btrkeep list` shows what there is, and what is absent\n", "pin", "nothing")
	usb.Mount("noatime")
	says(0, "home: desk: NAME pinned: tax\n", "", "pin", backup, "--reason=tax")
	says(0, "home: source: NAME pinned: tax\n", "", "pin", name, "--destination=source", "--reason=tax", "--job=home")
	says(0, "home: source: NAME not pinned\nhome: desk: NAME not pinned\nhome: usb: NAME not pinned\n", "", "unpin", name)
	if r := m.must("prune", "home"); r.stdout != "home: pruned 3\n" {
		t.Error(r)
	}

	must(t, btrfs.Snapshot(m.home(), filepath.Join(m.home(), ".btrkeep"), "by-hand", true))
	says(0, "", "btrkeep: note: home: source: by-hand was not made by btrkeep and is never deleted: nothing was noted\n", "pin", "by-hand")
	must(t, btrfs.Create(filepath.Join(m.dests[0], "home"), "twice"))
	m.mustRun("other")
	must(t, btrfs.Create(filepath.Join(m.dests[0], "other"), "twice"))
	says(2, "", "btrkeep: error: several jobs have a snapshot or backup twice: home, other\nbtrkeep: hint: say which with --job\n", "pin", "twice")
	says(2, "", "btrkeep: error: job other has no snapshot or backup by-hand\nbtrkeep: hint: `btrkeep list other` shows what there is\n", "pin", "by-hand", "--job=other")
	says(2, "", "btrkeep: error: there is no destination \"attic\"\nbtrkeep: hint: known are: source, default, desk, usb\n", "unpin", "by-hand", "--destination=attic")
	says(2, "", "btrkeep: error: stat ./missing: no such file or directory\n", "pin", "./missing")
	says(2, "", "btrkeep: error: the reason has to be one line of text\n", "pin", "by-hand", "--reason=a\nb")

	last := decode[[]listing](t, m.must("list", "home", "--json"))[0].backups(1)[0]
	fields := map[string]bool{}
	shape("", decode[any](t, m.must("pin", last, "--job=home", "--json")), fields)
	for _, field := range []string{"[].job string", "[].where string", "[].name string", "[].path string", "[].uuid string", "[].pinned bool", "[].pin_reason string", "[].result string"} {
		if !fields[field] {
			t.Errorf("missing: %s in %v", field, fields)
		}
	}
}

// A pin while a run has the job is refused and names the holder.
func TestPinBesideRun(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	g := m.gates(1)[0]
	g.pass()
	m.mustRun()
	name := m.list().snapshots()[0]
	run := m.start("run")
	eventually(t, "the run has begun", func() bool { return len(g.runs()) == 3 })
	r := m.btrkeep("pin", name, "--destination=source")
	if r.status != 75 || r.stdout != "" || !strings.Contains(r.stderr, fmt.Sprintf("is locked by process %d (job %s,", run.cmd.Process.Pid, g.job)) {
		t.Errorf("pin beside a run: %s", r)
	}
	g.pass()
	run.wait(patience)
	m.must("pin", name)
}
