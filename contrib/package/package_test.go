// Package package_test builds the packages and looks into them.
package package_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const root = "../.."

// command runs a program in dir, with more of an environment; its standard output is given.
func command(t *testing.T, dir string, env []string, argv ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(os.Environ(), env...), &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, errs.String())
	}
	return strings.TrimSpace(out.String())
}

// needs ends the test if programs are missing; `make test` installs them.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			if os.Geteuid() == 0 {
				t.Fatalf("%v: `make test` installs it", err)
			}
			t.Skip(err)
		}
	}
}

// source copies what is built, as a tarball would have it: there is no git.
func source(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil || name == "." {
			return err
		}
		if d.IsDir() {
			if name == ".git" || name == "dist" || d.Name() == "testdata" {
				return fs.SkipDir
			}
			return os.Mkdir(filepath.Join(dir, name), 0o755)
		}
		if !d.Type().IsRegular() || strings.HasSuffix(name, "_test.go") || name == "btrkeep" || name == ".git" {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), text, info.Mode())
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Of one source, packages have the same bytes wherever they are built, and hold the files that they should.
func TestPackages(t *testing.T) {
	needs(t, "scdoc", "dpkg-deb", "rpm")
	env := []string{"VERSION=1.2.3~rc1", "SOURCE_DATE_EPOCH=1700000000"}
	first, second := source(t), source(t)
	for _, format := range []string{"deb", "rpm"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			path := command(t, first, append(env, "TZ=Asia/Tokyo"), "tools/package.sh", format, "amd64")
			again := command(t, second, append(env, "TZ=UTC", "LC_ALL=C"), "sh", "-c", "umask 077; exec tools/package.sh "+format+" amd64")
			one, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			two, err := os.ReadFile(again)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(one, two) {
				t.Errorf("%s and %s differ", path, again)
			}
			if want := filepath.Join(first, "dist", "btrkeep_1.2.3~rc1_amd64."+format); path != want {
				t.Errorf("the package is %s, not %s", path, want)
			}
			if diff := cmp.Diff(wanted(t, format), contents(t, format, path)); diff != "" {
				t.Errorf("files that should be in it (-) and that are (+):\n%s", diff)
			}
			if format == "deb" {
				deb(t, path)
			}
		})
	}
}

// wanted are the files that a package has, as "mode path".
func wanted(t *testing.T, format string) []string {
	t.Helper()
	files := []string{
		"-rw------- /etc/btrkeep/btrkeep.toml",
		"-rwxr-xr-x /usr/bin/btrkeep",
		"-rwxr-xr-x /usr/lib/btrkeep/plug",
		"-rw-r--r-- /usr/share/doc/btrkeep/examples/udev/90-btrkeep-plug.rules",
		"-rw-r--r-- /usr/share/doc/btrkeep/examples/udev/plug.conf",
		"-rw-r--r-- /usr/share/doc/btrkeep/examples/btrkeep.rules.yml",
		"-rw-r--r-- /usr/share/doc/btrkeep/examples/grafana.json",
		"-rw-r--r-- /usr/share/doc/btrkeep/LICENSES-OF-OTHERS",
		"-rw-r--r-- /usr/share/doc/btrkeep/README.md",
		"-rw-r--r-- /usr/share/doc/btrkeep/CHANGELOG.md",
		"-rw-r--r-- /usr/share/bash-completion/completions/btrkeep",
		"-rw-r--r-- /usr/share/fish/vendor_completions.d/btrkeep.fish",
		"-rw-r--r-- /usr/share/man/man1/btrkeep.1.gz",
		"-rw-r--r-- /usr/share/man/man5/btrkeep.toml.5.gz",
	}
	more := []string{
		"-rw-r--r-- /usr/share/zsh/site-functions/_btrkeep", "-rw-r--r-- /usr/share/licenses/btrkeep/LICENSE",
	}
	if format == "deb" {
		more = []string{
			"-rw-r--r-- /usr/share/zsh/vendor-completions/_btrkeep", "-rw-r--r-- /usr/share/doc/btrkeep/copyright", "-rw-r--r-- /usr/share/doc/btrkeep/changelog.gz",
			"-rw-r--r-- /usr/share/lintian/overrides/btrkeep",
		}
	}
	files = append(files, more...)
	for pattern, dir := range map[string]string{
		"docs/*.md": "/usr/share/doc/btrkeep/", "contrib/systemd/*.service": "/usr/lib/systemd/system/", "contrib/systemd/drop-ins/*": "/usr/share/doc/btrkeep/examples/drop-ins/",
	} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, path := range found {
			files = append(files, "-rw-r--r-- "+dir+filepath.Base(path))
		}
	}
	slices.Sort(files)
	return files
}

