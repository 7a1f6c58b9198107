package logind

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// manager is as much of logind as is needed: its locks are pipes, free when their other end is closed.
type manager struct {
	asked chan []string
	lock  *os.File // the reading end of the last lock
}

func (m *manager) Inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	m.lock = r
	m.asked <- []string{what, who, why, mode}
	time.AfterFunc(time.Second, func() { _ = w.Close() }) // when it has been sent
	return dbus.UnixFD(w.Fd()), nil
}

// bus starts a message bus, and gives its address.
func bus(t *testing.T) string {
	cmd := exec.Command("dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (install dbus-daemon)", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(address)
}

func TestKeepAwake(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", bus(t))
	if release, err := KeepAwake("nobody is there"); err == nil {
		release()
		t.Fatal("there is no logind")
	}
	c, err := dbus.SystemBusPrivate()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Auth(nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Hello(); err != nil {
		t.Fatal(err)
	}
	m := &manager{asked: make(chan []string, 1)}
	if err := c.Export(m, "/org/freedesktop/login1", "org.freedesktop.login1.Manager"); err != nil {
		t.Fatal(err)
	}
	if reply, err := c.RequestName("org.freedesktop.login1", dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(reply, err)
	}
	release, err := KeepAwake("a run of home")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(<-m.asked, "|"); got != "sleep|btrkeep|a run of home|block" {
		t.Error(got)
	}
	free := make(chan struct{})
	go func() {
		_, _ = m.lock.Read(make([]byte, 1)) // ends when nobody has the other end
		close(free)
	}()
	select {
	case <-free:
		t.Error("the lock was not held")
	case <-time.After(2 * time.Second):
	}
	release()
	select {
	case <-free:
	case <-time.After(5 * time.Second):
		t.Error("the lock was not released")
	}
}
