package jobs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// TROUBLE 24: a receiver that does not find a clone source, or a parent, gets other parents and at last a full send: not an error every night.
func TestReceiverLacksParents(t *testing.T) {
	tests := []struct {
		name    string
		refuses string // what the receiver says, so many times
		times   int
		full    bool
	}{
		{"one clone source", "ERROR: clone: did not find source subvol", 1, false},
		{"one parent", "ERROR: cannot find parent subvolume", 2, false},
		{"every parent", "ERROR: cannot find parent subvolume", 99, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.receiver(config.ReceiverProgs)
			w.write("a", "1")
			w.mustRun()
			for range 3 {
				w.incremental("")
			}
			calls := refusingProgram(t, tt.refuses, tt.times)
			w.write("a", "2")
			r := w.mustRun()
			tr := transfer(t, r, "d1")
			if full := tr.Parent == ""; full != tt.full {
				t.Errorf("parent %q", tr.Parent)
			}
			b, err := os.ReadFile(calls)
			must(t, err)
			if n := strings.Count(string(b), "x"); n < min(tt.times, 2) {
				t.Errorf("refused %d times", n)
			}
			w.verify()
		})
	}
}

// Anything else that a receiver says is a failure at once: a full disk must not lead to a full send.
func TestOtherRefusalsAreFailures(t *testing.T) {
	w := newWorld(t, 1)
	w.receiver(config.ReceiverProgs)
	w.write("a", "1")
	w.mustRun()
	calls := refusingProgram(t, "ERROR: write failed: No space left on device", 99)
	w.write("a", "2")
	r := w.run()
	tr := transfer(t, r, "d1")
	if tr.Result != jobs.ResultFailed || tr.Hint == "" || tr.Parent == "" {
		t.Errorf("%+v", tr)
	}
	if b, _ := os.ReadFile(calls); len(b) != 1 {
		t.Errorf("%d attempts", len(b))
	}
}

// refusingProgram puts a `btrfs` in front of the real one that refuses incremental streams so many times; each refusal adds a byte to the file calls.
func refusingProgram(t *testing.T, says string, times int) (calls string) {
	t.Helper()
	real, err := exec.LookPath("btrfs")
	must(t, err)
	dir := t.TempDir()
	calls = filepath.Join(dir, "calls")
	must(t, os.WriteFile(filepath.Join(dir, "btrfs"), []byte(`#!/bin/bash
[ "$1" = receive ] || exec `+real+` "$@"
n=$(stat -c %s `+calls+` 2>/dev/null || echo 0)
# The command of an incremental stream's first record, behind the header of 17 bytes and a length of 4, is SNAPSHOT = 2.
head -c 23 >`+dir+`/head
kind=$(od -An -tu1 -j21 -N1 `+dir+`/head | tr -d ' ')
if [ "$kind" = 2 ] && [ "$n" -lt `+itoa(times)+` ]; then echo -n x >>`+calls+`; echo "`+says+`" >&2; exit 1; fi
cat `+dir+`/head - | `+real+` "$@"
`), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return calls
}
