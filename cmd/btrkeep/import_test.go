package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/internal/testssh"
)

// btrbkRun has the real btrbk make its snapshots and backups.
func (m *machine) btrbkRun(conf string) {
	m.t.Helper()
	cmd := exec.Command("btrbk", "-q", "-c", conf, "run")
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("btrbk: %v\n%s", err, out)
	}
}

// imported makes the output of an import the machine's configuration.
func (m *machine) imported(args ...string) (stderr string) {
	m.t.Helper()
	made := filepath.Join(m.dir, "imported.toml")
	r := m.must(append(append([]string{"import"}, args...), "-o", made)...)
	text, err := os.ReadFile(made)
	must(m.t, err)
	m.configure(string(text))
	return r.stderr
}

// What the real btrbk has made is taken over as it lies: the first run after the import is incremental, and nothing of btrbk's is deleted.
func TestImportBtrbkFirstRunIsIncremental(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		conf    string
		sources []string // below the source disk
		dirs    []string // to be made
		kept    []string // where btrbk's snapshots and backups are
		parents map[string]string
	}{
		"one volume, long": {
			conf:    "timestamp_format long\nsnapshot_preserve_min latest\ntarget_preserve_min latest\nvolume $SRC\n snapshot_dir snaps\n target $DST1/mine\n subvolume home\n",
			sources: []string{"home"}, dirs: []string{"$SRC/snaps", "$DST1/mine"}, kept: []string{"$SRC/snaps", "$DST1/mine"},
			parents: map[string]string{"home": "home."},
		},
		"one volume, long-iso, snapshots inside it": {
			conf:    "timestamp_format long-iso\nvolume $SRC/home\n snapshot_dir .snaps\n target $DST1\n subvolume .\n",
			sources: []string{"home"}, dirs: []string{"$SRC/home/.snaps"}, kept: []string{"$SRC/home/.snaps", "$DST1"},
			parents: map[string]string{"home": "home."},
		},
		"several share both directories, short": {
			conf:    "timestamp_format short\nvolume $SRC\n snapshot_dir snaps\n target $DST1/all\n subvolume home\n subvolume srv\n  snapshot_name www\n subvolume c*\n",
			sources: []string{"home", "srv", "c1", "c2"}, dirs: []string{"$SRC/snaps", "$DST1/all"}, kept: []string{"$SRC/snaps", "$DST1/all"},
			parents: map[string]string{"home": "../home.", "www": "../www.", "c:c1": "../../c1.", "c:c2": "../../c2."},
		},
		"several share the target, snapshots in the volume's directory": {
			conf:    "subvolume $SRC/home\n snapshot_dir $SRC\n target $DST1\nsubvolume $SRC/srv\n snapshot_dir $SRC/srv/snaps\n target $DST1\n",
			sources: []string{"home", "srv"}, dirs: []string{"$SRC/srv/snaps"}, kept: []string{"$SRC", "$SRC/srv/snaps", "$DST1"},
			parents: map[string]string{"home": "../home.", "srv": "../srv."},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := machineOn(t, testdisk.New(t, disk).Path, testdisk.New(t, disk).Path)
			for i, s := range c.sources {
				must(t, btrfs.Create(m.srcPath, s))
				testdisk.Tree(t, filepath.Join(m.srcPath, s), testdisk.Spec{Seed: uint64(i), Files: 30, MaxSize: 8 << 10})
			}
			for _, d := range c.dirs {
				must(t, os.MkdirAll(m.expand(d), 0o755))
			}
			conf := filepath.Join(m.dir, "btrbk.conf")
			must(t, os.WriteFile(conf, []byte(m.expand(c.conf)), 0o600))
			for i := range 2 { // the second within the same minute, or day
				for _, s := range c.sources {
					must(t, os.WriteFile(filepath.Join(m.srcPath, s, "changed"), fmt.Append(nil, i), 0o600))
				}
				m.btrbkRun(conf)
			}
			var kept []string
			for _, d := range c.kept {
				found, err := filepath.Glob(filepath.Join(m.expand(d), "*.2*")) // NAME.TIMESTAMP
				must(t, err)
				kept = append(kept, found...)
			}
			m.imported("btrbk", conf)
			m.must("check")
			m.firstIncremental(c.parents)
			for _, path := range kept {
				if _, err := btrfs.Info(path); err != nil {
					t.Errorf("btrbk's %s: %v", path, err)
				}
			}
			if len(kept) < 2*len(c.sources) {
				t.Errorf("btrbk made only %v", kept)
			}
		})
	}
}

