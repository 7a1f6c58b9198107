package metrics

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// free is an address at which nobody listens.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// get asks like a scraper that keeps no connection. The status is 0 if nobody listens.
func get(t *testing.T, method, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// with is a configuration that differs from another in its outlets.
func with(cfg *config.Config, address, textfile string) *config.Config {
	other := *cfg
	other.Metrics, other.Textfile = address, textfile
	return &other
}

// The listener is off until it is asked for; a reload moves and closes it.
func TestListener(t *testing.T) {
	m, log := newMetrics(t, noon)
	cfg := newConfig(t, newJob(t, "home", "@hourly", "usb"))
	first, second := free(t), free(t)
	serves := func(address string) bool {
		status, body := get(t, http.MethodGet, "http://"+address+"/metrics")
		return status == http.StatusOK && strings.Contains(body, `btrkeep_job_last_success_timestamp_seconds{btrkeep_job="home"} 0`)
	}
	m.Configured(cfg)
	m.Tick(jobs.Clock{Wall: noon()})
	if log := log.String(); log != "" {
		t.Errorf("by default: %s", log)
	}
	m.Configured(with(cfg, first, ""))
	eventually(t, "it is open", func() bool { return serves(first) })
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{http.MethodGet, "/", "btrkeep 1.2.3\nmetrics for Prometheus: /metrics\n", http.StatusOK},
		{http.MethodHead, "/metrics", "", http.StatusOK},
		{http.MethodPost, "/metrics", "Method Not Allowed\n", http.StatusMethodNotAllowed},
		{http.MethodGet, "/v1/status", "404 page not found\n", http.StatusNotFound},
		{http.MethodGet, "/debug/pprof/", "404 page not found\n", http.StatusNotFound},
	} {
		if status, body := get(t, c.method, "http://"+first+c.path); status != c.status || body != c.body {
			t.Errorf("%s %s: %d %q", c.method, c.path, status, body)
		}
	}
	m.Configured(with(cfg, first, "")) // stays as it is
	m.Configured(with(cfg, second, ""))
	eventually(t, "it has moved", func() bool { return serves(second) && !serves(first) })
	m.Configured(cfg)
	eventually(t, "it is closed", func() bool { return !serves(second) })
	m.Configured(with(cfg, first, ""))
	eventually(t, "it is open again", func() bool { return serves(first) })
	m.Close(t.Context())
	if serves(first) {
		t.Error("open after the end")
	}
	if n := strings.Count(log.String(), "metrics are at http://"); n != 3 || strings.Contains(log.String(), "ERROR") {
		t.Errorf("opened %d times:\n%s", n, log)
	}
}

// An address that cannot be opened is said once, with what to do, and harms nothing else. It is tried again, and at once after a reload.
func TestListenerCannotBeOpened(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address, dir := taken.Addr().String(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m, log := newMetrics(t, time.Now)
		cfg := with(newConfig(t, newJob(t, "home", "@hourly", "usb")), address, dir+"/btrkeep.prom")
		m.Configured(cfg)
		said := func(times int, what string) {
			t.Helper()
			time.Sleep(2 * settle)
			synctest.Wait()
			if got := log.String(); strings.Count(got, "level=ERROR") != times || !strings.Contains(got, what) {
				t.Errorf("want %d errors and %s:\n%s", times, what, got)
			}
		}
		said(1, `: address already in use" hint="something else listens there`)
		has(t, cfg.Textfile, "btrkeep_daemon_up 1")
		for range 3 {
			time.Sleep(openEvery)
			m.Tick(jobs.Now())
		}
		said(1, "")
		m.Configured(cfg)
		said(2, "")
		m.Configured(with(cfg, "192.0.2.1:9797", "")) // of nobody, RFC 5737
		said(3, `hint="this machine does not have that address, or not yet`)
		m.Configured(with(cfg, address, ""))
		said(4, "")
		taken.Close()
		time.Sleep(openEvery)
		m.Tick(jobs.Now())
		// From here on the bubble's time stands still, as somebody waits for connections.
		for !strings.Contains(log.String(), "metrics are at http://"+address+"/metrics") {
			runtime.Gosched()
		}
		m.Close(t.Context())
	})
}

// Whoever reaches the address cannot use up what runs need.
func TestConnectionsAreBounded(t *testing.T) {
	m, _ := newMetrics(t, noon)
	address := free(t)
	m.Configured(with(newConfig(t), address, ""))
	eventually(t, "it is open", func() bool { s, _ := get(t, http.MethodGet, "http://"+address+"/metrics"); return s == http.StatusOK })
	var idle []net.Conn
	for range 2 * maxConnections {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		idle = append(idle, c)
	}
	closed := 0
	for _, c := range idle {
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			closed++
		}
	}
	if closed < maxConnections-1 {
		t.Errorf("of %d connections %d were closed", len(idle), closed)
	}
	for _, c := range idle {
		c.Close()
	}
	eventually(t, "it answers again", func() bool { s, _ := get(t, http.MethodGet, "http://"+address+"/metrics"); return s == http.StatusOK })
}
