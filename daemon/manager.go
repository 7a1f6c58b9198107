package daemon

import (
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/btrkeep/btrkeep/jobs"
)

// manager is the service manager that started the daemon, spoken to by sd_notify(3). Without one ($NOTIFY_SOCKET is not set) nothing is sent.
type manager struct {
	log      *slog.Logger
	shown    string        // the last STATUS
	watchdog time.Duration // how often it wants to hear from the loop; 0: never
	pinged   time.Time     // by the monotonic clock, as systemd counts
	deaf     bool          // it has been logged that sending fails
}

// start says that the daemon is up.
func (m *manager) start() {
	timeout, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		m.log.Warn("no watchdog", jobs.KeyError, err)
	}
	m.watchdog = timeout / 3 // sd_watchdog_enabled(3) advises half of it; one ping may come late
	m.ready()
}

func (m *manager) ready() { m.send(sd.SdNotifyReady) }

// reloading says that a reload begins. Both lines must be in one datagram, and ready must follow whatever becomes of it: `systemctl reload` waits
// for that with Type=notify-reload, systemd.service(5).
func (m *manager) reloading() {
	m.send(sd.SdNotifyReloading, strings.TrimSpace(sd.SdNotifyMonotonicUsec()))
}

// stopping says that the daemon is about to end, and that it may take until patience is over.
func (m *manager) stopping(runs int, patience time.Duration) {
	m.shown = "stopping"
	if runs > 0 {
		m.shown = fmt.Sprintf("stopping, waiting for %d running", runs)
	}
	extend := (patience + 2*shutdownPatience).Microseconds()
	m.send(sd.SdNotifyStopping, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", extend), "STATUS="+m.shown)
}

// status is the line in `systemctl status`, sent when it changes.
func (m *manager) status(line string) {
	if line != m.shown {
		m.shown = line
		m.send("STATUS=" + line)
	}
}

// ping feeds the watchdog if it is time to, and says when it will be again. Only the loop may call it: if that hangs, systemd has to know.
func (m *manager) ping() time.Duration {
	if m.watchdog == 0 {
		return math.MaxInt64
	}
	if since := time.Since(m.pinged); since < m.watchdog {
		return m.watchdog - since
	}
	m.pinged = time.Now()
	m.send(sd.SdNotifyWatchdog)
	return m.watchdog
}

func (m *manager) send(lines ...string) {
	_, err := sd.SdNotify(false, strings.Join(lines, "\n"))
	if err != nil && !m.deaf {
		m.log.Warn("systemd cannot be told", jobs.KeyError, err)
	}
	m.deaf = err != nil
}
