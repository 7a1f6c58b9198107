package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
)

const oneJob = `
[jobs.home]
source      = "$SRC/home"
destination = "$DST1/home"
keep        = { last = 2 }
`

// A reload with a broken file leaves the old configuration in force and says why, with a good one it takes the new one.
func TestReload(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	m.configure(oneJob)
	daemon := m.startDaemon()

	good, err := os.ReadFile(m.config)
	must(t, err)
	bad := string(good) + "colour = \"blue\"\n[jobs.other]\nsource = \"" + m.srcPath + "/other\"\nschedule = \"every day\"\n"
	must(t, os.WriteFile(m.config, []byte(bad), 0o600))
	daemon.signal(unix.SIGHUP)
	eventually(t, "the reload is refused", func() bool {
		return strings.Contains(daemon.stderr.String(), "the configuration was not reloaded")
	})
	why := []string{m.config + ":", `"colour"`, `colour = "blue"`, `schedule = "every day"`, `job "other" has no destination`}
	for _, text := range why {
		if !strings.Contains(daemon.stderr.String(), text) {
			t.Errorf("the log does not say %s:\n%s", text, &daemon.stderr)
		}
		if refused := m.reloadError(); !strings.Contains(refused, text) {
			t.Errorf("the daemon's status does not say %s:\n%s", text, refused)
		}
	}
	m.daemonRuns("home")
	r := m.btrkeep("status")
	if r.status != 2 || !strings.Contains(r.stderr, m.config+":") {
		t.Errorf("status with a broken file: %s", r)
	}

	// A file that a reload cannot take is no mistake to the other commands. They tell what the daemon makes of it all the same.
	must(t, os.WriteFile(m.config, []byte(strings.Replace(string(good), m.state, m.state+"2", 1)), 0o600))
	daemon.signal(unix.SIGHUP)
	eventually(t, "the daemon refuses to move its state", func() bool { return strings.Contains(m.reloadError(), "state_dir") })
	if r := m.btrkeep("status"); !strings.Contains(r.stderr, "state_dir") {
		t.Errorf("status does not tell of the refused reload: %s", r)
	}

	must(t, btrfs.Create(m.srcPath, "other"))
	m.configure(oneJob + "[jobs.other]\nsource = \"$SRC/other\"\ndestination = \"$DST1/other\"\n")
	daemon.signal(unix.SIGHUP)
	eventually(t, "the new configuration is taken", func() bool {
		return strings.Contains(daemon.stderr.String(), "configuration reloaded: 2 jobs")
	})
	if refused := m.reloadError(); refused != "" {
		t.Errorf("after a good reload the status still says %s", refused)
	}
	m.mustRun("other")
	eventually(t, "the daemon tells that it ran the new job", func() bool { return strings.Contains(daemon.stderr.String(), "other: ok in") })
	daemon.stop()
}

// daemonRuns has the daemon run a job, as the command line would if it could read the file.
func (m *machine) daemonRuns(job string) {
	m.t.Helper()
	answer := m.ask(http.MethodPost, "/v1/run", fmt.Sprintf(`{"jobs": [%q]}`, job))
	if !strings.Contains(answer, `"record":{"job":"`+job+`"`) || !strings.Contains(answer, `"result":"ok"`) {
		m.t.Errorf("the daemon does not run %s: %s", job, answer)
	}
}

// reloadError is what the daemon says on its socket of the last reload.
func (m *machine) reloadError() string {
	m.t.Helper()
	var status struct {
		ReloadError string `json:"reload_error"`
	}
	must(m.t, json.Unmarshal([]byte(m.ask(http.MethodGet, "/v1/status", "")), &status))
	return status.ReloadError
}

// ask sends a request to the daemon's socket.
func (m *machine) ask(method, path, body string) string {
	m.t.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(m.runtime(), "control.sock"))
	}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(m.t.Context(), method, "http://btrkeep"+path, strings.NewReader(body))
	must(m.t, err)
	resp, err := client.Do(req)
	must(m.t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	must(m.t, err)
	return string(answer)
}
