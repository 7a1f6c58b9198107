package daemon

import (
	"errors"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/btrkeep/btrkeep/config"
)

// systemd listens as the service manager does and gives what it has been sent since it was asked last.
func systemd(t *testing.T) func() []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	return func() (all []string) {
		buf := make([]byte, 4096)
		err := raw.Control(func(fd uintptr) {
			for {
				// Not by way of the runtime, whose waiting a bubble takes for work.
				n, _, err := syscall.Recvfrom(int(fd), buf, syscall.MSG_DONTWAIT)
				if err != nil {
					if !errors.Is(err, syscall.EAGAIN) {
						t.Error(err)
					}
					return
				}
				all = append(all, string(buf[:n]))
			}
		})
		if err != nil {
			t.Error(err)
		}
		return all
	}
}

func TestNotify(t *testing.T) {
	sent := systemd(t)
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T13:00:00Z", job(t, "home", "15 14 * * *"), job(t, "srv", "30 2 * * *"))
		b.cfg.Timezone = zone(t, "Europe/Berlin")
		b.fake.takes["home"] = 10 * time.Minute
		want := func(what string, lines ...string) {
			t.Helper()
			got := sent()
			for i := range got {
				got[i] = regexp.MustCompile(`USEC=\d+`).ReplaceAllString(got[i], "USEC=N")
			}
			if !slices.Equal(got, lines) {
				t.Errorf("%s: sent %q, want %q", what, got, lines)
			}
		}
		b.start()
		want("start", "READY=1", "STATUS=next home at 14:15")
		b.passTo("2026-11-23T13:14:59Z")
		want("idle")
		b.passTo("2026-11-23T13:15:00Z")
		want("run", "STATUS=1 running, next srv at 2026-11-24 02:30")
		b.d.Load = func() (*config.Config, error) { return nil, errors.New("a mistake\nin two lines") }
		b.hup <- nil
		synctest.Wait()
		want("refused", "RELOADING=1\nMONOTONIC_USEC=N", "READY=1", "STATUS=1 running, next srv at 2026-11-24 02:30; reload refused: a mistake")
		b.d.Load = func() (*config.Config, error) { return b.cfg, nil }
		b.hup <- nil
		synctest.Wait()
		want("reloaded", "RELOADING=1\nMONOTONIC_USEC=N", "READY=1", "STATUS=1 running, next srv at 2026-11-24 02:30")
		b.stop()
		want("stop", "STOPPING=1\nEXTEND_TIMEOUT_USEC=N\nSTATUS=stopping, waiting for 1 running")
	})
}

// The watchdog is fed by the loop and by nothing else, at a third of the time after which systemd would kill.
func TestWatchdog(t *testing.T) {
	sent := systemd(t)
	t.Setenv("WATCHDOG_USEC", "30000000")
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T13:00:00Z", job(t, "home", "@daily"))
		pings := func(d time.Duration) int {
			n := 0
			for range d / (5 * time.Second) { // the socket's queue is short
				b.pass(5 * time.Second)
				n += strings.Count(strings.Join(sent(), "\n"), "WATCHDOG=1")
			}
			return n
		}
		b.start()
		if n := pings(10 * time.Minute); n < 60 || n > 62 {
			t.Errorf("%d pings in ten minutes", n)
		}
		hang := make(chan struct{})
		b.mu.Lock()
		b.hang = hang
		b.mu.Unlock()
		pings(10 * time.Second)
		if n := pings(10 * time.Minute); n != 0 {
			t.Errorf("%d pings while the loop hung", n)
		}
		b.mu.Lock()
		b.hang = nil
		b.mu.Unlock()
		close(hang)
		if n := pings(time.Minute); n == 0 {
			t.Error("no ping after the loop went on")
		}
		b.stop()
	})
}

// Without systemd, or with one that is gone, the daemon works all the same.
func TestNotifyDeaf(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	t.Setenv("WATCHDOG_USEC", "nonsense")
	synctest.Test(t, func(t *testing.T) {
		b := newLab(t, "2026-11-23T11:59:00Z", job(t, "home", "@hourly"))
		b.start()
		b.passTo("2026-11-23T13:30:00Z")
		b.stop()
		b.want("12:00:00 home schedule", "13:00:00 home schedule")
		if n := strings.Count(b.log.String(), "systemd cannot be told"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, &b.log)
		}
	})
}
