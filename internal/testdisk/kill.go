package testdisk

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Kills describes a command that is killed at random moments.
type Kills struct {
	Command []string      // argv
	Dir     string        // where it runs; "" is here
	Env     []string      // its environment; nil is that of the test
	Rounds  int           // how often it is started
	Max     time.Duration // it lives between nothing and this, evenly spread
	Seed    uint64        // of the moments
	Leader  bool          // kill only the command, and let its children go on as orphans
	Signal  unix.Signal   // 0 is SIGKILL

	// Check is called after each round. In a round of Leader, orphans may still
	// run, as they may on a real machine when the next run starts; they are
	// killed afterwards.
	Check func(Killed) error
}

// Killed is how a round of [KillLoop] went.
type Killed struct {
	Round  int           // from 0
	After  time.Duration // when the signal was to come
	Killed bool          // the signal was sent; false if the command had ended before
	Err    error         // of the command, as from [exec.Cmd.Wait]
	Output string        // stdout and stderr
}

// KillLoop starts the command, kills it, and checks, again and again. The first
// check that fails ends the test, with the round and the seed in the message.
// That no round was killed fails it, too: then nothing was tested.
func KillLoop(t testing.TB, k Kills) {
	t.Helper()
	rnd := newRand(k.Seed)
	output := filepath.Join(t.TempDir(), "output")
	killed := 0
	for round := range k.Rounds {
		after := time.Duration(rnd.Int64N(int64(k.Max) + 1))
		result, end, err := k.round(output, after)
		if err != nil {
			t.Fatal(err)
		}
		result.Round = round
		if result.Killed {
			killed++
		}
		err = k.Check(result)
		end()
		if err != nil {
			t.Fatalf("round %d of seed %d, killed %t after %v (%v): %v\noutput: %s",
				round, k.Seed, result.Killed, after, result.Err, err, result.Output)
		}
	}
	if killed == 0 {
		t.Errorf("of %d rounds, none was killed: every command ended within %v", k.Rounds, k.Max)
	}
	t.Logf("%d of %d rounds were killed", killed, k.Rounds)
}

// round runs the command once. The caller calls end when orphans may end.
func (k Kills) round(output string, after time.Duration) (result Killed, end func(), err error) {
	// A file, not a pipe, which orphans would keep open.
	file, err := os.Create(output)
	if err != nil {
		return Killed{}, nil, err
	}
	defer file.Close()
	cmd := exec.Command(k.Command[0], k.Command[1:]...)
	cmd.Dir, cmd.Env = k.Dir, k.Env
	cmd.Stdout, cmd.Stderr = file, file
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return Killed{}, nil, err
	}
	group := -cmd.Process.Pid
	end = func() { endGroup(group) }
	signalled := make(chan error, 1)
	timer := time.AfterFunc(after, func() { signalled <- k.signal(cmd.Process) })
	result = Killed{After: after, Err: cmd.Wait()}
	if !timer.Stop() {
		result.Killed = <-signalled == nil
	}
	if !k.Leader {
		end()
	}
	b, err := os.ReadFile(output)
	result.Output = string(b)
	return result, end, err
}

func (k Kills) signal(process *os.Process) error {
	signal := k.Signal
	if signal == 0 {
		signal = unix.SIGKILL
	}
	if k.Leader {
		return process.Signal(signal)
	}
	return unix.Kill(-process.Pid, signal)
}

// endGroup kills what is left of a process group, and waits until it is gone.
func endGroup(group int) {
	deadline := time.Now().Add(patience)
	for !errors.Is(unix.Kill(group, unix.SIGKILL), unix.ESRCH) && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
}
