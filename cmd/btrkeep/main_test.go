// Package main_test tests the whole program: the built binary, on real file systems, as people and systemd run it.
package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

func TestMain(m *testing.M) { testdisk.Main(m) }

// program builds the program once per test process and returns its path.
func program(t testing.TB) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var build = sync.OnceValues(func() (string, error) {
	// Below the scratch directory of the isolation, which removes it in the end.
	dir, err := os.MkdirTemp("", "bin")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "btrkeep")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return path, nil
})

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
