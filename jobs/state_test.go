package jobs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/jobs"
)

// A run that finds everything done does not wait for the disk to note that: what it noted may be lost in a power cut, or be garbage, and then the state
// is that of the last run that did something. Once a day it is durable all the same.
func TestStateOfUneventfulRuns(t *testing.T) {
	w := newWorld(t, 1)
	w.job.OnlyIfChanged = true
	state := func() jobs.State {
		t.Helper()
		s, err := jobs.LoadState(w.cfg.StateDir, w.job)
		must(t, err)
		return s
	}
	w.write("file", "1")
	w.mustRun()
	w.mustRun() // the first that has found the disk known
	durable, err := filepath.Glob(filepath.Join(w.cfg.StateDir, "jobs", "*.json"))
	if err != nil || len(durable) != 1 {
		t.Fatal(durable, err)
	}
	recent := durable[0] + ".recent"
	text := func() string {
		t.Helper()
		b, err := os.ReadFile(durable[0])
		must(t, err)
		return string(b)
	}
	before, eventful := text(), state()
	for range 3 {
		w.mustRun()
	}
	if s := state(); text() != before || !s.LastRun.Equal(w.now) || !s.Destinations[w.job.Destinations[0].URL].LastSuccess.Equal(w.now) {
		t.Errorf("at %v: %+v\n%s", w.now, s, text())
	}
	whole, err := os.ReadFile(recent)
	must(t, err)
	middle := bytes.Index(whole, []byte(`"source"`)) + len(`"source": "`)
	holed := slices.Concat(whole[:middle], make([]byte, 3), whole[middle+3:])
	lost := strings.Replace(string(whole), `"backups": 1`, `"backups": 0`, 1)
	if lost == string(whole) {
		t.Fatalf("%s", whole)
	}
	for _, garbage := range []string{"", "\x00\x00\x00", `{"job": "home", "last_run": "20`, `{}`, string(holed), lost} {
		must(t, os.WriteFile(recent, []byte(garbage), 0o600))
		if s := state(); s.LastRun.After(eventful.LastRun) || s.LastRun.IsZero() || len(s.Destinations) != 1 {
			t.Errorf("with %q: %+v", garbage, s)
		}
	}
	w.mustRun()
	w.write("file", "2")
	w.mustRun()
	after := state()
	if text() == before || !after.LastRun.Equal(w.now) {
		t.Errorf("%+v\n%s", after, text())
	}
	must(t, os.WriteFile(recent, []byte(before), 0o600)) // a power cut may bring an older one back
	if s := state(); !s.LastRun.Equal(w.now) {
		t.Errorf("%+v", s)
	}
	w.mustRun()
	yesterday := text()
	w.pass(25 * time.Hour)
	w.mustRun()
	if text() == yesterday {
		t.Errorf("not durable after a day: %s", yesterday)
	}
}
