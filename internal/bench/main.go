// Command bench measures btrkeep side by side with btrbk, with a bare btrfs send | btrfs receive, with each half of that, and with rsync, on the same loop disks in one run.
//
//	go run ./internal/bench [-short] [-runs N] [-only REGEXP] [-memory] [-json FILE] [-btrkeep FILE]
//
// It needs root, installs what is missing, and leaves nothing behind, however it ends: see testdisk.Isolate.
package main

import (
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

func main() {
	if part(os.Args[1:]) {
		return
	}
	testdisk.Isolate()
	o := options{log: os.Stderr}
	flag.BoolVar(&o.short, "short", false, "a small version of everything, once, to see that it works")
	flag.IntVar(&o.runs, "runs", 5, "measured runs of each")
	flag.Func("only", "measure only the rows whose section and title, as in \"receive: 4 files\", match this `REGEXP`: sections are no change, transfer, receive, send, diff, two receives, verify, status, ssh, distant ssh, distant no change", func(s string) (err error) {
		o.only, err = regexp.Compile(s)
		return err
	})
	flag.BoolVar(&o.memory, "memory", false, "disks in memory: what the programs cost, without the machine's disk")
	flag.StringVar(&o.btrkeep, "btrkeep", "", "the btrkeep to measure, instead of that of this source tree")
	file := flag.String("json", "", "write every single measurement to this file, too")
	flag.Parse()

	t := &command{}
	defer t.cleanup()
	r := measure(t, o)
	if err := r.print(os.Stdout); err != nil {
		t.Fatal(err)
	}
	if *file != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		must(t, err)
		must(t, os.WriteFile(*file, append(text, '\n'), 0o644))
	}
}

type options struct {
	short   bool
	runs    int
	only    *regexp.Regexp // nil is everything
	memory  bool
	btrkeep string // program; "" is built
	log     io.Writer
}

// bench is one measurement of everything.
type bench struct {
	options
	t      testing.TB
	self   string // this program: see part
	report report
}

func measure(t testing.TB, o options) *report {
	if o.short {
		o.runs = 1
	}
	b := &bench{options: o, t: t}
	var err error
	b.self, err = os.Executable()
	must(t, err)
	b.programs()
	b.describe()
	b.noChangeRuns()
	for _, w := range b.workloads() {
		b.transfer(w)
	}
	for _, w := range b.receiveWorkloads() {
		b.receive(w)
	}
	for _, w := range b.workloads() {
		b.send(w)
	}
	for _, w := range b.workloads() {
		b.diff(w)
	}
	for _, w := range b.workloads() {
		b.together(w)
	}
	for _, w := range b.verifyWorkloads() {
		b.verify(w)
	}
	b.statusViews()
	b.overSSH()
	b.report.LoadLast = load()
	return &b.report
}

// wants tells whether a row is to be measured.
func (b *bench) wants(section, title string) bool {
	title = section + ": " + title
	wanted := b.only == nil || b.only.MatchString(title)
	if wanted {
		b.say("%s", title)
	}
	return wanted
}

// programs installs btrbk, rsync and what else is missing, and builds btrkeep, as `make build` does.
func (b *bench) programs() {
	// Cron and some users have a $PATH without these.
	must(b.t, os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin"))
	root := moduleRoot(b.t)
	install := exec.Command(filepath.Join(root, "tools/install-deps.sh"), "mkfs.btrfs=btrfs-progs", "bash=bash", "strace=strace", "btrbk=btrbk", "rsync=rsync")
	install.Stdout, install.Stderr = b.log, b.log
	must(b.t, install.Run())
	if b.btrkeep != "" {
		return
	}
	built := filepath.Join(b.t.TempDir(), "btrkeep")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s", "-o", built, "./cmd/btrkeep")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.t.Fatalf("build btrkeep: %v\n%s", err, out)
	}
	// The linker writes page by page, and so the page cache has it; an installed program, as the others are, is there in larger pieces.
	b.btrkeep = filepath.Join(b.t.TempDir(), "btrkeep")
	if out, err := exec.Command("install", built, b.btrkeep).CombinedOutput(); err != nil {
		b.t.Fatalf("install btrkeep: %v\n%s", err, out)
	}
}

func moduleRoot(t testing.TB) string {
	dir, err := os.Getwd()
	must(t, err)
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("the working directory is not inside btrkeep's source tree")
	return ""
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
