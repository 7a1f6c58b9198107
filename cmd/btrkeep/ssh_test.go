package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/internal/testssh"
)

// far is another machine, with the same disks, that has btrkeep; the machine's ssh reaches it.
func (m *machine) far(o testssh.Options) *testssh.Server {
	m.t.Helper()
	s := testssh.New(m.t, o)
	m.env = []string{s.Env(s.SSH)}
	return s
}

// Push and pull with the commands of every day: the second run is incremental, what was made is identical, everything shows it.
func TestPushAndPull(t *testing.T) {
	for _, pull := range []bool{false, true} {
		t.Run(fmt.Sprintf("pull=%v", pull), func(t *testing.T) {
			m := newMachine(t, 2)
			s := m.far(testssh.Options{Program: program(t)})
			source, destination := m.home(), s.URL(m.dests[0]+"/home")
			if pull {
				source, destination = s.URL(m.home()), m.dests[0]+"/home"
			}
			m.configure(fmt.Sprintf("[jobs.home]\nsource = %q\ndestination = %q\nkeep = { last = 5 }\n", source, destination))
			testdisk.Tree(t, m.home(), testdisk.Spec{Seed: 5, Files: 100, MaxSize: 64 << 10})
			m.mustRun()
			m.write("b", "2")
			m.mustRun()
			h := m.history()
			if len(h) != 2 || h[0].Transfers[0].Parent != h[1].Snapshot || h[0].Transfers[0].Bytes > 4096 || h[0].Transfers[0].Bytes == 0 {
				t.Errorf("%+v", h)
			}
			l := m.list()
			if len(l.Snapshots) != 2 || len(l.backups(0)) != 2 {
				t.Fatalf("%+v", l)
			}
			for _, b := range l.Destinations[0].Backups {
				m.identical(l.snapshotPath(b), b.Path)
			}
			if r := m.btrkeep("status"); r.status != 0 || !strings.Contains(r.stdout, "  ok  ") {
				t.Errorf("%s", r)
			}
			if r := m.btrkeep("plan"); r.status != 0 || !strings.Contains(r.stdout, "against "+h[0].Snapshot) {
				t.Errorf("%s", r)
			}
			if r := m.btrkeep("check"); r.status != 0 || r.stderr != "" {
				t.Errorf("%s", r)
			}
			m.must("pin", "--job=home", h[1].Snapshot)
			// Back: all of it, and a file.
			to := m.dests[1] + "/restored"
			m.must("restore", "home", "--from", l.Destinations[0].Name, "--to", to)
			m.identical(l.Destinations[0].Backups[1].Path, to)
			m.must("restore", "home", "b", "--from", l.Destinations[0].Name, "--to", m.dests[1]+"/files")
			if b, err := os.ReadFile(m.dests[1] + "/files/b"); err != nil || string(b) != "2" {
				t.Errorf("%q, %v", b, err)
			}
			if left, err := filepath.Glob(m.dests[1] + "/.btrkeep-restore-*"); err != nil || len(left) > 0 {
				t.Errorf("left behind: %q, %v", left, err)
			}
			// Without a configuration.
			if r := m.btrkeep("backup", source, destination); r.status != 0 {
				t.Errorf("%s", r)
			}
		})
	}
}

