package jobs_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/jobs"
)

func (w *world) state() jobs.State {
	w.t.Helper()
	s, err := jobs.LoadState(w.cfg.StateDir, w.placed())
	must(w.t, err)
	return s
}

// What a run saw is in the state, for those who must not wake a disk to know it; and of a disk that is away, what it had, and how much waits for it.
func TestStateHasWhatWasSeen(t *testing.T) {
	w := newWorld(t, 2)
	at := func(i int) jobs.DestinationState { return w.state().Destinations[w.placed().Destinations[i].URL] }
	write := func(text string) { must(t, os.WriteFile(filepath.Join(w.source(), "file"), []byte(text), 0o600)) }
	write("one")
	w.mustRun()
	first := at(0)
	if first.Backups != 1 || first.Backlog != 0 || first.Free == 0 || first.Total < first.Free || first.LastBytes == 0 || first.LastSeconds <= 0 || len(first.Space) != 1 || w.state().Snapshots != 1 {
		t.Errorf("%+v", w.state())
	}
	w.pass(24 * time.Hour)
	w.mustRun() // an empty transfer
	if s := at(0); s.Backups != 2 || len(s.Space) != 2 || w.state().Snapshots != 2 {
		t.Errorf("%+v", w.state())
	}
	w.dests[1].Unmount()
	for range 2 {
		w.pass(time.Hour)
		write(w.now.String())
		w.run()
	}
	if s := at(1); s.Backups != 2 || s.Backlog != 2 || s.AbsentSince.IsZero() || s.Total == 0 {
		t.Errorf("absent: %+v", s)
	}
	if s := at(0); s.Backups != 4 || s.Backlog != 0 || len(s.Space) != 2 {
		t.Errorf("present: %+v", s)
	}
	if found := w.state().Health(w.placed(), w.now); len(found) > 0 {
		t.Errorf("%+v", found)
	}
}
