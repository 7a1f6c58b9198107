package main

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// command is a testing.TB outside of a test, for what makes the disks. It has what that uses: the rest of the interface is nil.
type command struct {
	testing.TB
	later []func()
}

func (c *command) Helper()                  {}
func (c *command) Context() context.Context { return context.Background() }
func (c *command) Cleanup(f func())         { c.later = append(c.later, f) }

func (c *command) cleanup() {
	for i := len(c.later) - 1; i >= 0; i-- {
		c.later[i]()
	}
	c.later = nil
}

// TempDir is below the directory that testdisk.Isolate removes in the end.
func (c *command) TempDir() string {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		c.Fatal(err)
	}
	return dir
}

func (c *command) Error(args ...any) { fmt.Fprintln(os.Stderr, append([]any{"bench:"}, args...)...) }

// Fatal need not clean up: mounts, loop devices, processes and files go with the namespace.
func (c *command) Fatal(args ...any) {
	c.Error(args...)
	os.Exit(1)
}

func (c *command) Fatalf(format string, args ...any) { c.Fatal(fmt.Sprintf(format, args...)) }

func (c *command) Skip(args ...any) { c.Fatal(args...) }
