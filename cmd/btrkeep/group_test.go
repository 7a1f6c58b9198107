package main_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/jobs"
)

// A group is run by its name, with and without the daemon, which notices members that are new without a reload; status and history know the members.
func TestGroup(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	for _, name := range []string{"web", "db"} {
		must(t, btrfs.Create(m.srcPath, name))
	}
	m.configure(`
[jobs.machines]
sources     = ["$SRC/[wdm]*"]
destination = "$DST1/machines"
only_if_changed = true
`)
	run := func(args ...string) (ran []string) {
		t.Helper()
		for _, r := range decode[[]jobs.Record](t, m.must(append([]string{"run", "--json"}, args...)...)) {
			ran = append(ran, r.Job+" "+r.Result)
		}
		slices.Sort(ran)
		return ran
	}
	if got := strings.Join(run(), ", "); got != "machines:db ok, machines:web ok" {
		t.Error(got)
	}
	daemon := m.startDaemon()
	must(t, btrfs.Create(m.srcPath, "mail"))
	if got := strings.Join(run("machines"), ", "); got != "machines:db ok, machines:mail ok, machines:web ok" {
		t.Error(got)
	}
	if got := strings.Join(run("machines:web"), ", "); got != "machines:web ok" {
		t.Error(got)
	}
	daemon.stop()
	backups, err := filepath.Glob(m.dests[0] + "/machines/*/2*")
	if err != nil || len(backups) != 3 {
		t.Errorf("%v %q", err, backups)
	}
	for _, args := range [][]string{{"pause"}, {"resume"}} {
		var named []string
		for _, p := range decode[[]struct{ Job string }](t, m.must(append(args, "--json", "machines")...)) {
			named = append(named, p.Job)
		}
		if got := strings.Join(named, " "); got != "machines:db machines:mail machines:web" {
			t.Errorf("%s: %s", args, got)
		}
		if r := m.btrkeep("run"); (r.status == 75) != (args[0] == "pause") {
			t.Errorf("after %s: %s", args, r)
		}
	}
	var standing []string
	for _, s := range decode[[]jobs.Status](t, m.must("status", "--json", "machines")) {
		standing = append(standing, s.Job+" "+s.State)
	}
	if got := strings.Join(standing, ", "); got != "machines:db ok, machines:mail ok, machines:web ok" {
		t.Error(got)
	}
	if n := len(decode[[]jobs.Record](t, m.must("history", "--json", "machines"))); n != 9 {
		t.Errorf("%d runs in the history", n)
	}
	if r := m.btrkeep("run", "machine"); r.status != 2 {
		t.Errorf("%s", r)
	}
	m.must("check")
}
