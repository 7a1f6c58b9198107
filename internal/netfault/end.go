package netfault

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/osthread"
)

const (
	device = "line0"
	// Of a real line; what is lost is lost in such pieces.
	mtu = 1500
	// Packets that wait for this process. With TUN's 500, TCP's bursts would be cut off.
	queueLength = 50_000
)

// End is a network namespace at one end of a [Link]: its side of the link, and a loopback device.
type End struct {
	Addr netip.Addr
	Path string // for nsenter --net=, good as long as the test process

	namespace, tun *os.File
}

// Enter gives the words to put before those of a program that is to run there.
func (e *End) Enter() []string { return []string{"nsenter", "--net=" + e.Path, "--"} }

// Command describes a program that is to run there.
func (e *End) Command(name string, args ...string) *exec.Cmd {
	argv := append(append(e.Enter(), name), args...)
	return exec.Command(argv[0], argv[1:]...)
}

// Do runs f on a thread that is there. Sockets stay where they were made: f can open some that are then used anywhere. It must not leave that to another
// goroutine, as net.Dial does with a name in place of an address.
func (e *End) Do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(e.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// onThread runs f on a thread that ends with it.
func onThread(f func() error) error {
	result := make(chan error, 1)
	osthread.Run(func() (changed bool) {
		result <- f()
		return true
	})
	return <-result
}

func newEnd(addr netip.Addr, congestion string) (*End, error) {
	e := &End{Addr: addr}
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		if e.namespace, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		if e.tun, err = openTUN(); err != nil {
			return err
		}
		if congestion != "" {
			if err := os.WriteFile("/proc/sys/net/ipv4/tcp_congestion_control", []byte(congestion), 0); err != nil {
				return err
			}
		}
		return configure(addr)
	})
	if err != nil {
		e.close()
		return nil, err
	}
	e.Path = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), e.namespace.Fd())
	return e, nil
}

func (e *End) close() {
	for _, f := range []*os.File{e.tun, e.namespace} {
		if f != nil {
			f.Close()
		}
	}
}

// openTUN makes a device in the namespace of the calling thread. It goes with the file.
func openTUN() (*os.File, error) {
	const path = "/dev/net/tun"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	request, err := unix.NewIfreq(device)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make TUN device: %w", err)
	}
	// Only now: a descriptor without a device is always ready, and would never be waited for.
	return os.NewFile(uintptr(fd), path), nil
}

// configure gives the calling thread's namespace its address and has its devices up: netdevice(7).
func configure(addr netip.Addr) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	var errs []error
	set := func(name string, what uint, value func(*unix.Ifreq) error) {
		request, err := unix.NewIfreq(name)
		if err == nil {
			err = errors.Join(value(request), unix.IoctlIfreq(socket, what, request))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("configure %s (%#x): %w", name, what, err))
		}
	}
	address := func(a netip.Addr) func(*unix.Ifreq) error {
		return func(r *unix.Ifreq) error { return r.SetInet4Addr(a.AsSlice()) }
	}
	number := func(n uint32) func(*unix.Ifreq) error {
		return func(r *unix.Ifreq) error { r.SetUint32(n); return nil }
	}
	up := func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }
	set("lo", unix.SIOCSIFFLAGS, up)
	set(device, unix.SIOCSIFADDR, address(addr))
	set(device, unix.SIOCSIFNETMASK, address(netip.AddrFrom4([4]byte{255, 255, 255, 0})))
	set(device, unix.SIOCSIFMTU, number(mtu))
	set(device, unix.SIOCSIFTXQLEN, number(queueLength))
	set(device, unix.SIOCSIFFLAGS, up)
	return errors.Join(errs...)
}
