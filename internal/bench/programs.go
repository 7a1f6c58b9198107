package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// countPrograms runs a program once more, under strace, and counts the programs that it and its children start: every execve(2) that succeeds,
// its own included.
func countPrograms(t testing.TB, argv []string) int {
	trace := filepath.Join(t.TempDir(), "trace")
	spend(t, append([]string{"strace", "-f", "-qq", "-e", "trace=execve", "-e", "signal=none", "-o", trace}, argv...))
	text, err := os.ReadFile(trace)
	must(t, err)
	programs := 0
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte("execve")) && bytes.HasSuffix(line, []byte(" = 0\n")) {
			programs++
		}
	}
	return programs
}
