package config

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func noEnv(string) string { return "" }

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", path, diff)
	}
}

// mistakes loads a file that must not load.
func mistakes(t *testing.T, path string) Errors {
	t.Helper()
	c, err := Load(path, noEnv)
	var list Errors
	if c != nil || !errors.As(err, &list) || len(list) == 0 {
		t.Fatalf("Load = %v, %v; want nil and mistakes", c, err)
	}
	for _, e := range list {
		if e.Hint == "" || e.File == "" || e.Msg == "" {
			t.Errorf("incomplete: %#v", e)
		}
	}
	return list
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(paths), err)
	}
	return paths
}

// TROUBLE 37, 44: unknown keys, keys of another section, two sources with one destination directory, policies that keep nothing: what is wrong is refused with its place.
func TestMistakes(t *testing.T) {
	for _, path := range glob(t, "testdata/mistakes/*.toml") {
		name := strings.TrimSuffix(path, ".toml")
		t.Run(filepath.Base(name), func(t *testing.T) {
			golden(t, name+".golden", mistakes(t, path).Error()+"\n")
		})
	}
}

func TestDropInMistakes(t *testing.T) {
	for _, name := range []string{"twice", "broken"} {
		t.Run(name, func(t *testing.T) {
			path := "testdata/dropins/" + name
			golden(t, path+".golden", mistakes(t, path+"/btrkeep.toml").Error()+"\n")
		})
	}
}

