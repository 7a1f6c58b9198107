package jobs_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// machines makes subvolumes below a directory of the source disk, and a group of all of them.
func (w *world) machines(names ...string) {
	w.t.Helper()
	dir := filepath.Join(w.src.Path, "machines")
	must(w.t, os.Mkdir(dir, 0o755))
	for _, name := range names {
		must(w.t, btrfs.Create(dir, name))
		must(w.t, os.WriteFile(filepath.Join(dir, name, "file"), []byte(name), 0o644))
	}
	w.job = config.Job{Name: "machines", Sources: []string{dir + "/*"}, Destinations: w.job.Destinations}
}

// members are what the group stands for.
func (w *world) members() []config.Job {
	w.cfg.Jobs = []config.Job{w.job}
	return jobs.Members(w.cfg).Jobs
}

// runMembers makes a run of the group, and gives the records by the names of the members.
func (w *world) runMembers(ctx context.Context) map[string]jobs.Record {
	w.t.Helper()
	w.pass(time.Minute)
	records := map[string]jobs.Record{}
	var mu sync.Mutex
	w.runner.RunGroup(ctx, w.members(), jobs.Options{Clock: w.clock(), Trigger: "command"}, func(job config.Job, run func() jobs.Record) {
		r := run()
		mu.Lock()
		defer mu.Unlock()
		records[job.Name] = r
	})
	return records
}

func TestMembersOfAGroup(t *testing.T) {
	w := newWorld(t, 1)
	w.machines("web", "db", ".hidden", "a b")
	dir := w.src.Path + "/machines"
	must(t, os.Mkdir(dir+"/directory", 0o755))
	must(t, os.WriteFile(dir+"/file", nil, 0o644))
	must(t, os.Symlink("web", dir+"/link"))
	must(t, btrfs.Snapshot(dir+"/web", dir, "web-snapshot", true))
	names := func() (got []string) {
		for _, j := range w.members() {
			got = append(got, j.Name+" "+strings.TrimPrefix(j.Source, w.src.Path))
		}
		return got
	}
	want := []string{"machines:a%20b /machines/a b", "machines:db /machines/db", "machines:web /machines/web"}
	if diff := cmp.Diff(want, names()); diff != "" {
		t.Error(diff)
	}
	w.job.Sources = []string{dir + "/.*", dir + "/w?b", dir + "/web", "/nowhere/db"}
	want = []string{"machines:.hidden /machines/.hidden", "machines:db /nowhere/db", "machines:web /machines/web"}
	if diff := cmp.Diff(want, names()); diff != "" {
		t.Error(diff)
	}
	// Two with the same last part have directories of their own; a newcomer does not take that of one that was there before. What has a job of its own is no member, nor is where the backups lie.
	must(t, btrfs.Create(w.src.Path, "db"))
	must(t, btrfs.Create(w.src.Path, "backup"))
	must(t, os.Mkdir(w.src.Path+"/backup/machines", 0o755))
	w.job.Sources = []string{w.src.Path + "/*", dir + "/db"}
	w.job.Destinations[0].URL = w.src.Path + "/backup/machines"
	apart := regexp.MustCompile("-[0-9a-f]{8}")
	want = []string{"machines:db /db", "machines:db-HASH /machines/db", "machines:home /home"}
	if diff := cmp.Diff(want, strings.Split(apart.ReplaceAllString(strings.Join(names(), "\n"), "-HASH"), "\n")); diff != "" {
		t.Error(diff)
	}
	if warnings := jobs.Members(w.cfg).Warnings; len(warnings) != 1 || !strings.Contains(warnings[0], "the backups themselves are in it") {
		t.Errorf("%q", warnings)
	}
	old := w.job.Member(dir + "/db")
	s, err := jobs.LoadState(w.cfg.StateDir, old)
	must(t, err)
	s.Destinations[old.Destinations[0].URL] = jobs.DestinationState{Name: "d1"}
	must(t, s.Save(w.cfg.StateDir))
	w.cfg.Jobs = []config.Job{w.job, {Name: "home", Source: w.src.Path + "/home", SnapshotDir: w.src.Path + "/home/.btrkeep"}}
	got := ""
	for _, j := range jobs.Members(w.cfg).Jobs {
		got += j.Name + " " + strings.TrimPrefix(j.Source, w.src.Path) + "; "
	}
	if got := apart.ReplaceAllString(got, "-HASH"); got != "home /home; machines:db /machines/db; machines:db-HASH /db; " {
		t.Error(got)
	}
	// A link in the path could lead anywhere, and a name with control characters break lines apart.
	must(t, os.Symlink(dir, w.src.Path+"/elsewhere"))
	must(t, btrfs.Create(dir, "x\ny"))
	w.job.Sources = []string{w.src.Path + "/elsewhere/*"}
	if m := w.members(); len(m) != 1 || !strings.HasSuffix(m[0].Source, "/elsewhere/*") || len(jobs.Members(w.cfg).Warnings) != 4 {
		t.Errorf("%+v %q", m, jobs.Members(w.cfg).Warnings)
	}
	// What nothing matches stays as a job, which fails: its file system may not be mounted.
	w.job.Sources = []string{"/nowhere/*"}
	if m := w.members(); len(m) != 1 || m[0].Source != "/nowhere/*" || m[0].Name == w.job.Member("/nowhere/*").Name {
		t.Fatalf("%+v", m)
	}
	for _, r := range w.runMembers(t.Context()) {
		if r.Result != jobs.ResultFailed || !strings.Contains(r.Error, "/nowhere/* does not exist") || r.Hint == "" {
			t.Errorf("%+v", r)
		}
	}
}