// TROUBLE 10, 30, 31: whatever is wrong with the way there or the far end: it is said, with its cure, the exit status is right, the other destination gets its backup, and no snapshot is lost.
func TestFarTrouble(t *testing.T) {
	type world struct {
		*machine
		s *testssh.Server
	}
	bound := func(command string) func(w world) {
		return func(w world) { w.env = []string{w.s.Env(w.s.Authorize(`command="` + command + `"`))} }
	}
	for name, test := range map[string]struct {
		options testssh.Options
		before  func(w world)
		status  int
		says    []string // on standard error
	}{
		"noise of a login script": {options: testssh.Options{Program: "btrkeep", Noise: "Welcome to nas!\n\nLast login: yesterday"}, status: 0},
		"host key changed":        {options: testssh.Options{Program: "btrkeep"}, before: func(w world) { w.s.NewHostKey() }, status: 1, says: []string{"its host key has changed", "ssh-keygen -R"}},
		"host key unknown":        {options: testssh.Options{Program: "btrkeep"}, before: func(w world) { w.s.Forget() }, status: 1, says: []string{"its host key is not known", "once by hand"}},
		"key refused, or a password wanted": {options: testssh.Options{Program: "btrkeep"}, before: func(w world) {
			ssh, _ := w.s.Stranger()
			w.env = []string{w.s.Env(ssh)}
		}, status: 1, says: []string{"Permission denied", "enters no passwords"}},
		"host down":   {options: testssh.Options{Program: "btrkeep"}, before: func(w world) { w.s.Stop() }, status: 75, says: []string{"Connection refused"}},
		"no btrkeep":  {status: 1, says: []string{"there is no btrkeep", "install btrkeep there"}},
		"no ssh":      {options: testssh.Options{Program: "btrkeep"}, before: func(w world) { w.env = []string{"BTRKEEP_SSH=no-such-ssh"} }, status: 1, says: []string{"not installed", "install it"}},
		"other bound": {before: bound("echo only rsync here"), status: 1, says: []string{"no btrkeep", "only rsync here"}},
		"newer":       {before: bound(`printf '\000btrkeep wire\0007-9 v9\n'; cat >/dev/null`), status: 1, says: []string{"speaks protocol 7 to 9", "update btrkeep here"}},
		"not root": {options: testssh.Options{Program: "btrkeep"}, before: func(w world) {
			bound("setpriv --reuid=65534 --clear-groups " + program(w.t) + " serve --trust-client")(w)
		}, status: 1, says: []string{"needs root", "sudo"}},
		"other root":   {options: testssh.Options{Program: "btrkeep"}, before: func(w world) { bound("btrkeep serve --root " + w.dir)(w) }, status: 1, says: []string{"outside of what this key may use", "bound to"}},
		"only to read": {options: testssh.Options{Program: "btrkeep"}, before: func(w world) { bound("btrkeep serve --read-only --root " + w.dests[0])(w) }, status: 1, says: []string{"only read"}},
		"no btrfs there": {options: testssh.Options{Program: "btrkeep"}, before: func(w world) {
			w.configure(w.job(w.s.URL(w.dir + "/backups")))
		}, status: 1, says: []string{"is not on btrfs"}},
		"disk there is full": {options: testssh.Options{Program: "btrkeep"}, before: func(w world) {
			w.grow("large", 1, 96<<20)
			fill(w.t, w.dests[0])
		}, status: 1, says: []string{"full", "keep"}},
		"nothing mounted there": {options: testssh.Options{Program: "btrkeep"}, before: func(w world) {
			w.configure(strings.Replace(w.job(w.s.URL(w.dests[0]+"/home")), "[jobs.home.destinations.usb]", "require_mount = \""+w.dests[0]+"/home\"\n[jobs.home.destinations.usb]", 1))
		}, status: 75, says: []string{"nothing is mounted at"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, 2)
			if test.options.Program != "" {
				test.options.Program = program(t)
			}
			w := world{m, m.far(test.options)}
			must(t, os.Mkdir(m.dests[0]+"/home", 0o700))
			m.write("f", "1")
			m.configure(m.job(w.s.URL(m.dests[0] + "/home")))
			if test.before != nil {
				test.before(w)
			}
			r := m.btrkeep("run")
			if r.status != test.status {
				t.Errorf("exit status %d, want %d", r.status, test.status)
			}
			for _, s := range test.says {
				if !strings.Contains(r.stdout+r.stderr, s) {
					t.Errorf("%q is not said", s)
				}
			}
			if t.Failed() {
				t.Logf("%s", r)
			}
			h := m.history()
			if len(h) != 1 {
				t.Fatalf("%+v", h)
			}
			if !slices.ContainsFunc(h[0].Transfers, func(tr transfer) bool { return tr.Destination == "usb" && tr.Result == "ok" && tr.Bytes > 0 }) {
				t.Errorf("%+v", h)
			}
			snapshots, err := os.ReadDir(m.home() + "/.btrkeep")
			must(t, err)
			if i := slices.IndexFunc(snapshots, func(e os.DirEntry) bool { return e.Name() == h[0].Snapshot }); i < 0 {
				t.Errorf("the snapshot %s is gone: %v", h[0].Snapshot, snapshots)
			}
			m.identical(filepath.Join(m.home(), ".btrkeep", h[0].Snapshot), filepath.Join(m.dests[1], "home", h[0].Snapshot))
			if test.status == 0 {
				return
			}
			if all, err := filepath.Glob(m.dests[0] + "/home/2*"); err != nil || len(all) > 0 {
				t.Errorf("looks like a backup: %q, %v", all, err)
			}
			// check says the same, but for what only shows when something is written.
			if c := m.btrkeep("check"); name != "disk there is full" && !strings.Contains(c.stderr, test.says[0]) {
				t.Errorf("%s", c)
			}
		})
	}
}

