package jobs_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// A restoration that is killed leaves the old or the new subvolume in place, both are there, and the same command ends well afterwards.
func TestRestoreKilled(t *testing.T) {
	t.Parallel()
	rounds := 50
	if os.Getenv("BTRKEEP_LONG") != "" {
		rounds = 100
	}
	w := newWorld(t, 1)
	names := three(t, w)
	w.job.Destinations[0].Keep = config.Keep{Last: 99}
	w.job.Keep = config.Keep{Last: 2}
	names = append(names, w.incremental("").Snapshot) // the two oldest are at the destination alone
	random := rand.New(rand.NewPCG(1, 2))
	longest := w.killRestore(jobs.Restoration{At: names[0], To: filepath.Join(w.src.Path, "calibration")}, time.Minute)
	restored, killed := 0, 0
	for n := range rounds {
		at := names[random.IntN(len(names))]
		moment := time.Duration(random.Int64N(int64(longest) * 5 / 4))
		if n%2 == 0 {
			restored += w.killedWhole(at, moment)
		} else {
			restored += w.killedInPlace(at, moment)
		}
		if killed++; t.Failed() {
			break
		}
	}
	if restored == 0 || restored == killed {
		t.Errorf("of %d restorations %d were through: not killed where it counts", killed, restored)
	}
	t.Logf("%d restorations, %d of them through when they were killed; %v each", killed, restored, longest)
	w.goesOnIncrementally()
}

// killRestore restores in a process of its own, which is killed after a while, and returns how long it lived.
func (w *world) killRestore(o jobs.Restoration, after time.Duration) time.Duration {
	w.t.Helper()
	w.pass(time.Minute)
	text, err := json.Marshal(order{
		Source: w.src.Path, Destination: w.dests[0].Path, State: w.cfg.StateDir, Runtime: w.cfg.RuntimeDir, Clock: w.clock(), Restore: &restoreOrder{o.At, o.To, o.InPlace},
		Messages: filepath.Join(w.cfg.StateDir, "messages"), Log: os.DevNull,
	})
	must(w.t, err)
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), victimOrder+"="+string(text))
	c.Stderr = os.Stderr
	start := time.Now()
	must(w.t, c.Start())
	kill := time.AfterFunc(after, func() { _ = c.Process.Kill() })
	_ = c.Wait()
	kill.Stop()
	return time.Since(start)
}

func (w *world) killedWhole(at string, after time.Duration) (through int) {
	w.t.Helper()
	o := jobs.Restoration{At: at, To: filepath.Join(w.src.Path, "restored")}
	w.killRestore(o, after)
	if _, err := os.Lstat(o.To); err == nil {
		restoredAs(w.t, w.path(0, at), o.To)
		through = 1
	}
	if r := w.tryRestore(o); r.Error != "" && (through == 0 || !strings.Contains(r.Error, "exists")) {
		w.t.Errorf("run again: %+v", r)
	}
	restoredAs(w.t, w.path(0, at), o.To)
	s, err := btrfs.Info(o.To)
	must(w.t, err)
	must(w.t, btrfs.Delete(w.src.Path, "restored", s.UUID))
	return through
}

func (w *world) killedInPlace(at string, after time.Duration) (through int) {
	w.t.Helper()
	w.write("precious", w.now.String())
	old, err := btrfs.Info(w.source())
	must(w.t, err)
	o := jobs.Restoration{At: at, InPlace: true}
	w.killRestore(o, after)
	now, err := btrfs.Info(w.source())
	must(w.t, err)
	if now.UUID != old.UUID {
		restoredAs(w.t, w.path(0, at), w.source())
		through = 1
	}
	if !slices.ContainsFunc(listed(w.t, w.src.Path), func(v btrfs.Subvolume) bool { return v.UUID == old.UUID }) {
		w.t.Errorf("the source is gone: %+v", old)
	}
	if r := w.tryRestore(o); r.Error != "" {
		w.t.Errorf("run again: %+v", r)
	}
	restoredAs(w.t, w.path(0, at), w.source())
	found := false
	for _, v := range listed(w.t, w.src.Path) {
		if !strings.Contains(v.Name, ".before-restore-") {
			continue
		}
		found = found || v.UUID == old.UUID
		if err := btrfs.Delete(w.src.Path, v.Name, v.UUID); err != nil { // nothing is left in it
			out, _ := exec.Command("find", filepath.Join(w.src.Path, v.Name, ".btrkeep"), "-maxdepth", "1", "-printf", "%p %i\n").CombinedOutput()
			w.t.Errorf("%v (%d through):\n%s", err, through, out)
		}
	}
	if !found {
		w.t.Errorf("what was there is not kept: %+v", old)
	}
	return through
}