// contents are the files in a package; that they belong to root is seen to.
func contents(t *testing.T, format, path string) []string {
	t.Helper()
	look, owner := []string{"dpkg-deb", "--contents", path}, "root/root"
	if format == "rpm" {
		look, owner = []string{"rpm", "--query", "--package", "--nosignature", "--list", "--verbose", path}, "root"
	}
	list := command(t, ".", nil, look...)
	var files []string
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		if mode, name := f[0], strings.TrimPrefix(f[len(f)-1], "."); !strings.HasPrefix(mode, "d") {
			files = append(files, mode+" "+name)
		}
		if !slices.Contains(f, owner) {
			t.Errorf("not root's: %s", line)
		}
	}
	slices.Sort(files)
	return files
}

// deb looks at what only a Debian package says of itself, and tries the program in it.
func deb(t *testing.T, path string) {
	t.Helper()
	if got := command(t, ".", nil, "dpkg-deb", "--field", path, "Version"); got != "1.2.3~rc1" {
		t.Errorf("the version of the package is %s", got)
	}
	dir := t.TempDir()
	command(t, ".", nil, "dpkg-deb", "--raw-extract", path, dir)
	if out := command(t, dir, nil, "usr/bin/btrkeep", "version"); out != "btrkeep 1.2.3~rc1" {
		t.Errorf("the program says %q", out)
	}
	conffiles, err := os.ReadFile(filepath.Join(dir, "DEBIAN", "conffiles"))
	if err != nil || strings.TrimSpace(string(conffiles)) != "/etc/btrkeep/btrkeep.toml" {
		t.Errorf("conffiles: %q, %v", conffiles, err)
	}
	sample, err := os.ReadFile(filepath.Join(root, "contrib/systemd/btrkeep.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if shipped, err := os.ReadFile(filepath.Join(dir, "etc/btrkeep/btrkeep.toml")); err != nil || !bytes.Equal(shipped, sample) {
		t.Errorf("the configuration in the package is not the sample, which does nothing: %v", err)
	}
	for _, shell := range []string{"share/bash-completion/completions/btrkeep", "share/zsh/vendor-completions/_btrkeep", "share/fish/vendor_completions.d/btrkeep.fish"} {
		if text, err := os.ReadFile(filepath.Join(dir, "usr", shell)); err != nil || !bytes.Contains(text, []byte("__complete")) {
			t.Errorf("%s is no completion: %v", shell, err)
		}
	}
}

// make install puts everything in place, again over itself too, and uninstall takes away no more than that.
func TestInstall(t *testing.T) {
	needs(t, "scdoc")
	dir := filepath.Join(t.TempDir(), "a directory")
	env := []string{"DESTDIR=" + dir, "PREFIX=/opt/btrkeep", "VERSION=1"}
	program := filepath.Join(t.TempDir(), "btrkeep")
	command(t, root, env, "tools/build.sh", program)
	command(t, root, env, "tools/install.sh", program)
	config := filepath.Join(dir, "etc/btrkeep/btrkeep.toml")
	if err := os.WriteFile(config, []byte("parallel = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, root, env, "tools/install.sh", program)
	if text, err := os.ReadFile(config); err != nil || string(text) != "parallel = 1\n" {
		t.Errorf("the administrator's configuration was replaced: %q, %v", text, err)
	}
	unit, err := os.ReadFile(filepath.Join(dir, "opt/btrkeep/lib/systemd/system/btrkeep.service"))
	if err != nil || !bytes.Contains(unit, []byte("\nExecStart=/opt/btrkeep/bin/btrkeep daemon\n")) {
		t.Errorf("the unit does not start what was installed: %v", err)
	}
	if out := command(t, dir, nil, "opt/btrkeep/bin/btrkeep", "version"); out != "btrkeep 1" {
		t.Errorf("the program says %q", out)
	}
	command(t, root, env, "tools/install.sh", "--uninstall")
	var left []string
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left = append(left, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if diff := cmp.Diff([]string{"/etc/btrkeep/btrkeep.toml"}, left); diff != "" || err != nil {
		t.Errorf("what should be left (-) and what is (+): %v\n%s", err, diff)
	}
}

// All scripts are what a plain POSIX shell takes, and what shellcheck has nothing to say about.
func TestScripts(t *testing.T) {
	needs(t, "shellcheck")
	var scripts []string
	for _, pattern := range []string{"deb/p*", "rpm/*", "../udev/plug", "../../tools/*.sh"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %s, %v", pattern, found, err)
		}
		scripts = append(scripts, found...)
	}
	for _, script := range scripts {
		command(t, ".", nil, "sh", "-n", script)
	}
	if out, err := exec.Command("shellcheck", append([]string{"--shell=sh", "--severity=warning"}, scripts...)...).CombinedOutput(); err != nil {
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
}

// A purge takes what the daemon keeps for itself, by name, and leaves whatever else is there.
func TestPurge(t *testing.T) {
	dir := t.TempDir()
	state, run := filepath.Join(dir, "state"), filepath.Join(dir, "run")
	own := []string{
		"history.jsonl", "notify.json", "verify/0123456789abcdef.json",
		"jobs/0123456789abcdef.json", "jobs/0123456789abcdef.json.recent", "jobs/0123456789abcdef.paused", "jobs/0123456789abcdef.paused.lock",
		"jobs/0123456789abcdef.json.new", "jobs/0123456789abcdef.json.recent.new", "jobs/0123456789abcdef.paused.new",
	}
	others := []string{"a.paused", "b.json.recent", "c.paused.lock", "home/.btrkeep.catalog", "home/d.json", "home/e.paused", "jobs/f/g.json", "jobs/f/h.paused", "jobs/note", "verify/i.paused"}
	write := func(names ...string) {
		t.Helper()
		for _, name := range names {
			path := filepath.Join(state, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
	text, err := os.ReadFile("deb/postrm")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := strings.NewReplacer("/var/lib/btrkeep", state, "/run/btrkeep", run, "deb-systemd-helper", "no-such-program").Replace(string(text))
	purge := func() {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(run, "locks"), 0o755); err != nil {
			t.Fatal(err)
		}
		command(t, dir, nil, "sh", "-c", elsewhere, "postrm", "purge")
		if _, err := os.Lstat(run); err == nil {
			t.Error("the runtime directory is left")
		}
	}
	write(own...)
	write(others...)
	purge()
	left := strings.Split(command(t, state, nil, "sh", "-c", "find . -type f -printf '%P\\n' | LC_ALL=C sort"), "\n")
	if diff := cmp.Diff(others, left); diff != "" {
		t.Errorf("what should be left (-) and what is (+):\n%s", diff)
	}
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	write(own...)
	purge()
	if _, err := os.Lstat(state); err == nil {
		t.Error("the state directory is left, with nothing in it but btrkeep's own")
	}
}

// The versions of packages are newer each than the one before it, for dpkg.
func TestVersionsGrow(t *testing.T) {
	needs(t, "dpkg", "git")
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join(root, "tools/version.sh"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "tools"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tools/version.sh"), text, 0o755); err != nil {
		t.Fatal(err)
	}
	env := []string{"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b"}
	git := func(args ...string) { t.Helper(); command(t, dir, env, append([]string{"git"}, args...)...) }
	git("init", "--quiet")
	git("add", ".")
	last := "0~"
	for i, step := range []struct{ tag, pattern string }{
		{"", "0~20*"}, {"", "0~20*"}, {"v0.1.0-rc1", "0.1.0~rc1"}, {"v0.1.0-rc2", "0.1.0~rc2"}, {"v0.1.0", "0.1.0"}, {"", "0.1.0+1.g*"}, {"", "0.1.0+2.g*"}, {"v0.1.1", "0.1.1"},
	} {
		env = append(env[:5], fmt.Sprintf("GIT_COMMITTER_DATE=2026-01-01T00:00:%02dZ", i))
		git("commit", "--quiet", "--allow-empty", "--message=a")
		if step.tag != "" {
			git("tag", "--annotate", "--message=a", step.tag)
		}
		version := command(t, dir, env, "tools/version.sh")
		if ok, err := filepath.Match(step.pattern, version); !ok || err != nil {
			t.Errorf("tag %q: version %q, want %s", step.tag, version, step.pattern)
		}
		command(t, dir, nil, "dpkg", "--compare-versions", last, "lt", version)
		last = version
	}
}
