package netfault_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/internal/netfault"
	"github.com/google/go-cmp/cmp"
)

func TestDelay(t *testing.T) {
	l := netfault.New(t, netfault.Options{Delay: 50 * time.Millisecond})
	near, far := connect(t, l)
	go func() { _, _ = io.Copy(far, far) }()
	if got := roundTrip(t, near); got < 100*time.Millisecond || got > 150*time.Millisecond {
		t.Errorf("a round trip takes %v, want 100 ms", got)
	}
	l.Set(netfault.Options{})
	if got := roundTrip(t, near); got > 20*time.Millisecond {
		t.Errorf("a round trip takes %v without delay", got)
	}
}

// roundTrip is the shortest of a few: the machine has other things to do.
func roundTrip(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	var all []time.Duration
	for range 5 {
		start := time.Now()
		_, err := c.Write([]byte{0})
		ok(t, err)
		_, err = c.Read(make([]byte, 1))
		ok(t, err)
		all = append(all, time.Since(start))
	}
	return slices.Min(all)
}

// What is lost is that part of the packets, in either direction, and the same part with the same seed.
func TestLoss(t *testing.T) {
	const sent = 2000
	l := netfault.New(t, netfault.Options{Loss: 0.1, Seed: 1})
	for name, ends := range map[string][2]*netfault.End{"there": {l.Near, l.Far}, "back": {l.Far, l.Near}} {
		t.Run(name, func(t *testing.T) {
			lose := func(o netfault.Options) []uint32 {
				l.Set(o)
				return datagrams(t, ends[0], ends[1], sent)
			}
			first, again, other := lose(netfault.Options{Loss: 0.1, Seed: 1}), lose(netfault.Options{Loss: 0.1, Seed: 1}), lose(netfault.Options{Loss: 0.1, Seed: 2})
			if lost := sent - len(first); lost < sent*7/100 || lost > sent*13/100 {
				t.Errorf("%d of %d lost, want a tenth", lost, sent)
			}
			if diff := cmp.Diff(first, again); diff != "" {
				t.Errorf("the same seed loses others:\n%s", diff)
			}
			if slices.Equal(first, other) {
				t.Error("another seed loses the same")
			}
			if all := lose(netfault.Options{}); len(all) != sent || !slices.IsSorted(all) {
				t.Errorf("%d of %d arrive without loss, in order: %t", len(all), sent, slices.IsSorted(all))
			}
		})
	}
}

func TestReorder(t *testing.T) {
	const sent = 500
	l := netfault.New(t, netfault.Options{Delay: 20 * time.Millisecond})
	if got := datagrams(t, l.Near, l.Far, sent); len(got) != sent || !slices.IsSorted(got) {
		t.Errorf("%d of %d arrive, in order: %t", len(got), sent, slices.IsSorted(got))
	}
	l.Set(netfault.Options{Delay: 20 * time.Millisecond, Reorder: 0.1})
	if got := datagrams(t, l.Near, l.Far, sent); len(got) != sent || slices.IsSorted(got) {
		t.Errorf("%d of %d arrive, in order: %t", len(got), sent, slices.IsSorted(got))
	}
}

// datagrams sends n numbers, and returns those that arrive.
func datagrams(t *testing.T, from, to *netfault.End, n int) (arrived []uint32) {
	t.Helper()
	var in, out *net.UDPConn
	ok(t, to.Do(func() (err error) {
		in, err = net.ListenUDP("udp4", &net.UDPAddr{IP: to.Addr.AsSlice()})
		return err
	}))
	defer in.Close()
	ok(t, from.Do(func() (err error) {
		out, err = net.DialUDP("udp4", nil, in.LocalAddr().(*net.UDPAddr))
		return err
	}))
	defer out.Close()
	go func() {
		for i := range n {
			_, _ = out.Write(binary.BigEndian.AppendUint32(nil, uint32(i)))
			if i%20 == 19 {
				time.Sleep(time.Millisecond) // as many as fit into the receiver's buffer
			}
		}
	}()
	b := make([]byte, 4)
	for {
		ok(t, in.SetReadDeadline(time.Now().Add(500*time.Millisecond)))
		_, err := in.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return arrived
		}
		ok(t, err)
		arrived = append(arrived, binary.BigEndian.Uint32(b))
	}
}

// While the line is cut there is silence, and no error; then TCP goes on.
func TestCut(t *testing.T) {
	l := netfault.New(t, netfault.Options{Delay: 10 * time.Millisecond})
	near, far := connect(t, l)
	_, err := near.Write([]byte("on the way"))
	ok(t, err)
	l.Cut()
	_, err = near.Write([]byte(", cut"))
	ok(t, err)
	ok(t, far.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
	if n, err := far.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes crossed the cut (%v)", n, err)
	}
	l.Mend()
	ok(t, far.SetReadDeadline(time.Time{}))
	got := make([]byte, len("on the way, cut"))
	_, err = io.ReadFull(far, got)
	ok(t, err)
	if string(got) != "on the way, cut" {
		t.Errorf("got %q", got)
	}
}

