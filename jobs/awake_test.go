package jobs_test

import (
	"errors"
	"strings"
	"testing"
)

// inhibit_sleep keeps the machine awake from before the first hook until the run has ended; one that cannot be kept awake is backed up all the same.
func TestKeepAwake(t *testing.T) {
	w := newWorld(t, 1)
	awake, asked := false, 0
	w.runner.KeepAwake = func(why string) (func(), error) {
		if !strings.Contains(why, w.job.Name) {
			t.Errorf("%q", why)
		}
		awake, asked = true, asked+1
		return func() { awake = false }, nil
	}
	w.mustRun()
	if asked != 0 {
		t.Error("it was not wanted")
	}
	w.job.InhibitSleep = true
	w.mustRun()
	if asked != 1 || awake {
		t.Errorf("asked %d times, still awake: %v", asked, awake)
	}
	w.runner.KeepAwake = func(string) (func(), error) { return nil, errors.New("no logind") }
	if r := w.mustRun(); len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "no logind") {
		t.Errorf("%q", r.Warnings)
	}
}
