package main

import (
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/internal/netfault"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// What a session leaves behind when the login ends counts as a part of it.
func TestSessionsCount(t *testing.T) {
	testdisk.New(t, testdisk.Options{}) // or skip
	b := &bench{t: t, options: options{log: t.Output(), btrkeep: "/bin/true"}}
	f := b.newFar(nil)
	nothing := func() {}
	const leave = "setsid timeout 1 sh -c 'while :; do :; done' >/dev/null 2>&1 </dev/null &"
	results := f.alternate(1,
		contestant{name: "leaves", argv: f.Command(leave), prepare: nothing, check: nothing},
		contestant{name: namePing, argv: f.Command("true"), prepare: nothing, check: nothing},
	)
	if more := results[0].cpu() - results[1].cpu(); more < 200*time.Millisecond {
		t.Errorf("what ran for a second adds %v", more)
	}
}

// The line is as long as it says: a login takes some round trips.
func TestDistantLogin(t *testing.T) {
	testdisk.New(t, testdisk.Options{}) // or skip
	b := &bench{t: t, options: options{log: t.Output(), btrkeep: "/bin/true"}}
	const roundTrip = 60 * time.Millisecond
	f := b.newFar(netfault.New(t, netfault.Options{Delay: roundTrip / 2}))
	nothing := func() {}
	login := f.alternate(1, contestant{name: namePing, argv: f.Command("true"), prepare: nothing, check: nothing})[0]
	if n := ratio(login.wall(), roundTrip); n < 5 || n > 50 {
		t.Errorf("a login takes %.1f round trips", n)
	}
}
