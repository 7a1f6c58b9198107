package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Every command has a section in btrkeep(1), with all of its flags; those of every command are in OPTIONS.
func TestManPage(t *testing.T) {
	const name = "../../docs/man/btrkeep.1.scd"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	sections := regexp.MustCompile(`(?m)^##? `).Split(string(text), -1)
	find := func(title string) string { // the heading of a command goes on with its arguments
		for _, s := range sections {
			if heading, body, _ := strings.Cut(s, "\n"); strings.HasPrefix(heading+" ", title+" ") {
				return body
			}
		}
		return ""
	}
	options := find("OPTIONS")
	root := (&app{}).rootCommand(nil)
	described(t, name+": OPTIONS", root.PersistentFlags(), options)
	commands := 0
	var walk func(c *cobra.Command, path string)
	walk = func(c *cobra.Command, path string) {
		for _, c := range c.Commands() {
			path := strings.TrimSpace(path + " " + c.Name())
			if c.Hidden {
				continue
			}
			commands++
			section := find(path)
			if section == "" {
				t.Errorf("%s lacks the command: add a section\n\n## %s\n\n%s\n", name, strings.TrimSpace(strings.TrimPrefix(c.UseLine(), root.Name())), c.Short)
			}
			described(t, name+": "+path, c.LocalNonPersistentFlags(), section+options)
			walk(c, path)
		}
	}
	walk(root, "")
	if commands < 15 {
		t.Errorf("only %d commands were found", commands)
	}
}

// described fails for each flag that the text lacks, in the form of scdoc(5).
func described(t *testing.T, where string, flags *pflag.FlagSet, text string) {
	t.Helper()
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		term := "*--" + f.Name + "*"
		if f.Shorthand != "" {
			term = "*-" + f.Shorthand + "*, " + term
		}
		if value, usage := pflag.UnquoteUsage(f); !strings.Contains(text, term) {
			t.Errorf("%s lacks a flag: add\n\n%s\n\t%s\n", where, strings.TrimSpace(term+" _"+value+"_"), usage)
		}
	})
}
