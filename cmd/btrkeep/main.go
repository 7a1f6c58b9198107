// Command btrkeep keeps btrfs backups.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"
	_ "time/tzdata" // time zones also where the system has none installed; the system's come first
)

// soon is when a run is known to be a long one.
const soon = 20 * time.Millisecond

func main() {
	// Most runs find everything done. A second processor would have to be worth the threads that give it work.
	if slices.Contains(os.Args, "run") && os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
		time.AfterFunc(soon, runtime.SetDefaultGOMAXPROCS)
	}
	// Most commands end before the first collection would be done, and what lives on in the daemon is small.
	debug.SetGCPercent(400)
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT) // until the end
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
