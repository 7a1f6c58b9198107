package main_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

var update = flag.Bool("update", false, "write what the program does now into the scripts and golden files")

// The scripts in testdata/script are what people type and what they see. Beside the commands of testscript they have
//
//	disks N               a source disk at $SRC with the subvolume $SRC/home, and N destination disks at $DST1 …
//	config FILE           FILE, its variables replaced, is the configuration from here on
//	btrkeep STATUS ARG…   runs the program, which must exit with STATUS; what it prints is masked for comparison (see mask)
//	mutate DIR SEED       changes files below DIR
//	unmount $DST1         takes the disk away; remount brings it back
func TestScripts(t *testing.T) {
	runScripts(t, "", testscript.Params{Dir: "testdata/script", UpdateScripts: *update})
}

// Whoever receives, people see the same.
func TestScriptsOfTheMainPath(t *testing.T) {
	runScripts(t, "btrfs-progs", testscript.Params{Files: []string{"testdata/script/run.txtar", "testdata/script/status.txtar", "testdata/script/restore.txtar"}})
}

// runScripts runs scripts with a receiver in each configuration; "" is the default.
func runScripts(t *testing.T, receiver string, p testscript.Params) {
	path := program(t)
	testscript.Run(t, testscript.Params{
		Dir: p.Dir, Files: p.Files, UpdateScripts: p.UpdateScripts,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			env.Setenv("BTRKEEP_STATE_DIR", filepath.Join(env.WorkDir, "state"))
			env.Setenv("BTRKEEP_RUNTIME_DIR", filepath.Join(env.WorkDir, "run"))
			env.Values[scriptKey{}] = &script{t: env.T().(testing.TB), program: path, receiver: receiver, disks: map[string]*testdisk.Disk{}, names: map[string]string{}}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"disks":   withScript((*script).makeDisks),
			"config":  withScript((*script).config),
			"btrkeep": withScript((*script).btrkeep),
			"mutate":  withScript((*script).mutate),
			"unmount": withScript((*script).unmount),
			"remount": withScript((*script).remount),
		},
	})
}

type scriptKey struct{}

// script is what the commands of one script share.
type script struct {
	t        testing.TB
	program  string
	receiver string
	disks    map[string]*testdisk.Disk // by mount point
	names    map[string]string         // of snapshots: what they are masked as
}

func withScript(do func(*script, *testscript.TestScript, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("this command cannot be negated")
		}
		do(ts.Value(scriptKey{}).(*script), ts, args)
	}
}

func (s *script) makeDisks(ts *testscript.TestScript, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	for i := range n + 1 {
		name := "SRC"
		if i > 0 {
			name = fmt.Sprintf("DST%d", i)
		}
		d := testdisk.New(s.t, disk)
		ts.Setenv(name, d.Path)
		s.disks[d.Path] = d
	}
	ts.Check(btrfs.Create(ts.Getenv("SRC"), "home"))
}

func (s *script) unmount(_ *testscript.TestScript, args []string) { s.disks[args[0]].Unmount() }

func (s *script) remount(_ *testscript.TestScript, args []string) { s.disks[args[0]].Mount("noatime") }

func (s *script) mutate(ts *testscript.TestScript, args []string) {
	seed, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	ts.Check(testdisk.Mutate(args[0], seed, 20))
}

func (s *script) config(ts *testscript.TestScript, args []string) {
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	if s.receiver != "" {
		text = fmt.Sprintf("receiver = %q\n%s", s.receiver, text)
	}
	ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), "btrkeep.toml"), []byte(text), 0o600))
}

func (s *script) btrkeep(ts *testscript.TestScript, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	config := filepath.Join(ts.Getenv("WORK"), "btrkeep.toml")
	cmd := exec.Command(s.program, append([]string{"--config", config}, args[1:]...)...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "TZ", "HOME", "BTRKEEP_STATE_DIR", "BTRKEEP_RUNTIME_DIR"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	fmt.Fprint(ts.Stdout(), s.mask(ts, stdout.String()))
	fmt.Fprint(ts.Stderr(), s.mask(ts, stderr.String()))
	if got := cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("exit status %d, want %d\nstdout:\n%s\nstderr:\n%s", got, want, &stdout, &stderr)
	}
}

// What differs from one run of the test to the next, and what stands for it.
var (
	snapshotName = regexp.MustCompile(`\b\d{8}T\d{6}Z(-\d+)?`)
	masks        = []struct {
		pattern *regexp.Regexp
		with    string
	}{
		{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "TIME"},
		{regexp.MustCompile(`(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d{4}-\d\d-\d\d \d\d:\d\d`), "WHEN"},
		{regexp.MustCompile(`(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d\d \d\d:\d\d`), "WHEN"},
		{regexp.MustCompile(`  ((Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d\d|\d\d:\d\d)  `), "  CLOCK  "}, // in a column of status
		{regexp.MustCompile(`\d{4}-\d\d-\d\d (Mon|Tue|Wed|Thu|Fri|Sat|Sun)  [·●○✗-]{24}`), "HOURS"},
		{regexp.MustCompile(`\d{4} (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d\d (Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d\d:\d\d`), "TIME"},
		{regexp.MustCompile(`\d{4}-\d\d-\d\d`), "DAY"},
		{regexp.MustCompile(`\d+(\.\d+)? ([KMG]i)?B( \(\d+ %\))?|\b\d+(\.\d+)?[KMGB]( \d+%)?`), "SIZE"},
		{regexp.MustCompile(`\b\d+(\.\d+)? s\b|\b\d+(\.\d+)?m?s\b`), "SECONDS"},
		{regexp.MustCompile(`process \d+`), "process PID"},
		{regexp.MustCompile(`\d{8}-\d{6}\b`), "NAME"},
		{regexp.MustCompile(`\btmp-(?:[\w.]+-)*btrkeep-test[\w.-]*`), "JOB"}, // what `backup` makes of a path
		// Columns are as wide as what was masked.
		{regexp.MustCompile(`(\S)   *`), "$1  "},
		{regexp.MustCompile(`(?m)^ {8,}`), "        "},
		{regexp.MustCompile(`(?m) +$`), ""},
	}
)

// mask replaces times, sizes, process ids and the directories of the test. The names of snapshots become S1, S2 … in the order in which the script
// first sees them.
func (s *script) mask(ts *testscript.TestScript, text string) string {
	for _, name := range []string{"SRC", "DST1", "DST2", "WORK"} {
		if dir := ts.Getenv(name); dir != "" {
			text = strings.ReplaceAll(text, dir, "$"+name)
		}
	}
	text = snapshotName.ReplaceAllStringFunc(text, func(name string) string {
		if s.names[name] == "" {
			s.names[name] = fmt.Sprintf("S%d", len(s.names)+1)
		}
		return s.names[name]
	})
	if s.receiver != "" { // whose line comes before those of the script
		text = strings.ReplaceAll(text, "btrkeep.toml:2:", "btrkeep.toml:1:")
	}
	for _, m := range masks {
		text = m.pattern.ReplaceAllString(text, m.with)
	}
	return text
}