func TestRate(t *testing.T) {
	l := netfault.New(t, netfault.Options{Rate: 4 << 20})
	if got := throughput(t, l, 4<<20, 0); got > 4.5 {
		t.Errorf("%.1f MB/s at a rate of 4 MiB/s", got)
	}
}

// The line carries enough for what is tested over it. A machine with other things to do is given some allowance: see BenchmarkLine.
func TestThroughput(t *testing.T) {
	l := netfault.New(t, netfault.Options{})
	if got := throughput(t, l, 64<<20, 0); got < 15 {
		t.Errorf("%.1f MB/s, want 60", got)
	}
	l.Set(netfault.Options{Delay: 100 * time.Millisecond})
	if got := throughput(t, l, 64<<20, 16<<20); got < 4 {
		t.Errorf("%.1f MB/s with 100 ms one way, want 12", got)
	}
}

func BenchmarkLine(b *testing.B) {
	for name, o := range map[string]netfault.Options{
		"NoDelay":        {},
		"100ms":          {Delay: 100 * time.Millisecond},
		"100msLossy":     {Delay: 100 * time.Millisecond, Loss: 0.01},
		"100msLossyReno": {Delay: 100 * time.Millisecond, Loss: 0.01, Congestion: "reno"},
	} {
		b.Run(name, func(b *testing.B) {
			l := netfault.New(b, o)
			size := 256 << 20
			if o.Loss > 0 {
				size = 32 << 20
			}
			if o.Congestion != "" {
				size = 2 << 20
			}
			for b.Loop() {
				b.ReportMetric(throughput(b, l, size, size/4), "MB/s")
			}
		})
	}
}

// throughput sends size bytes, and gives the MB/s after those in which TCP finds its pace.
func throughput(t testing.TB, l *netfault.Link, size, pace int) float64 {
	t.Helper()
	near, far := connect(t, l)
	go func() {
		block := make([]byte, 1<<18)
		for left := size; left > 0; left -= len(block) {
			_, _ = near.Write(block[:min(left, len(block))])
		}
		near.Close()
	}()
	_, err := io.CopyN(io.Discard, far, int64(pace))
	ok(t, err)
	start := time.Now()
	n, err := io.Copy(io.Discard, far)
	ok(t, err)
	if n != int64(size-pace) {
		t.Fatalf("%d of %d bytes arrive", int64(pace)+n, size)
	}
	return float64(n) / 1e6 / time.Since(start).Seconds()
}

// A program runs at the end that it is told to, and with the congestion control that was asked for.
func TestCommand(t *testing.T) {
	l := netfault.New(t, netfault.Options{Congestion: "reno"})
	for _, end := range []*netfault.End{l.Near, l.Far} {
		out, err := end.Command("cat", "/proc/net/fib_trie", "/proc/sys/net/ipv4/tcp_congestion_control").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if !strings.Contains(string(out), "|-- "+end.Addr.String()+"\n") || !strings.HasSuffix(string(out), "\nreno\n") {
			t.Errorf("at %s:\n%s", end.Addr, out)
		}
	}
}

// With the test, everything is gone: descriptors, and with them devices and namespaces, and goroutines.
func TestNothingStays(t *testing.T) {
	before := files(t)
	goroutines := runtime.NumGoroutine()
	t.Run("link", func(t *testing.T) {
		l := netfault.New(t, netfault.Options{Delay: time.Hour})
		datagrams(t, l.Near, l.Far, 10)
	})
	if diff := cmp.Diff(before, files(t)); diff != "" {
		t.Errorf("descriptors (-before +after):\n%s", diff)
	}
	for range 100 {
		if runtime.NumGoroutine() <= goroutines {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", goroutines, runtime.NumGoroutine())
}

func files(t *testing.T) (open []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	ok(t, err)
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil { // not that of the listing
			open = append(open, to)
		}
	}
	return open
}

// connect opens a TCP connection between the two ends.
func connect(t testing.TB, l *netfault.Link) (near, far net.Conn) {
	t.Helper()
	var listener net.Listener
	ok(t, l.Far.Do(func() (err error) {
		listener, err = net.Listen("tcp4", netip.AddrPortFrom(l.Far.Addr, 0).String())
		return err
	}))
	defer listener.Close()
	ok(t, l.Near.Do(func() (err error) {
		near, err = net.Dial("tcp4", listener.Addr().String())
		return err
	}))
	far, err := listener.Accept()
	ok(t, err)
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	return near, far
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
