package main

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/internal/netfault"
	"github.com/btrkeep/btrkeep/internal/testssh"
)

// far is another machine, which is on while a contestant runs.
type far struct {
	*testssh.Server
	t        testing.TB
	dir      string
	sessions map[string]cpu // what it took for each contestant, with all that its sessions started
}

// cpu is that of each run.
type cpu []time.Duration

// newFar makes one at the far end of a link; nil is the loopback device.
func (b *bench) newFar(link *netfault.Link) *far {
	b.installSSH()
	return &far{Server: testssh.Make(b.t, testssh.Options{Link: link, Program: b.btrkeep}), t: b.t, dir: b.t.TempDir(), sessions: map[string]cpu{}}
}

// installSSH is apart from the rest that is installed: whoever measures something else needs none.
func (b *bench) installSSH() {
	install := exec.Command(filepath.Join(moduleRoot(b.t), "tools/install-deps.sh"), "sshd=openssh-server", "ssh=openssh-client", "ssh-keygen=openssh-client", "nsenter=util-linux")
	install.Stdout, install.Stderr = b.log, b.log
	must(b.t, install.Run())
}

func (f *far) file(name string) string { return filepath.Join(f.dir, name) }

// contestant has an sshd of its own for each run, so that its time can be told: with that of btrkeep itself, of ssh and of what they start, it is
// that of all of it.
func (f *far) contestant(c contestant) contestant {
	prepare, check := c.prepare, c.check
	c.prepare = func() {
		prepare()
		f.Start()
	}
	c.check = func() {
		f.sessions[c.name] = append(f.sessions[c.name], f.stop())
		check()
	}
	c.argv = append([]string{"env", f.Env(f.SSH), "BTRKEEP_STATE_DIR=" + f.file("near-state"), "BTRKEEP_RUNTIME_DIR=" + f.file("near-run")}, c.argv...)
	return c
}

// alternate is [alternate] with sshd's part in what each run took.
func (f *far) alternate(runs int, contestants ...contestant) []result {
	clear(f.sessions)
	for i, c := range contestants {
		contestants[i] = f.contestant(c)
	}
	results := alternate(f.t, runs, contestants...)
	for _, r := range results {
		for i := range r.Costs {
			r.Costs[i].CPU += f.sessions[r.Name][i]
		}
	}
	return results
}

// stop ends it once all that was started there has ended, and tells the time of all.
func (f *far) stop() time.Duration {
	for start := time.Now(); len(f.Sessions()) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			f.t.Fatal("a session goes on without its client")
		}
	}
	ended := f.Stop()
	return ended.UserTime() + ended.SystemTime()
}
