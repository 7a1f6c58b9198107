package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// tty is a terminal at which somebody sits.
type tty struct {
	t             *testing.T
	master, slave *os.File
	seen          output
}

// newTTY makes a terminal of that many columns and lines: pts(4).
func newTTY(t *testing.T, columns, lines uint16) *tty {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	must(t, err)
	fd := int(master.Fd())
	must(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	must(t, err)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	must(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: lines}))
	y := &tty{t: t, master: master, slave: slave}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			_, _ = y.seen.Write(b[:n])
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { slave.Close(); master.Close() })
	return y
}

// start starts a command at the terminal.
func (y *tty) start(m *machine, args ...string) *exec.Cmd {
	y.t.Helper()
	cmd := exec.Command(program(y.t), append([]string{"--config", m.config}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = y.slave, y.slave, y.slave
	cmd.Env = append(os.Environ(), "TZ=UTC", "TERM=xterm", "NO_COLOR=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	must(y.t, cmd.Start())
	y.t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd
}

func (y *tty) press(keys string) {
	y.t.Helper()
	_, err := y.master.WriteString(keys)
	must(y.t, err)
}

// screen is what is on the screen: the last frame.
func (y *tty) screen() string {
	all := y.seen.String()
	all = all[strings.LastIndex(all, "\x1b[H")+1:]
	return all
}

func (y *tty) shows(text string) {
	y.t.Helper()
	if !soon(func() bool { return strings.Contains(y.screen(), text) }) {
		y.t.Fatalf("the screen does not show %q:\n%s", text, y.screen())
	}
}

func (y *tty) modes() unix.Termios {
	y.t.Helper()
	modes, err := unix.IoctlGetTermios(int(y.slave.Fd()), unix.TCGETS)
	must(y.t, err)
	return *modes
}

// restored makes sure that the terminal is as it was.
func (y *tty) restored(before unix.Termios) {
	y.t.Helper()
	if diff := cmp.Diff(before, y.modes()); diff != "" {
		y.t.Errorf("the modes of the terminal before (-) and after (+):\n%s", diff)
	}
	eventually(y.t, "the first screen is back, with its cursor", func() bool { return strings.HasSuffix(y.seen.String(), "\x1b[?25h\x1b[?1049l") })
}

// What somebody does who watches: start a run, see it run, pause, cancel, resume, quit.
func TestWatch(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	m.slow("512K", "native")
	m.grow("large", 1, 16<<20)
	daemon := m.startDaemon()
	y := newTTY(t, 80, 24)
	before := y.modes()
	watch := y.start(m, "watch")
	y.shows("never")
	y.shows("> home")
	y.press("s")
	m.incoming()
	y.shows("running")
	y.shows("home → disk: transfer of 20")
	y.shows("in full")
	y.shows("iB/s")
	type status struct {
		State        string
		Destinations []struct {
			Progress *struct {
				Step  string
				Bytes int64
			}
		}
	}
	if s := decode[[]status](t, m.must("status", "--json"))[0]; s.State != "running" || s.Destinations[0].Progress == nil || s.Destinations[0].Progress.Step != "transfer" || s.Destinations[0].Progress.Bytes == 0 {
		t.Errorf("status: %+v", s)
	}
	if r := m.must("status"); !strings.Contains(r.stdout, "  running") {
		t.Errorf("status: %s", r)
	}
	y.press("p")
	y.shows("home: paused by ")
	y.press("cn") // asks first
	time.Sleep(50 * time.Millisecond)
	if h := m.history(); len(h) > 0 {
		t.Errorf("cancelled without a yes: %+v", h)
	}
	y.press("c")
	y.shows("cancel what is under way of home?")
	y.press("y")
	eventually(t, "the run has ended", func() bool { return len(m.history()) == 1 })
	y.shows("paused by ")
	y.press("p")
	y.shows("home: resumed")
	y.shows("cancelled")
	for _, line := range strings.Split(y.screen(), "\r\n") {
		if n := len([]rune(escapes.ReplaceAllString(line, ""))); n > 80 {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	y.press("q")
	if err := watch.Wait(); err != nil {
		t.Errorf("watch: %v", err)
	}
	y.restored(before)
	h := m.history()
	if len(h) != 1 || h[0].Result != "cancelled" || !strings.HasPrefix(h[0].Error, "cancelled by ") || len(h[0].Transfers) != 1 || h[0].Transfers[0].Result != "cancelled" {
		t.Errorf("history: %+v", h)
	}
	if r := m.btrkeep("status"); r.status != 0 || !strings.Contains(r.stdout, "cancelled") {
		t.Errorf("a run that was cancelled is no alarm: %s", r)
	}
	daemon.stop()
	m.configure(`
[jobs.home]
source = "$SRC/home"
[jobs.home.destinations.disk]
url = "$DST1/home"
`)
	if r := m.mustRun(); !strings.Contains(r.stdout, "in full") {
		t.Errorf("the next run: %s", r)
	}
}

// Whatever ends watch leaves the terminal as it was.
func TestWatchRestores(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	m.slow("512K", "native")
	for _, how := range []struct {
		name string
		end  func(*tty, *exec.Cmd)
	}{
		{"Ctrl-C", func(y *tty, _ *exec.Cmd) { y.press("\x03") }},
		{"SIGTERM", func(_ *tty, c *exec.Cmd) { must(t, c.Process.Signal(unix.SIGTERM)) }},
		{"SIGHUP", func(_ *tty, c *exec.Cmd) { must(t, c.Process.Signal(unix.SIGHUP)) }},
		{"SIGQUIT", func(_ *tty, c *exec.Cmd) { must(t, c.Process.Signal(unix.SIGQUIT)) }},
	} {
		t.Run(how.name, func(t *testing.T) {
			y := newTTY(t, 60, 10)
			before := y.modes()
			watch := y.start(m, "watch")
			y.shows("the daemon is not running")
			y.shows("never")
			how.end(y, watch)
			if err := watch.Wait(); err != nil {
				t.Errorf("watch: %v", err)
			}
			y.restored(before)
		})
	}
}

func TestWatchWithoutTerminal(t *testing.T) {
	t.Parallel()
	m := machineOn(t, "/nonexistent")
	m.configure("[jobs.home]\nsource = \"$SRC/home\"\ndestination = \"$DIR/home\"\n")
	if r := m.btrkeep("watch"); r.status != 2 || r.stdout != "" || !strings.Contains(r.stderr, "btrkeep: error: watch needs a terminal\nbtrkeep: hint: `btrkeep status`") {
		t.Errorf("%s", r)
	}
}

// Status is as wide as the terminal, and in colour; not so with NO_COLOR.
func TestStatusOnTerminal(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	m.slow("8M", "native")
	m.mustRun()
	name := m.list().Snapshots[0].Name
	wide, narrow := newTTY(t, 140, 24), newTTY(t, 80, 24)
	must(t, wide.start(m, "status").Wait())
	must(t, narrow.start(m, "status").Wait())
	wide.shows(name)
	wide.shows("\x1b[32mok\x1b[0m")
	narrow.shows("\x1b[32mok\x1b[0m")
	plain := newTTY(t, 140, 24)
	m.env = append(m.env, "NO_COLOR=1")
	cmd := exec.Command(program(t), "--config", m.config, "status")
	cmd.Stdout, cmd.Env = plain.slave, append(os.Environ(), "NO_COLOR=1")
	must(t, cmd.Run())
	plain.shows(name)
	if strings.Contains(plain.seen.String(), "\x1b") {
		t.Errorf("colours in spite of NO_COLOR: %q", plain.seen.String())
	}
}
