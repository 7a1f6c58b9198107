package migrate

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/config"
)

func TestSnapper(t *testing.T) {
	text := strings.Join([]string{
		`SUBVOLUME="/home"`, `FSTYPE="btrfs"`, `QGROUP="1/0"`, `ALLOW_USERS=""`, `NUMBER_CLEANUP="no"`, `TIMELINE_CREATE="no"`, `TIMELINE_CLEANUP="yes"`,
		`TIMELINE_LIMIT_HOURLY="0"`, `TIMELINE_LIMIT_DAILY="2-7"`, `TIMELINE_LIMIT_MONTHLY='3'`, `TIMELINE_LIMIT_YEARLY="0"`, `TIMELINE_MIN_AGE="1800"`, `NEW_KEY="1"`,
	}, "\n")
	c := Snapper([]File{{"/etc/snapper/configs/ann", text}, {"/etc/snapper/configs/lvm", "SUBVOLUME=/x\nFSTYPE=\"lvm(ext4)\""}}, "/mnt/backup", Machine{})
	loads(t, c)
	want := []Job{{
		Name: "ann", Comment: []string{"/etc/snapper/configs/ann: /home"}, Source: "/home", Schedule: "@daily", Keep: Keep{Keep: config.Keep{Daily: 7, Monthly: 3}, Said: "snapper: TIMELINE_LIMIT_*"},
		Destinations: []Destination{{Name: "backup", URL: "/mnt/backup/ann"}},
	}}
	if diff := cmp.Diff(want, c.Jobs); diff != "" {
		t.Error(diff)
	}
	var named []string
	for _, n := range c.Notes {
		key, _, _ := strings.Cut(n.Text, " ")
		named = append(named, key)
	}
	if diff := cmp.Diff([]string{"QGROUP", "TIMELINE_MIN_AGE", "NEW_KEY", "no"}, named); diff != "" {
		t.Error(diff)
	}
}

