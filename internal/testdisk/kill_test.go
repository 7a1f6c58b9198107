package testdisk_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestKillLoop(t *testing.T) {
	for name, leader := range map[string]bool{"group": false, "leader": true} {
		t.Run(name, func(t *testing.T) {
			pids := filepath.Join(t.TempDir(), "pids")
			var orphans int
			testdisk.KillLoop(t, testdisk.Kills{
				Command: []string{"sh", "-c", `sleep 100 & echo $! >"$0"; echo started; wait`, pids},
				Rounds:  8, Max: 300 * time.Millisecond, Seed: 1, Leader: leader,
				Check: func(k testdisk.Killed) error {
					if !k.Killed {
						return errors.New("it was not killed")
					}
					if strings.TrimSpace(k.Output) == "" {
						return nil // before it came to anything
					}
					b, err := os.ReadFile(pids)
					ok(t, err)
					var child int
					_, err = fmt.Sscan(string(b), &child)
					ok(t, err)
					if unix.Kill(child, 0) == nil {
						orphans++
					}
					return nil
				},
			})
			if leader != (orphans > 0) {
				t.Errorf("%d of 8 children lived at the check", orphans)
			}
		})
	}
}

func TestKillLoopRepeats(t *testing.T) {
	moments := func(seed uint64) (after []time.Duration) {
		testdisk.KillLoop(t, testdisk.Kills{
			Command: []string{"sleep", "10"}, Rounds: 5, Max: 10 * time.Millisecond, Seed: seed,
			Check: func(k testdisk.Killed) error { after = append(after, k.After); return nil },
		})
		return after
	}
	if diff := cmp.Diff(moments(1), moments(1)); diff != "" {
		t.Errorf("the same seed gave other moments:\n%s", diff)
	}
	if cmp.Equal(moments(1), moments(2)) {
		t.Error("another seed gave the same moments")
	}
}

func TestKillLoopFails(t *testing.T) {
	for name, tc := range map[string]struct {
		kills testdisk.Kills
		want  string
	}{
		"a check": {testdisk.Kills{
			Command: []string{"sh", "-c", "echo hello; sleep 9"}, Rounds: 3, Max: 50 * time.Millisecond, Seed: 42,
			Check: func(k testdisk.Killed) error {
				if k.Round == 1 {
					return errors.New("it is wrong")
				}
				return nil
			},
		}, "round 1 of seed 42, killed true"},
		"nothing killed": {testdisk.Kills{
			Command: []string{"true"}, Rounds: 1, Max: time.Minute, Seed: 1,
			Check: func(testdisk.Killed) error { return nil },
		}, "none was killed"},
		"no command": {testdisk.Kills{Command: []string{"/nonexistent"}, Rounds: 1}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{TB: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				testdisk.KillLoop(r, tc.kills)
			}()
			<-done
			if !strings.Contains(r.message, tc.want) {
				t.Errorf("message = %q, want %q", r.message, tc.want)
			}
		})
	}
}

// recorder keeps the message of a failure.
type recorder struct {
	testing.TB
	message string
}

func (r *recorder) Errorf(format string, args ...any) { r.message = fmt.Sprintf(format, args...) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }
