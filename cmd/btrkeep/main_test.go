// Package main_test tests the whole program: the built binary, on real file systems, as people and systemd run it.
package main_test

import (
	"testing"

	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/internal/testssh"
)

func TestMain(m *testing.M) { testdisk.Main(m) }

// program is the path of the program that these tests run.
func program(t testing.TB) string {
	t.Helper()
	return testssh.Program(t)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