func TestScript(t *testing.T) {
	for name, c := range map[string]struct {
		args     []string
		source   string
		to       []string
		schedule string
		keep     config.Keep
		notes    int
	}{
		"arguments":            {[]string{"/home", "/mnt/backup"}, "/home", []string{"/mnt/backup"}, "@daily", config.Keep{}, 0},
		"paths with blanks":    {[]string{"/my home/", "/mnt/a b"}, "/my home", []string{"/mnt/a b"}, "@daily", config.Keep{}, 0},
		"crontab of root":      {[]string{"*/15 3 * * 1-5 /usr/bin/btrfs-backup.py --latest-only / /b"}, "/", []string{"/b"}, "*/15 3 * * 1-5", config.Keep{Last: 1}, 0},
		"/etc/crontab":         {[]string{"@hourly root python3 /opt/btrfs-backup.py -d /home /b >>/var/log/x 2>&1"}, "/home", []string{"/b"}, "@hourly", config.Keep{}, 1},
		"several destinations": {[]string{"btrfs-backup", "--new", "/home", "/b", "/c"}, "/home", []string{"/b", "/c"}, "@daily", config.Keep{}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			made, err := Script(c.args, false, Machine{})
			must(t, err)
			loads(t, made)
			j := made.Jobs[0]
			var to []string
			for _, d := range j.Destinations {
				to = append(to, d.URL)
			}
			if j.Source != c.source || j.Schedule != c.schedule || j.Keep.Keep != c.keep || len(made.Notes) != c.notes {
				t.Errorf("%+v, notes %v", j, made.Notes)
			}
			if diff := cmp.Diff(c.to, to); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, args := range [][]string{{"/home"}, {"home", "/b"}, {"/home", "nas:/b"}, {"-x", "/home"}, {""}, {"", "/b"}, {"/home", ""}} {
		if made, err := Script(args, false, Machine{}); err == nil {
			t.Errorf("%q: made %+v", args, made.Jobs)
		}
	}
}

// Of two configurations with one subvolume the second is commented out. With all limits 0 snapper keeps no snapshots; backups it has none, so all of them stay.
func TestSnapperTwins(t *testing.T) {
	zero := "SUBVOLUME=\"/home\"\nTIMELINE_CLEANUP=\"yes\"\nTIMELINE_LIMIT_HOURLY=\"0\"\nTIMELINE_LIMIT_DAILY=\"0\"\nTIMELINE_LIMIT_MONTHLY=\"0\"\nTIMELINE_LIMIT_YEARLY=\"0\"\n"
	made := Snapper([]File{{"/etc/snapper/configs/a", zero}, {"/etc/snapper/configs/b", "SUBVOLUME=\"/home/\"\n"}}, "/mnt/backup", Machine{})
	cfg := loads(t, made)
	if len(cfg.Jobs) != 1 || cfg.Jobs[0].Keep != (config.Keep{Last: 1}) || !keepsAll(cfg.Jobs[0].Destinations[0].Keep) {
		t.Errorf("%+v", cfg.Jobs)
	}
	if len(made.Notes) != 2 || !strings.Contains(made.Notes[0].Text, "are all 0") || !strings.Contains(made.Notes[1].Text, "in job a already") {
		t.Errorf("notes: %v", made.Notes)
	}
}

func keepsAll(k config.Keep) bool {
	return k == config.Keep{Within: config.Duration(36500 * 24 * time.Hour)}
}

// The destination that a line of a crontab names twice is one.
func TestScriptTwice(t *testing.T) {
	made, err := Script([]string{"btrfs-backup /home /b /b/"}, false, Machine{})
	must(t, err)
	if cfg := loads(t, made); len(cfg.Jobs[0].Destinations) != 1 || len(made.Notes) != 1 {
		t.Errorf("%+v, notes %v", cfg.Jobs[0].Destinations, made.Notes)
	}
}

// [defaults], which may be in another file, changes nothing of what is imported: neither is pruned what the other tool keeps, nor started what only a person starts.
func TestDefaultsChangeNothing(t *testing.T) {
	script, err := Script([]string{"/home", "/b"}, false, Machine{})
	must(t, err)
	for name, made := range map[string]*Config{
		"btrbk":   Btrbk("btrbk.conf", "subvolume /home\n target /b\nsubvolume /by-hand\n noauto yes\n target /c\n", Machine{Root: t.TempDir()}),
		"snapper": Snapper([]File{{"home", "SUBVOLUME=\"/home\"\nTIMELINE_CLEANUP=\"no\"\n"}}, "/b", Machine{}),
		"script":  script,
	} {
		cfg, err := config.Parse("btrkeep.toml", "[defaults]\nschedule = \"@hourly\"\nkeep = { last = 2 }\n"+made.Text(), func(string) string { return "" })
		must(t, err)
		if len(cfg.Jobs) != 1 {
			t.Fatalf("%s: %d jobs:\n%s", name, len(cfg.Jobs), made.Text())
		}
		j := cfg.Jobs[0]
		if j.Schedule.String() != "@daily" || !keepsAll(j.Keep) || !keepsAll(j.Destinations[0].Keep) {
			t.Errorf("%s: schedule %v, keep %+v and %+v", name, j.Schedule, j.Keep, j.Destinations[0].Keep)
		}
		if name == "btrbk" && (len(made.Notes) != 1 || !strings.Contains(made.Notes[0].String(), "btrbk.conf:4: noauto: job by-hand is commented out")) {
			t.Errorf("notes: %v", made.Notes)
		}
	}
}

// One directory of another machine is one, however it is written.
func TestBtrbkOnePlace(t *testing.T) {
	for name, text := range map[string]string{
		"port":        "subvolume /a\n target ssh://nas/b\nsubvolume /c\n target ssh://nas:22/b\n",
		"port option": "subvolume /a\n target ssh://nas/b\n ssh_port 2222\nsubvolume /c\n target ssh://nas:2222/b\n",
		"host":        "subvolume /a\n target ssh://nas/b\nsubvolume /c\n target NAS:/b\n",
		"names":       "ssh_user no\nsubvolume /x/a\n target nas:/b\nsubvolume /y/a\n ssh_port 22\n target nas:/b\n",
	} {
		made := Btrbk("btrbk.conf", text, Machine{Root: t.TempDir()})
		loads(t, made)
		for _, j := range made.Jobs {
			if url := j.Destinations[0].URL; strings.HasSuffix(url, "/b") {
				t.Errorf("%s: %s has the directory of all for itself: %s", name, j.Name, url)
			}
		}
	}
	twice := Btrbk("btrbk.conf", "target ssh://nas/b\nsubvolume /a\n target ssh://NAS:22/b\nsubvolume ssh://nas/s\n target /t\nsubvolume ssh://nas:22/s\n target /u\n", Machine{Root: t.TempDir()})
	loads(t, twice)
	if n := len(twice.Jobs[0].Destinations); n != 1 {
		t.Errorf("one target is %d destinations", n)
	}
	if twice.Jobs[1].Off != "" || twice.Jobs[2].Off == "" {
		t.Errorf("one source is two jobs: %s", twice.Text())
	}
}

// Whatever is in a btrbk.conf, what comes out is TOML, with no job that was not asked for.
func FuzzBtrbk(f *testing.F) {
	f.Add("volume /a\n subvolume b\n snapshot_name \"x\n target raw ssh://h/\\\"\x01\n")
	f.Add("subvolume /a\n target host:/b\nsubvolume /a/*\n snapshot_preserve 1h 99999999999d\nsnapshot_preserve_min 0h")
	f.Add("volume ssh://[::1]:22/\nsubvolume .\ntarget /x # y ' z\ngroup a\ngroup b,c\nrate_limit 9999999t")
	f.Fuzz(func(t *testing.T, text string) {
		made := Btrbk("btrbk.conf", text, Machine{Root: "/nowhere"})
		var out struct {
			Jobs map[string]any
		}
		if _, err := toml.Decode(made.Text(), &out); err != nil {
			t.Errorf("%v\n%s", err, made.Text())
		}
		active := 0
		for _, j := range made.Jobs {
			if j.Off == "" {
				active++
			}
		}
		if len(out.Jobs) != active {
			t.Errorf("%d jobs, want %d:\n%s", len(out.Jobs), active, made.Text())
		}
	})
}

func TestBtrbkSchedule(t *testing.T) {
	c := &computer{t: t, root: t.TempDir()}
	look := func(want string) {
		t.Helper()
		if got, why := (Machine{Root: c.root}).btrbkSchedule(); got != want || why == "" {
			t.Errorf("%q (%s), want %q", got, why, want)
		}
	}
	look("@daily")
	c.file("/lib/systemd/system/btrbk.timer", "[Timer]\nOnCalendar=weekly\n")
	look("@weekly")
	c.file("/etc/cron.hourly/btrbk", "#!/bin/sh\n")
	look("@hourly")
}

// Every option of btrbk that is known here is in the documentation.
func TestBtrbkOptionsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/coming-from.md")
	must(t, err)
	var keys []string
	for key := range translated() {
		keys = append(keys, key)
	}
	for _, group := range untranslated() {
		if strings.HasPrefix(group.why, "btrbk ") { // it does not know them any more
			continue
		}
		keys = append(keys, strings.Fields(group.keys)...)
	}
	for _, key := range keys {
		first, _, _ := strings.Cut(key, "_")
		last := key[strings.LastIndex(key, "_")+1:]
		forms := []string{key, first + "*", first + "_*", "*_qgroup_" + last, strings.TrimSuffix(key, "*"), strings.TrimSuffix(key, "_remote") + "*"}
		if !slices.ContainsFunc(forms, func(form string) bool { return strings.Contains(string(text), "`"+form) }) {
			t.Errorf("%s is not in docs/coming-from.md", key)
		}
	}
}
