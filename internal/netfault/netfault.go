// Package netfault gives tests a bad line: two network namespaces with nothing but a link between them that delays, limits, drops and reorders
// packets, or swallows them all. The link is made of two TUN devices and this process, as not every kernel has netem.
//
// Everything is held by file descriptors of this process alone, so that nothing of it outlives the process, however that ends: there are no
// mounts, no names in /run/netns and no lasting devices.
package netfault

import (
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
)

// Options describes a link. The zero value is as fast as the machine and loses nothing. All but Congestion is for each direction by itself.
type Options struct {
	Delay   time.Duration // one way: half of what it adds to a round trip
	Loss    float64       // part of the packets that is dropped, 0 to 1
	Reorder float64       // part of the packets that overtakes all that are on the way, 0 to 1: without Delay there are none
	Rate    int64         // bytes per second, IP headers included; 0 is unlimited. What waits for more than a quarter of a second is dropped
	Seed    uint64        // of what Loss and Reorder choose

	// Congestion is the tcp_congestion_control of both ends: "reno", which every machine has and which loss makes slow, or one of its
	// tcp_allowed_congestion_control; "" is the machine's own. [Link.Set] ignores it.
	Congestion string
}

// Link is the line between two machines, as far as the network goes; they share everything else.
type Link struct {
	Near, Far *End

	there, back *line
}

// New makes a link that lives as long as the test, with processes that still use it then left without a network. Without root it skips the test.
func New(t testing.TB, o Options) *Link {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	var l Link
	for _, end := range []struct {
		to   **End
		addr string
	}{{&l.Near, "10.98.0.1"}, {&l.Far, "10.98.0.2"}} {
		e, err := newEnd(netip.MustParseAddr(end.addr), o.Congestion)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.close)
		*end.to = e
	}
	l.there, l.back = newLine(l.Near.tun, l.Far.tun), newLine(l.Far.tun, l.Near.tun)
	l.Set(o)
	var carrying sync.WaitGroup
	for _, line := range []*line{l.there, l.back} {
		carrying.Go(line.take)
		carrying.Go(line.deliver)
	}
	t.Cleanup(func() {
		l.Near.tun.Close()
		l.Far.tun.Close()
		carrying.Wait()
	})
	return &l
}

// Set changes the link for the packets that are sent from now on, and begins the random choices anew.
func (l *Link) Set(o Options) {
	l.there.set(o, 0)
	l.back.set(o, 1)
}

// Carried is how many bytes have arrived at the two ends so far, IP headers included.
func (l *Link) Carried() (far, near int64) { return l.there.carried.Load(), l.back.carried.Load() }

// Cut has everything vanish without a word, packets on the way included, as when a cable is drawn or a laptop leaves: neither end is told.
func (l *Link) Cut() {
	l.there.cut.Store(true)
	l.back.cut.Store(true)
}

// Mend ends a Cut.
func (l *Link) Mend() {
	l.there.cut.Store(false)
	l.back.cut.Store(false)
}
