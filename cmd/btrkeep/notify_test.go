package main_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/btrkeep/btrkeep/daemon/notify"
)

// The daemon tells once that a job breaks, and once that it is well again, with the lines of the log; the check hears of every run. Secrets of urls are in no output.
func TestTelling(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var pings []string
	var told []notify.Message
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		b, _ := io.ReadAll(r.Body)
		if name, ok := strings.CutPrefix(r.URL.Path, "/check-secret"); ok {
			pings = append(pings, name)
			return
		}
		var m notify.Message
		if err := json.Unmarshal(b, &m); err != nil {
			t.Error(err)
		}
		told = append(told, m)
	}))
	defer service.Close()
	heard := func() (n, p int) {
		mu.Lock()
		defer mu.Unlock()
		return len(told), len(pings)
	}
	m := newMachine(t, 1)
	m.configure(`
[jobs.home]
source      = "$SRC/home"
destination = "$DST1/home"
notify      = { ping_url = "` + service.URL + `/check-secret/{job}", webhook = "` + service.URL + `/hook-secret" }
`)
	if r := m.must("check", "--tell"); strings.Contains(r.stdout+r.stderr, "secret") || !strings.Contains(r.stderr, "told webhook http://127.0.0.1") {
		t.Errorf("%s", r)
	}
	told, pings = nil, nil
	daemon := m.startDaemon()
	m.mustRun()
	eventually(t, "the check hears of the run", func() bool { _, p := heard(); return p == 2 })
	// Something is in the way of the backups.
	must(t, os.Rename(filepath.Join(m.dests[0], "home"), filepath.Join(m.dests[0], "away")))
	must(t, os.WriteFile(filepath.Join(m.dests[0], "home"), nil, 0o600))
	m.write("file", "new")
	for i := range 2 {
		if r := m.btrkeep("run"); r.status != 1 {
			t.Fatalf("%s", r)
		}
		// The next run takes back what has not been told of this one.
		eventually(t, "somebody is told once, and the check of each run", func() bool { n, p := heard(); return n == 1 && p == 4+2*i })
	}
	must(t, os.Remove(filepath.Join(m.dests[0], "home")))
	must(t, os.Rename(filepath.Join(m.dests[0], "away"), filepath.Join(m.dests[0], "home")))
	m.mustRun()
	eventually(t, "somebody is told that it is well", func() bool { n, p := heard(); return n == 2 && p == 8 })
	daemon.stop()
	if got := strings.Join(pings, " "); got != "/home/start /home /home/start /home/1 /home/start /home/1 /home/start /home" {
		t.Error(got)
	}
	if first := told[0]; first.Event != notify.EventProblem || len(first.Problems) != 1 || first.Problems[0].Destination != "default" || !strings.Contains(first.Log, "home") {
		t.Errorf("%+v", first)
	}
	if second := told[1]; second.Event != notify.EventRecovered || len(second.Problems) != 0 || len(second.Resolved) != 1 {
		t.Errorf("%+v", second)
	}
	if r := m.must("status"); strings.Contains(r.stdout+r.stderr, "secret") {
		t.Errorf("%s", r)
	}
}
