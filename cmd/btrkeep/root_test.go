package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// Only the command that is asked for is made, and all wherever others could be told of.
func TestCommandsMade(t *testing.T) {
	made := func(args ...string) (names []string) {
		for _, c := range (&app{}).rootCommand(args).Commands() {
			names = append(names, c.Name())
		}
		slices.Sort(names)
		return names
	}
	all := made()
	if len(all) < 20 {
		t.Fatalf("all are %q", all)
	}
	for _, name := range all {
		if got := made("-c", "btrkeep.toml", name, "--json"); !slices.Equal(got, []string{name}) {
			t.Errorf("for %s: %q", name, got)
		}
	}
	for line, want := range map[string][]string{
		"status -c run":        {"run", "status"}, // a value that is called as a command
		"-c run":               all,
		"--help":               all,
		"--help -c run":        all,
		"help run":             all,
		"rnu":                  all,
		"--nosuch":             all,
		"__complete -c run st": all,
	} {
		if got := made(strings.Fields(line)...); !slices.Equal(got, want) {
			t.Errorf("for %s: %q", line, got)
		}
	}
	// What is said of an unknown one does not depend on what else is in the line.
	for _, args := range [][]string{{"stats"}, {"stats", "run"}} {
		var said bytes.Buffer
		if status := run(t.Context(), args, nil, &said, &said); status != exitUsage || !strings.Contains(said.String(), `unknown command "stats"`) {
			t.Errorf("%q: %d %s", args, status, said.String())
		}
	}
}