func mustLoad(t *testing.T, path string) *Config {
	t.Helper()
	c, err := Load(path, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// loadText is Load of one file of that text.
func loadText(t *testing.T, text string) *Config {
	t.Helper()
	c, err := load([]source{{"test.toml", text}}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDropIns(t *testing.T) {
	c := mustLoad(t, "testdata/dropins/merged/btrkeep.toml")
	files := []string{
		"testdata/dropins/merged/btrkeep.toml",
		"testdata/dropins/merged/conf.d/10-home.toml",
		"testdata/dropins/merged/conf.d/20-srv.toml",
	}
	if diff := cmp.Diff(files, c.Files); diff != "" {
		t.Error(diff)
	}
	if len(c.Jobs) != 2 || c.Parallel != 1 || len(c.Warnings) != 0 {
		t.Fatalf("%+v", c)
	}
	home, srv := c.Jobs[0], c.Jobs[1]
	if home.Schedule.String() != "@daily" || srv.Schedule.String() != "@hourly" {
		t.Errorf("schedules %q and %q", home.Schedule, srv.Schedule)
	}
	if want := (Keep{Daily: 7}); home.Keep != want || srv.Keep != want || home.Destinations[0].Keep != want {
		t.Errorf("the defaults of a drop-in do not hold for all: %+v, %+v", home, srv)
	}
}

func TestSmallest(t *testing.T) {
	got := mustLoad(t, "testdata/smallest.toml")
	want := &Config{
		Timezone:   time.Local,
		Parallel:   2,
		StateDir:   "/var/lib/btrkeep",
		RuntimeDir: "/run/btrkeep",
		Checkpoint: Checkpoint{Bytes: 1 << 30, Time: Duration(time.Minute)},
		Receiver:   DefaultReceiver,
		Files:      []string{"testdata/smallest.toml"},
		Warnings:   []string{`testdata/smallest.toml:1:1: job "home" has no keep: nothing is ever pruned at its source, nor at destination default`},
		Jobs: []Job{{
			Name:         "home",
			Source:       "/home",
			SnapshotDir:  "/home/.btrkeep",
			Schedule:     mustSchedule(t, "@hourly"),
			CatchUp:      true,
			IOClass:      IOClass{Class: 3},
			StallTimeout: Duration(10 * time.Minute),
			Destinations: []Destination{{Name: "default", URL: "/mnt/backup/home"}},
		}},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(sameLocation)); diff != "" {
		t.Error(diff)
	}
}

func sameLocation(a, b *time.Location) bool { return a == b }

// TestEverything loads the sample that has every key, first as it is, then without what this version refuses.
func TestEverything(t *testing.T) {
	const path = "testdata/everything.toml"
	golden(t, "testdata/everything.golden", mistakes(t, path).Error()+"\n")

	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	short, _, _ := strings.Cut(string(text), "[jobs.home.destinations.cloud]")
	c := loadText(t, short)
	if len(c.Warnings) != 0 {
		t.Errorf("warnings: %q", c.Warnings)
	}
	if c.Timezone.String() != "Europe/Berlin" || c.Receiver != ReceiverNative || c.Metrics != "127.0.0.1:9797" || len(c.Jobs) != 1 {
		t.Fatalf("%+v", c)
	}
	want := Job{
		Name:         "home",
		Source:       "/home",
		SnapshotDir:  "/home/.btrkeep",
		Schedule:     mustSchedule(t, "15 * * * *"),
		Jitter:       Duration(5 * time.Minute),
		CatchUp:      true,
		Window:       Window{From: 22 * time.Hour, Until: 6 * time.Hour},
		OnlyOnAC:     true,
		InhibitSleep: true,
		Notify: Notify{
			PingURL: "https://hc-ping.com/KEY/btrkeep-{job}", Webhook: "https://ntfy.example/backups", Mail: "root",
			Command: []string{"/usr/local/bin/tell"}, Remind: Duration(24 * time.Hour),
		},
		OnlyIfChanged: true,
		IOClass:       IOClass{Class: 3},
		Timeout:       Duration(12 * time.Hour),
		StallTimeout:  Duration(5 * time.Minute),
		Keep:          Keep{Hourly: 24, Daily: 7},
		Hooks: Hooks{
			BeforeSnapshot: []string{"/usr/local/bin/freeze-db"},
			AfterSnapshot:  []string{"/usr/local/bin/thaw-db"},
			OnSuccess:      []string{"/usr/bin/touch", "/run/backup-ok"},
			OnFailure:      []string{"/usr/local/bin/alarm"},
		},
		Destinations: []Destination{{
			Name: "nas",
			URL:  "ssh://backup@nas.example/srv/backup/home",
			Keep: Keep{Hourly: 24, Daily: 7},
			RateLimit: Rate{
				Default: 10 << 20,
				Windows: []RateWindow{{Window: Window{From: 22 * time.Hour, Until: 6 * time.Hour}}},
				Zone:    c.Timezone,
			},
		}, {
			Name:         "usb",
			URL:          "/mnt/usb/home",
			RequireMount: "/mnt/usb",
			MaxAge:       Duration(14 * 24 * time.Hour),
			Keep:         Keep{Daily: 30, Weekly: 12, Monthly: 24, Yearly: 10},
			RateLimit:    Rate{Default: 50 << 20},
		}},
	}
	if diff := cmp.Diff(want, c.Jobs[0], cmp.Comparer(sameLocation)); diff != "" {
		t.Error(diff)
	}
}

func TestWarnings(t *testing.T) {
	c := mustLoad(t, "testdata/warnings.toml")
	golden(t, "testdata/warnings.golden", strings.Join(c.Warnings, "\n")+"\n")

	for _, text := range []string{"", "# nothing\n", "[jobs]\n", "[defaults]\nschedule = \"@daily\"\n"} {
		c := loadText(t, text)
		want := []string{"test.toml: no job is configured: nothing is backed up"}
		if diff := cmp.Diff(want, c.Warnings); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

func TestNoFile(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.toml"), noEnv)
	var list Errors
	if !errors.Is(err, fs.ErrNotExist) || errors.As(err, &list) {
		t.Errorf("got %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "conf.d"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	main := filepath.Join(dir, "btrkeep.toml")
	if err := os.WriteFile(main, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(main, noEnv); err == nil {
		t.Error("a conf.d that cannot be listed was passed over")
	}
}

func TestTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large.toml")
	if err := os.WriteFile(path, []byte(strings.Repeat("#\n", maxFile)), 0o644); err != nil {
		t.Fatal(err)
	}
	if list := mistakes(t, path); len(list) != 1 {
		t.Errorf("%v", list)
	}
}

func TestTooMany(t *testing.T) {
	var many strings.Builder
	for i := range 5 * maxMistakes {
		fmt.Fprintf(&many, "x%d = 1\n", i)
	}
	path := filepath.Join(t.TempDir(), "many.toml")
	if err := os.WriteFile(path, []byte(many.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	list := mistakes(t, path)
	if len(list) != maxMistakes+1 || !strings.HasPrefix(list[maxMistakes].Msg, "too many") {
		t.Errorf("%d mistakes, the last is %v", len(list), list[len(list)-1])
	}
}

// TestDefaults holds that a job's key takes the place of the default, whole.
func TestDefaults(t *testing.T) {
	c := loadText(t, `
[jobs.plain]
source = "/plain"

[jobs.own]
source = "/own"
keep = { last = 1 }
catch_up = true
hooks = { on_failure = ["/bin/own"] }
stall_timeout = "1m"
destination = "/mnt/own"

[defaults]
keep = { daily = 7, weekly = 4 }
catch_up = false
io_class = "none"
hooks = { on_success = ["/bin/default"] }
[defaults.destinations.usb]
url = "/mnt/usb"
keep = { yearly = 1 }
rate_limit = { "22:00-06:00" = "1M" }
[defaults.destinations.disk]
url = "/mnt/disk"
`)
	own, plain := c.Jobs[0], c.Jobs[1]
	if diff := cmp.Diff(Job{
		Name: "own", Source: "/own", SnapshotDir: "/own/.btrkeep", CatchUp: true,
		Keep: Keep{Last: 1}, Hooks: Hooks{OnFailure: []string{"/bin/own"}}, StallTimeout: Duration(time.Minute),
		Destinations: []Destination{{Name: "default", URL: "/mnt/own", Keep: Keep{Last: 1}}},
	}, own); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Job{
		Name: "plain", Source: "/plain", SnapshotDir: "/plain/.btrkeep",
		Keep: Keep{Daily: 7, Weekly: 4}, Hooks: Hooks{OnSuccess: []string{"/bin/default"}}, StallTimeout: Duration(10 * time.Minute),
		Destinations: []Destination{
			{Name: "disk", URL: "/mnt/disk", Keep: Keep{Daily: 7, Weekly: 4}},
			{Name: "usb", URL: "/mnt/usb", Keep: Keep{Yearly: 1}, RateLimit: Rate{
				Windows: []RateWindow{{Window: Window{From: 22 * time.Hour, Until: 6 * time.Hour}, Limit: 1 << 20}}, Zone: time.Local,
			}},
		},
	}, plain, cmp.Comparer(sameLocation)); diff != "" {
		t.Error(diff)
	}
}

// TROUBLE 32: paths with spaces, quotes, newlines, leading dashes and doubled slashes are taken as they are meant.
func TestPaths(t *testing.T) {
	long := strings.Repeat("n", 255)
	for written, want := range map[string]string{
		`"/a b/c  d"`:                  "/a b/c  d",
		`"/it's \"quoted\""`:           `/it's "quoted"`,
		`'/back\slash'`:                `/back\slash`,
		`"/new\nline"`:                 "/new\nline",
		"\"\"\"/new\nline\"\"\"":       "/new\nline",
		`"/größe/日本/🙂"`:                "/größe/日本/🙂",
		`"/-dash/--two"`:               "/-dash/--two",
		`"//double///slash//"`:         "/double/slash",
		`"/up/../down/./here"`:         "/down/here",
		`"/a:b@c://d?e#f%20"`:          "/a:b@c:/d?e#f%20",
		`"/$HOME/~/*"`:                 "/$HOME/~/*",
		`"/` + long + `/` + long + `"`: "/" + long + "/" + long,
	} {
		c := loadText(t, "[jobs.a]\nsource = "+written+"\ndestination = \"/mnt\"\n")
		if got := c.Jobs[0].Source; got != want {
			t.Errorf("source %s: %q, want %q", written, got, want)
		}
		c = loadText(t, "[jobs.a]\nsource = \"/source\"\ndestination = "+written+"\n")
		if got := c.Jobs[0].Destinations[0].URL; got != want {
			t.Errorf("destination %s: %q, want %q", written, got, want)
		}
	}
}

func TestDirectories(t *testing.T) {
	for name, test := range map[string]struct {
		text           string
		env            map[string]string
		state, runtime string
	}{
		"default": {state: "/var/lib/btrkeep", runtime: "/run/btrkeep"},
		"key": {
			text:  "state_dir = '/key/s/'\nruntime_dir = '/key/r'",
			env:   map[string]string{"BTRKEEP_STATE_DIR": "/own/s", "BTRKEEP_RUNTIME_DIR": "/own/r"},
			state: "/key/s", runtime: "/key/r",
		},
		"own": {
			env: map[string]string{
				"BTRKEEP_STATE_DIR": "/own/s/", "BTRKEEP_RUNTIME_DIR": "/own/r",
				"STATE_DIRECTORY": "/systemd/s", "RUNTIME_DIRECTORY": "/systemd/r",
			},
			state: "/own/s", runtime: "/own/r",
		},
		"systemd": {
			env:   map[string]string{"STATE_DIRECTORY": "/systemd/s:/other", "RUNTIME_DIRECTORY": "/systemd/r"},
			state: "/systemd/s", runtime: "/systemd/r",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := load([]source{{"test.toml", test.text}}, func(key string) string { return test.env[key] })
			if err != nil {
				t.Fatal(err)
			}
			if c.StateDir != test.state || c.RuntimeDir != test.runtime {
				t.Errorf("got %s and %s", c.StateDir, c.RuntimeDir)
			}
		})
	}
	_, err := load([]source{{"test.toml", ""}}, func(string) string { return "relative" })
	const want = "$BTRKEEP_STATE_DIR: path \"relative\" is not absolute"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
