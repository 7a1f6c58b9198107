// Package systemd_test holds the unit and the sample configuration to what systemd and the program make of them.
package systemd_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/config"
)

const (
	unit   = "btrkeep.service"
	sample = "btrkeep.toml"
)

// maxExposure is what `systemd-analyze security` of systemd 252 says of the unit: 3.5 of 10, "OK". An unprotected service has 9.6.
//
// What is left is what backups need: root (0.4) with CAP_SYS_ADMIN (0.3), other users' files (0.2), their owners and set-user-ID bits (0.4),
// device nodes (0.4), /home and most other directories (0.4); for ssh, object stores and hooks the network (1.2, AF_UNIX included) and other user IDs (0.4). A
// higher number means that a change of the unit opened something; a lower one belongs here.
const maxExposure = 3.5

// installed returns a copy of the unit as if it and the program were installed, with drop-ins. systemd-analyze wants to see the program.
func installed(t *testing.T, dropIns ...string) string {
	t.Helper()
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "btrkeep")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	const command = "\nExecStart=/usr/bin/btrkeep daemon\n"
	if !bytes.Contains(text, []byte(command)) {
		t.Fatalf("%s does not have %q", unit, command)
	}
	text = bytes.Replace(text, []byte("/usr/bin/btrkeep"), []byte(program), 1)
	files := map[string][]byte{unit: text}
	for _, name := range dropIns {
		text, err := os.ReadFile(filepath.Join("drop-ins", name))
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Join(unit+".d", name)] = text
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, unit)
}

// analyze runs systemd-analyze. It needs no running systemd.
func analyze(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Geteuid() == 0 {
			t.Fatalf("%v: `make test` installs it", err)
		}
		t.Skip(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_PAGER=", "SYSTEMD_LOG_LEVEL=info")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), errs.String()
}

// version is that of systemd-analyze.
func version(t *testing.T) int {
	t.Helper()
	out, _ := analyze(t, "--version")
	f := strings.Fields(out)
	if len(f) < 2 {
		t.Fatalf("systemd-analyze --version: %q", out)
	}
	n, err := strconv.Atoi(regexp.MustCompile(`^\d+`).FindString(f[1]))
	if err != nil {
		t.Fatalf("systemd-analyze --version: %q", out)
	}
	return n
}

// An unknown directive is a warning and exit status 0, so anything that is said is a failure.
func TestVerify(t *testing.T) {
	if _, stderr := analyze(t, "verify", "--man=no", installed(t)); stderr != "" {
		t.Errorf("systemd-analyze verify %s:\n%s", unit, stderr)
	}
	dropIns, err := os.ReadDir("drop-ins")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range dropIns {
		t.Run(entry.Name(), func(t *testing.T) {
			_, stderr := analyze(t, "verify", "--man=no", installed(t, entry.Name()))
			if entry.Name() == "notify-reload.conf" && version(t) < 253 {
				// Its own first line says so; the test under a booted systemd has one that knows the type.
				if !strings.Contains(stderr, "notify-reload") {
					t.Errorf("systemd before 253 does not complain about notify-reload: %s", stderr)
				}
				return
			}
			if stderr != "" {
				t.Errorf("systemd-analyze verify:\n%s", stderr)
			}
		})
	}
}

// The check of TestVerify must be able to fail.
func TestVerifySeesMistakes(t *testing.T) {
	path := installed(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("\nPrivateTmp="), []byte("\nPrivateTemp="), 1)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, stderr := analyze(t, "verify", "--man=no", path); !strings.Contains(stderr, "PrivateTemp") {
		t.Errorf("a misspelt directive is not reported: %q", stderr)
	}
}

func TestExposure(t *testing.T) {
	out, _ := analyze(t, "security", "--offline=true", "--no-pager", installed(t))
	level := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindStringSubmatch(out)
	if level == nil {
		t.Fatalf("systemd-analyze security gives no level:\n%s", out)
	}
	if got, err := strconv.ParseFloat(level[1], 64); err != nil || got > maxExposure {
		t.Errorf("exposure level %s, at most %.1f is expected; what is open:\n%s", level[1], maxExposure, open(out))
	}
}

// open are the lines of systemd-analyze security that count.
func open(report string) string {
	var b strings.Builder
	for line := range strings.Lines(report) {
		if strings.HasPrefix(line, "✗") || strings.HasPrefix(line, "-") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// A comment stands above every setting of the unit, or above the group of lines that it is in.
func TestReasons(t *testing.T) {
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	explained := false
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "## "), line == "", strings.HasPrefix(line, "["):
			explained = strings.HasPrefix(line, "[") || strings.HasPrefix(line, "## ")
		case strings.HasPrefix(line, "#"):
			explained = true
		case !explained:
			t.Errorf("%s:%d: no reason is given for %s", unit, i+1, line)
		}
	}
}

func TestSampleDoesNothing(t *testing.T) {
	cfg, err := config.Load(sample, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Jobs) != 0 {
		t.Errorf("the sample has %d jobs as shipped", len(cfg.Jobs))
	}
}

// Whoever takes away every # in front of a setting has a configuration without mistakes.
func TestSampleUncommented(t *testing.T) {
	text, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), sample)
	text = regexp.MustCompile(`(?m)^#([a-z\[])`).ReplaceAll(text, []byte("$1"))
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Jobs) != 5 || len(cfg.Warnings) != 0 {
		t.Errorf("%d jobs, warnings %q", len(cfg.Jobs), cfg.Warnings)
	}
}

// The unit that udev starts is taken whole, too, and starts what is installed.
func TestVerifyPlug(t *testing.T) {
	const name = "btrkeep-plug@.service"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	program, err := filepath.Abs("../udev/plug")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte("\nExecStart=/usr/lib/btrkeep/plug %i\n")) {
		t.Fatalf("%s does not start /usr/lib/btrkeep/plug", name)
	}
	dir := t.TempDir()
	text = bytes.Replace(text, []byte("/usr/lib/btrkeep/plug"), []byte(program), 1)
	for _, file := range []string{name, "btrkeep-plug@01234567-89ab-cdef-0123-456789abcdef.service"} {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, stderr := analyze(t, "verify", "--man=no", filepath.Join(dir, file)); stderr != "" {
			t.Errorf("systemd-analyze verify %s:\n%s", file, stderr)
		}
	}
}
