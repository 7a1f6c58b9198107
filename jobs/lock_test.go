package jobs_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/jobs"
)

func TestLockNamesItsHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "home.lock")
	since := time.Date(2026, 11, 23, 11, 56, 0, 0, time.UTC)
	unlock, err := jobs.Lock(path, jobs.Holder{PID: os.Getpid(), Job: "home", Since: since})
	must(t, err)
	_, err = jobs.Lock(path, jobs.Holder{PID: 1, Job: "other"})
	var held *jobs.HeldError
	if !errors.As(err, &held) {
		t.Fatalf("got %v, want a *HeldError", err)
	}
	if held.Holder.PID != os.Getpid() || held.Holder.Job != "home" || !held.Holder.Since.Equal(since) {
		t.Errorf("holder: %+v", held.Holder)
	}
	unlock()
	unlock, err = jobs.Lock(path, jobs.Holder{PID: os.Getpid(), Job: "a"})
	must(t, err)
	unlock()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the lock file was removed: %v", err)
	}
}

// A name that a killed holder left is not told as if it still held the lock.
func TestLockOfADeadHolder(t *testing.T) {
	dead := exec.Command("true")
	must(t, dead.Run())
	path := filepath.Join(t.TempDir(), "lock")
	must(t, os.WriteFile(path, []byte(`{"pid":`+itoa(dead.Process.Pid)+`,"job":"gone","since":"2026-11-23T11:56:00Z"}`+strings.Repeat(" ", 100)), 0o600))
	unlock, err := jobs.Lock(path, jobs.Holder{PID: os.Getpid(), Job: "new"})
	must(t, err)
	defer unlock()
	_, err = jobs.Lock(path, jobs.Holder{PID: 1})
	if err == nil || strings.Contains(err.Error(), "gone") || !strings.Contains(err.Error(), "job new") {
		t.Errorf("got %v", err)
	}
}

func TestLockDoesNotFollowLinks(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "victim"), []byte("precious"), 0o600))
	must(t, os.Symlink("victim", filepath.Join(dir, "lock")))
	if unlock, err := jobs.Lock(filepath.Join(dir, "lock"), jobs.Holder{PID: 1}); err == nil {
		unlock()
		t.Error("locked a symbolic link")
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "victim")); string(b) != "precious" {
		t.Errorf("the link's target is %q", b)
	}
}

// The destination's own lock: another run that writes there makes this destination busy, not failed, and harms no other.
func TestBusyDestination(t *testing.T) {
	w := newWorld(t, 2)
	w.write("a", "1")
	w.mustRun()
	unlock, err := jobs.Lock(filepath.Join(w.job.Destinations[0].URL, ".btrkeep.lock"), jobs.Holder{PID: os.Getpid(), Job: "elsewhere", Since: w.now})
	must(t, err)
	defer unlock()
	w.write("a", "2")
	r := w.run()
	if tr := transfer(t, r, "d1"); tr.Result != jobs.ResultBusy || !strings.Contains(tr.Error, "job elsewhere") {
		t.Errorf("%+v", tr)
	}
	if tr := transfer(t, r, "d2"); tr.Result != jobs.ResultOK {
		t.Errorf("%+v", tr)
	}
	if got := jobs.ExitStatus([]jobs.Record{r}); got != 75 {
		t.Errorf("exit status %d", got)
	}
}

// TROUBLE 29: a second run of a job does not wait for the first one: it is refused at once.
func TestRunOfARunningJobIsRefused(t *testing.T) {
	w := newWorld(t, 1)
	must(t, os.MkdirAll(w.cfg.RuntimeDir, 0o700))
	unlock, err := jobs.Lock(filepath.Join(w.cfg.RuntimeDir, "home.lock"), jobs.Holder{PID: os.Getpid(), Job: "home", Since: w.now})
	must(t, err)
	defer unlock()
	r := w.run()
	if r.Result != jobs.ResultSkipped || !r.NotNow || !strings.Contains(r.Error, itoa(os.Getpid())) || jobs.ExitStatus([]jobs.Record{r}) != 75 {
		t.Errorf("%+v", r)
	}
	if len(w.snapshots()) > 0 {
		t.Error("a refused run made a snapshot")
	}
}
