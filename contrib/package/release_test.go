//go:build long

package package_test

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The released programs are static, for the machines that their names say, and the same wherever they are built.
func TestRelease(t *testing.T) {
	env := []string{"VERSION=1.2.3"}
	first, second := source(t), source(t)
	command(t, first, append(env, "TZ=Asia/Tokyo"), "tools/release.sh")
	command(t, second, append(env, "TZ=UTC", "GOFLAGS=-p=1"), "tools/release.sh", "elsewhere")
	for name, machine := range map[string]elf.Machine{"btrkeep-linux-amd64": elf.EM_X86_64, "btrkeep-linux-arm64": elf.EM_AARCH64, "btrkeep-linux-armv7": elf.EM_ARM} {
		one, err := os.ReadFile(filepath.Join(first, "dist", name))
		if err != nil {
			t.Fatal(err)
		}
		if two, err := os.ReadFile(filepath.Join(second, "elsewhere", name)); err != nil || !bytes.Equal(one, two) {
			t.Errorf("%s differs between two directories: %v", name, err)
		}
		program, err := elf.NewFile(bytes.NewReader(one))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if program.Machine != machine {
			t.Errorf("%s is for %s", name, program.Machine)
		}
		for _, p := range program.Progs {
			if p.Type == elf.PT_INTERP {
				t.Errorf("%s is not static", name)
			}
		}
		if bytes.Contains(one, []byte(first)) {
			t.Errorf("%s names the directory in which it was built", name)
		}
	}
	command(t, filepath.Join(first, "dist"), nil, "sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
}

// Debian's checker has no errors to report, of a package for each kind of machine.
func TestLintian(t *testing.T) {
	needs(t, "scdoc", "lintian")
	dir := source(t)
	for _, arch := range []string{"amd64", "arm64", "armv7"} {
		path := command(t, dir, []string{"VERSION=1.2.3"}, "tools/package.sh", "deb", arch)
		if out, err := exec.Command("lintian", "--fail-on=error", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", filepath.Base(path), err, out)
		}
	}
}