// Over ssh likewise, with keys that may do no more than they must, and where several share the directories as where each has its own.
func TestImportBtrbkOverSSH(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bound   string // what the key is bound to; "" is nothing
		conf    string // PUSH and PULL are what the other machine is called
		parents map[string]string
	}{
		"push, to one that may only add": {
			"btrkeep serve --root $DST1/all --append-only",
			"volume $SRC\n snapshot_dir snaps\n target PUSH$DST1/all\n subvolume home\n subvolume srv\n",
			map[string]string{"home": "../home.", "srv": "../srv."},
		},
		"push, with a key for what is above, too": {
			"btrkeep serve --root $DST1/all/home --root $DST1 --append-only",
			"volume $SRC\n snapshot_dir snaps\n target PUSH$DST1/all\n subvolume home\n subvolume srv\n",
			map[string]string{"home": "../home.", "srv": "../srv."},
		},
		"pull, from one that sends two subvolumes": {
			"btrkeep serve --source $SRC/home --source $SRC/srv",
			"volume PULL$SRC\n snapshot_dir snaps\n target $DST1/all\n subvolume home\n subvolume srv\n",
			map[string]string{"home": "../home.", "srv": "../srv."},
		},
		"a key for everything, and a directory for each": {
			"",
			"volume $SRC\n snapshot_dir snaps\n target PUSH$DST1/all\n subvolume home\nvolume PULL$SRC\n snapshot_dir mails\n subvolume mail\n target $DST1/mail\n",
			map[string]string{"home": "home.", "mail": "mail."},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := machineOn(t, testdisk.New(t, disk).Path, testdisk.New(t, disk).Path)
			far := m.far(testssh.Options{Program: program(t)})
			if c.bound != "" {
				m.env = []string{far.Env(far.Authorize(`restrict,command="` + m.expand(c.bound) + `"`))}
			}
			there := strings.Replace(far.URL(""), "root@", "", 1)
			for i, s := range []string{"home", "srv", "mail"} {
				must(t, btrfs.Create(m.srcPath, s))
				testdisk.Tree(t, filepath.Join(m.srcPath, s), testdisk.Spec{Seed: uint64(i), Files: 30, MaxSize: 8 << 10})
			}
			for _, d := range []string{"$SRC/snaps", "$SRC/mails", "$DST1/all/home", "$DST1/mail"} {
				must(t, os.MkdirAll(m.expand(d), 0o755))
			}
			conf := filepath.Join(m.dir, "btrbk.conf")
			text := m.expand("timestamp_format long\n" + c.conf)
			must(t, os.WriteFile(conf, []byte(strings.NewReplacer("PUSH", "", "PULL", "").Replace(text)), 0o600)) // btrbk itself looks for no other machine
			m.btrbkRun(conf)
			must(t, os.WriteFile(conf, []byte(strings.NewReplacer("PUSH", there, "PULL", there).Replace(text)), 0o600))
			m.imported("btrbk", conf)
			m.must("check")
			m.firstIncremental(c.parents)
		})
	}
}

// firstIncremental runs all jobs twice: against what the other tool left, its names by job, then against the own ones. What was received is as it was sent.
func (m *machine) firstIncremental(parents map[string]string) {
	m.t.Helper()
	m.mustRun()
	first := map[string]string{}
	for _, r := range m.history() {
		if len(r.Transfers) != 1 || r.Transfers[0].Result != "ok" || parents[r.Job] == "" || !strings.HasPrefix(r.Transfers[0].Parent, parents[r.Job]) {
			m.t.Errorf("first run of %s: %+v, want a parent %s…", r.Job, r.Transfers, parents[r.Job])
		}
		first[r.Job] = r.Snapshot
	}
	if len(first) != len(parents) {
		m.t.Errorf("jobs that ran: %v, want %v", first, parents)
	}
	m.mustRun()
	for _, r := range m.history()[:len(parents)] {
		if r.Transfers[0].Parent != first[r.Job] {
			m.t.Errorf("second run of %s against %q, want %q", r.Job, r.Transfers[0].Parent, first[r.Job])
		}
	}
	compared := 0
	for _, l := range decode[[]listing](m.t, m.must("list", "--json")) {
		for _, b := range l.Destinations[0].Backups {
			if s := l.snapshotPath(b); s != "" && slices.Contains(l.backups(0), b.Name) {
				diffs, err := testdisk.Compare(s, b.Path)
				must(m.t, err)
				if len(diffs) > 0 {
					m.t.Errorf("%s differs from %s: %v", b.Path, s, diffs)
				}
				compared++
			}
		}
	}
	if compared < 2*len(parents) {
		m.t.Errorf("only %d backups were compared", compared)
	}
}