// job is a configuration with a destination nas elsewhere and one here.
func (m *machine) job(nas string) string {
	return fmt.Sprintf("[jobs.home]\nsource = %q\nkeep = { last = 9 }\n[jobs.home.destinations.nas]\nurl = %q\n[jobs.home.destinations.usb]\nurl = %q\n", m.home(), nas, m.dests[1]+"/home")
}

// fill leaves hardly anything free on a disk.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(filepath.Join(path, "fill"))
	must(t, err)
	defer f.Close()
	block := make([]byte, 1<<20)
	for i := range 1 << 10 {
		block[i%len(block)] = byte(i)
		if _, err := f.Write(block); err != nil {
			break
		}
	}
	must(t, f.Truncate(max(0, size(t, f)-(8<<20))))
	_ = f.Sync()
}

func size(t *testing.T, f *os.File) int64 {
	t.Helper()
	st, err := f.Stat()
	must(t, err)
	return st.Size()
}

// Sixty deletions at the far end, and everything else of the run, go over one connection.
func TestOneConnection(t *testing.T) {
	m := newMachine(t, 1)
	s := m.far(testssh.Options{Program: program(t)})
	const many = 61
	must(t, os.Mkdir(m.home()+"/.btrkeep", 0o700))
	config := "[jobs.home]\nsource = %q\ndestination = %q\nkeep = { last = %d }\n"
	m.configure(fmt.Sprintf(config, m.home(), m.dests[0]+"/home", 2*many))
	for i := range many { // here, which is faster
		m.write("f", fmt.Sprint(i))
		m.mustRun()
	}
	m.configure(fmt.Sprintf(config, m.home(), s.URL(m.dests[0]+"/home"), 1))
	before := s.Logins()
	m.write("f", "last")
	m.mustRun()
	if n := s.Logins() - before; n != 1 {
		t.Errorf("%d logins", n)
	}
	h := m.history()[0]
	far := 0
	for _, p := range h.Pruned {
		if p.Where == "default" {
			far++
		}
	}
	if far != many || len(h.Transfers) != 1 || h.Transfers[0].Parent == "" {
		t.Errorf("%d pruned there; %+v", far, h.Transfers)
	}
	if got := m.list().backups(0); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

// The line that `check --authorized-key` prints, pasted, lets the jobs do what they need, and nothing else.
func TestAuthorizedKey(t *testing.T) {
	m := newMachine(t, 2)
	s := m.far(testssh.Options{Program: program(t)})
	must(t, btrfs.Create(m.srcPath, "it's \"web\""))
	must(t, os.WriteFile(m.srcPath+"/it's \"web\"/f", []byte("x"), 0o600))
	must(t, os.Mkdir(m.dests[0]+"/to ann", 0o700))
	m.configure(fmt.Sprintf("[jobs.push]\nsource = %q\ndestination = %q\n[jobs.pull]\nsource = %q\ndestination = %q\n",
		m.home(), s.URL(m.dests[0]+"/to%20ann"), s.URL(m.srcPath+"/it's%20%22web%22"), m.dests[1]+"/web"))
	r := m.must("check", "--authorized-key")
	lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(r.stdout), "\n"), func(l string) bool { return strings.HasPrefix(l, "#") })
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "restrict,command=\"btrkeep serve --root '") || !strings.Contains(lines[0], "--append-only") {
		t.Fatalf("%s", r)
	}
	s.OnlyAuthorize(lines[0])
	m.mustRun()
	l := decode[[]listing](t, m.must("list", "--json"))
	for _, job := range l {
		for _, b := range job.Destinations[0].Backups {
			m.identical(job.snapshotPath(b), b.Path)
		}
		if len(job.Destinations[0].Backups) != 1 {
			t.Errorf("%+v", job)
		}
	}
	if r := m.btrkeep("backup", m.home(), s.URL(m.dests[0]+"/other")); r.status != 1 || !strings.Contains(r.stderr, "outside") {
		t.Errorf("%s", r)
	}
	if r := m.btrkeep("backup", s.URL(m.home()), m.dests[1]+"/other"); r.status != 1 || !strings.Contains(r.stderr, "not a source that this key may send") {
		t.Errorf("%s", r)
	}
}
