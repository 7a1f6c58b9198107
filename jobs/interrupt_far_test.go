package jobs_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/testssh"
	"github.com/btrkeep/btrkeep/jobs"
)

// newFarVictim is a victim whose source is on another machine.
func newFarVictim(t *testing.T, seed uint64) *victim {
	v := newVictim(t, seed)
	v.place, v.far = "pull", testssh.New(t, testssh.Options{Program: testssh.Program(t)})
	v.receiver(v.cfg.Receiver)
	return v
}

// senderKilled kills the sender in the middle of a transfer, and the receiver goes on.
func (v *victim) senderKilled() string {
	v.t.Helper()
	log := newProgressLog(v.logs)
	v.runner.Progress, v.runner.Backoff = log.note, 50*time.Millisecond
	done := make(chan struct{})
	var r jobs.Record
	go func() {
		defer close(done)
		r = v.run()
	}()
	if v.moves(log, done) {
		for _, pid := range v.senders() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	if <-done; r.Result != jobs.ResultOK {
		v.t.Errorf("the run did not go on: %+v", r)
	}
	v.count(log)
	return "the sender was killed"
}

// receiverKilled kills the receiver in the middle of a transfer, and the sender finds that nobody listens any more.
func (v *victim) receiverKilled() string {
	v.t.Helper()
	log := newProgressLog(v.logs)
	v.kill(v.start(log), log)
	for began := time.Now(); len(v.senders()) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			v.t.Fatal("the sender does not end")
		}
	}
	v.count(log)
	return "the receiver was killed"
}

// senders are the processes that send.
func (v *victim) senders() (pids []int) {
	for _, pid := range v.far.Sessions() {
		if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && strings.TrimSpace(string(comm)) == "btrkeep" {
			pids = append(pids, pid)
		}
	}
	return pids
}