// The directories of the script btrfs-backup.py, as it lays them out, are gone on with.
func TestImportScriptFirstRunIsIncremental(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	backup := filepath.Join(m.dests[0], "backup")
	snapshots := filepath.Join(m.home(), "snapshot")
	must(t, os.Mkdir(backup, 0o755))
	must(t, os.Mkdir(snapshots, 0o755))
	testdisk.Tree(t, m.home(), testdisk.Spec{Seed: 9, Files: 30, MaxSize: 8 << 10})
	parent := ""
	for _, name := range []string{"261120-120000", "261121-120000"} {
		m.write("f", name)
		must(t, btrfs.Snapshot(m.home(), snapshots, name, true))
		send := `btrfs send -q ${3:+-p "$3"} "$1" | btrfs receive -q "$2"`
		if out, err := exec.Command("sh", "-c", send, "sh", filepath.Join(snapshots, name), backup, parent).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		parent = filepath.Join(snapshots, name)
	}
	for _, dir := range []string{snapshots, backup} {
		must(t, os.Symlink("261121-120000", filepath.Join(dir, ".latest")))
	}
	m.imported("btrfs-backup", fmt.Sprintf("17 3 * * * root /usr/local/sbin/btrfs-backup.py --latest-only %s %s", m.home(), backup))
	m.must("check")
	m.firstIncremental(map[string]string{"home": "261121-120000"})
	for _, dir := range []string{snapshots, backup} {
		for _, name := range []string{"261120-120000", "261121-120000"} {
			if _, err := btrfs.Info(filepath.Join(dir, name)); err != nil {
				t.Errorf("the script's: %v", err)
			}
		}
	}
	text, err := os.ReadFile(m.config)
	must(t, err)
	for _, want := range []string{`schedule     = "17 3 * * *"`, `keep         = { last = 1 }`, "[jobs.home.destinations.backup]"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
}

// Where a copy of one of snapper's snapshots lies in the directory that --destination names, the first run is incremental against it. snapper lays its snapshots out as below.
func TestImportSnapperFirstRunIsIncremental(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	testdisk.Tree(t, m.home(), testdisk.Spec{Seed: 10, Files: 30, MaxSize: 8 << 10})
	must(t, btrfs.Create(m.home(), ".snapshots"))
	first := filepath.Join(m.home(), ".snapshots", "1")
	must(t, os.Mkdir(first, 0o755))
	must(t, btrfs.Snapshot(m.home(), first, "snapshot", true))
	if out, err := exec.Command("sh", "-c", `btrfs send -q "$1" | btrfs receive -q "$2"`, "sh", filepath.Join(first, "snapshot"), m.dests[0]).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	conf := filepath.Join(m.dir, "home")
	must(t, os.WriteFile(conf, fmt.Appendf(nil, "SUBVOLUME=%q\nFSTYPE=\"btrfs\"\nTIMELINE_CREATE=\"yes\"\nTIMELINE_CLEANUP=\"no\"\n", m.home()), 0o600))
	m.imported("snapper", conf, "--destination", m.dests[0])
	m.must("check")
	m.firstIncremental(map[string]string{"home": "../snapshot"})
	if _, err := btrfs.Info(filepath.Join(first, "snapshot")); err != nil {
		t.Errorf("snapper's: %v", err)
	}
}

// A target on the source's own disk is taken over, and said to be none that survives it.
func TestImportBtrbkSameDisk(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 0)
	must(t, os.Mkdir(m.expand("$SRC/copies"), 0o755))
	conf := filepath.Join(m.dir, "btrbk.conf")
	must(t, os.WriteFile(conf, []byte(m.expand("volume $SRC\nsubvolume home\ntarget $SRC/copies\n")), 0o600))
	if notes := m.imported("btrbk", conf); !strings.Contains(notes, "btrbk.conf:3: target "+m.srcPath+"/copies is on the file system of") {
		t.Errorf("not said: %s", notes)
	}
	m.must("check")
	m.mustRun()
}

// The configuration that the package brings says nothing, and so it is in nobody's way.
func TestImportOverShippedConfiguration(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../contrib/systemd/btrkeep.toml")
	must(t, err)
	made := filepath.Join(t.TempDir(), "btrkeep.toml")
	must(t, os.WriteFile(made, text, 0o644))
	out, err := exec.Command(program(t), "import", "btrfs-backup", "/home", "/mnt/backup", "-o", made).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err = os.ReadFile(made)
	must(t, err)
	info, err := os.Stat(made)
	must(t, err)
	if !strings.Contains(string(text), "\n[jobs.home]\n") || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v:\n%s", info.Mode(), text)
	}
	if link := made + ".link"; os.Symlink(made, link) != nil || exec.Command(program(t), "import", "btrfs-backup", "/home", "/mnt/backup", "-o", link).Run() == nil {
		t.Error("a link was replaced")
	}
}