// The snapshots of a group are made together, between one call of each hook, and each goes into a directory of its own.
func TestGroup(t *testing.T) {
	w := newWorld(t, 2)
	w.machines("web", "db", "mail")
	log := filepath.Join(t.TempDir(), "log")
	script := func(what string) []string {
		return []string{"/bin/sh", "-c", `sleep 0.1; { echo ` + what + ` "$BTRKEEP_JOB" $BTRKEEP_SOURCE; ls -d ` + w.src.Path + `/machines/*/.btrkeep/2*; } >>` + log + ` 2>/dev/null; :`}
	}
	w.job.Hooks = config.Hooks{BeforeSnapshot: script("before"), AfterSnapshot: script("after")}
	for round := range 3 {
		records := w.runMembers(t.Context())
		for name, r := range records {
			if r.Result != jobs.ResultOK || len(r.Transfers) != 2 || (r.Transfers[0].Parent == "") != (round == 0) || r.Snapshot != w.now.Format(config.DefaultNameFormat) {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if len(records) != 3 {
			t.Fatalf("%v", records)
		}
	}
	text, err := os.ReadFile(log)
	must(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	heads := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return strings.HasPrefix(l, "/") })
	all := fmt.Sprintf("machines %[1]s/machines/db %[1]s/machines/mail %[1]s/machines/web", w.src.Path)
	if diff := cmp.Diff(slices.Repeat([]string{"before " + all, "after " + all}, 3), heads); diff != "" {
		t.Error(diff)
	}
	if n := len(lines) - len(heads); n != 3*(0+1+1+2+2+3) { // snapshots that were there before and after
		t.Errorf("%d snapshots were seen by the hooks:\n%s", n, text)
	}
	for i, d := range w.job.Destinations {
		for _, name := range []string{"web", "db", "mail"} {
			b, err := os.ReadFile(filepath.Join(d.URL, name, w.now.Format(config.DefaultNameFormat), "file"))
			if err != nil || string(b) != name {
				t.Errorf("%d: %v %q", i, err, b)
			}
		}
	}
	// The history of the group is that of its members.
	past, err := jobs.History(w.cfg.StateDir, "machines")
	if err != nil || len(past) != 9 {
		t.Errorf("%v %d", err, len(past))
	}
	if one, _ := jobs.History(w.cfg.StateDir, "machines:web"); len(one) != 3 {
		t.Errorf("%d", len(one))
	}
}

// A member that is busy, or gone, does not keep the others, and when its freeze fails the group has no snapshot, and is thawed.
func TestGroupTroubles(t *testing.T) {
	w := newWorld(t, 1)
	w.machines("web", "db", "mail")
	results := func(records map[string]jobs.Record) (got []string) {
		for name, r := range records {
			got = append(got, name+" "+r.Result)
		}
		slices.Sort(got)
		return got
	}
	w.job.Sources = append(w.job.Sources, "/nowhere/gone")
	must(t, os.MkdirAll(w.cfg.RuntimeDir, 0o700))
	unlock, err := jobs.Lock(filepath.Join(w.cfg.RuntimeDir, "machines:db.lock"), jobs.Holder{PID: 1, Job: "machines:db"})
	must(t, err)
	if diff := cmp.Diff([]string{"machines:db skipped", "machines:gone failed", "machines:mail ok", "machines:web ok"}, results(w.runMembers(t.Context()))); diff != "" {
		t.Error(diff)
	}
	unlock()
	w.job.Sources = w.job.Sources[:1]
	thawed := filepath.Join(t.TempDir(), "thawed")
	w.job.Hooks = config.Hooks{BeforeSnapshot: []string{"/bin/false"}, AfterSnapshot: []string{"/usr/bin/touch", thawed}}
	// What could not be frozen is not snapshotted; what is there already is still brought over.
	records := w.runMembers(t.Context())
	for name, r := range records {
		if !strings.Contains(r.Error, "before_snapshot") || (name == "machines:web" && r.Snapshot != "") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if _, err := os.Stat(thawed); err != nil || len(records) != 3 {
		t.Errorf("%v, %d records", err, len(records))
	}
	// The timeout is that of all of them, and the end of the daemon ends all.
	w.job.Hooks = config.Hooks{BeforeSnapshot: []string{"/bin/sleep", "20"}}
	w.job.Timeout = config.Duration(200 * time.Millisecond)
	start := time.Now()
	for name, r := range w.runMembers(t.Context()) {
		if r.Result != jobs.ResultFailed || r.Stopped {
			t.Errorf("%s: %+v", name, r)
		}
	}
	w.job.Timeout = 0
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	for name, r := range w.runMembers(ctx) {
		if !r.Stopped {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("took %s", took)
	}
	w.job.Hooks = config.Hooks{}
	if diff := cmp.Diff([]string{"machines:db ok", "machines:mail ok", "machines:web ok"}, results(w.runMembers(t.Context()))); diff != "" {
		t.Error(diff)
	}
}

// Whoever may rename things where a pattern looks puts a link in the place of what it has found, or another subvolume: neither is taken for it.
func TestMemberReplaced(t *testing.T) {
	w := newWorld(t, 1)
	w.machines("web")
	members := w.members()
	web := members[0].Source
	run := func() (r jobs.Record) {
		w.pass(time.Minute)
		w.runner.RunGroup(t.Context(), members, jobs.Options{Clock: w.clock()}, func(_ config.Job, run func() jobs.Record) { r = run() })
		return r
	}
	if r := run(); r.Result != jobs.ResultOK {
		t.Fatalf("%+v", r)
	}
	must(t, os.Rename(web, web+".moved"))
	must(t, os.Symlink(w.src.Path+"/home", web))
	if r := run(); r.Result != jobs.ResultFailed || !strings.Contains(r.Error, "symbolic link") {
		t.Errorf("%+v", r)
	}
	if snapshots, _ := filepath.Glob(w.src.Path + "/home/.btrkeep/2*"); len(snapshots) > 0 {
		t.Errorf("%q", snapshots)
	}
	// While the group waits for its hook.
	must(t, os.Remove(web))
	must(t, os.Rename(web+".moved", web))
	members[0].Hooks.BeforeSnapshot = []string{"/bin/sh", "-c", "mv " + web + " " + web + ".moved && mv " + w.src.Path + "/home " + web + " && mkdir -m 700 -p " + web + "/.btrkeep"}
	if r := run(); r.Result == jobs.ResultOK || !strings.Contains(r.Error, "not the subvolume that it was") {
		t.Errorf("%+v", r)
	}
	if left, _ := filepath.Glob(web + "/.btrkeep/*"); len(left) > 1 { // its catalog
		t.Errorf("%q", left)
	}
}

// A member whose subvolume is gone can still be listed and restored by its name.
func TestGoneMember(t *testing.T) {
	w := newWorld(t, 1)
	w.machines("web", "db")
	w.runMembers(t.Context())
	must(t, os.Rename(w.src.Path+"/machines/web", w.src.Path+"/away"))
	w.members()
	cfg := jobs.Members(w.cfg)
	if len(cfg.Jobs) != 1 {
		t.Fatalf("%+v", cfg.Jobs)
	}
	for _, stateDir := range []string{w.cfg.StateDir, t.TempDir()} {
		cfg.StateDir = stateDir
		gone, ok := jobs.GoneMember(cfg, "machines:web")
		if !ok || gone.Source != w.src.Path+"/machines/web" {
			t.Fatalf("%v %+v", ok, gone)
		}
		l := w.runner.List(t.Context(), gone)
		if len(l.Destinations) != 1 || len(l.Destinations[0].Backups) != 1 || !l.Destinations[0].Backups[0].Complete {
			t.Errorf("%+v", l)
		}
	}
	for _, name := range []string{"machines:", "machines:nothing", "machines", "other:web"} {
		cfg.StateDir = w.cfg.StateDir
		if gone, ok := jobs.GoneMember(cfg, name); ok && name != "machines:nothing" {
			t.Errorf("%s: %+v", name, gone)
		}
	}
}
