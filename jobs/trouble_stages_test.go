package jobs_test

import (
	"context"
	"errors"
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
	"github.com/btrkeep/btrkeep/jobs/local"
)

// staged is a receiver with something that goes wrong before, in or after it.
type staged struct {
	local.Receiver
	confirm func() error // what the sender says in the end, in the place of what it really says
	done    func() error // what the receiver says in the end, after it has received everything
}

func (s staged) Receive(ctx context.Context, dir, name string, in jobs.Incoming, disk local.Disk) error {
	if s.confirm != nil {
		really := in.Confirm
		in.Confirm = func() error { return errors.Join(really(), s.confirm()) }
	}
	err := s.Receiver.Receive(ctx, dir, name, in, disk)
	if s.done != nil {
		err = errors.Join(err, s.done())
	}
	return err
}

// TROUBLE 4: the sender fails after everything has come, its END included; the receiver fails after it has finished. Neither makes a backup, and the next run does.
func TestStageFailsAtTheEnd(t *testing.T) {
	t.Parallel()
	late := errors.New("exit status 1, after the end")
	for name, breaks := range map[string]func(*staged){
		"the sender":   func(s *staged) { s.confirm = func() error { return late } },
		"the receiver": func(s *staged) { s.done = func() error { return late } },
	} {
		t.Run("TROUBLE 4: "+name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.write("a", "1")
			first := w.mustRun()
			w.write("a", "2")
			s := staged{Receiver: local.Native{Checkpoint: w.cfg.Checkpoint}}
			if w.cfg.Receiver == config.ReceiverProgs {
				s.Receiver = local.Progs{}
			}
			breaks(&s)
			w.runner.Open = local.Opener{Zone: time.UTC, Receiver: s}.Open
			r := w.run()
			if tr := transfer(t, r, "d1"); tr.Result != jobs.ResultFailed || !strings.Contains(tr.Error, late.Error()) {
				t.Errorf("%+v", tr)
			}
			if got := w.complete(0); !slices.Equal(got, []string{first.Snapshot}) {
				t.Errorf("backups %v", got)
			}
			w.runner = w.newRunner()
			if got := w.mustRun(); len(got.Transfers) != 2 || got.Transfers[0].Snapshot != r.Snapshot || got.Transfers[0].Parent != first.Snapshot {
				t.Errorf("the next run: %+v", got.Transfers)
			}
			w.verify()
			w.clean(0)
		})
	}
}

// fakeProgram puts a `btrfs` in front of the real one, whose path is $real in the script. What the script puts into $out is in the directory returned.
func fakeProgram(t *testing.T, script string) (out string) {
	t.Helper()
	real, err := exec.LookPath("btrfs")
	must(t, err)
	dir, out := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "btrfs"), []byte("#!/bin/bash\nreal="+real+" out="+out+"\n"+script), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return out
}

// TROUBLE 4: `btrfs receive` exits 1 after it has finished its subvolume.
func TestProgramFailsAtTheEnd(t *testing.T) {
	w := newWorld(t, 1)
	w.receiver(config.ReceiverProgs)
	w.write("a", "1")
	first := w.mustRun()
	out := fakeProgram(t, `"$real" "$@" && [ "$1" = receive ] && [ ! -e $out/done ] && { touch $out/done; exit 1; }; exit 0`)
	w.write("a", "2")
	if tr := transfer(t, w.run(), "d1"); tr.Result != jobs.ResultFailed {
		t.Errorf("%+v", tr)
	}
	if _, err := os.Stat(filepath.Join(out, "done")); err != nil {
		t.Error("the program has not finished: the test is no test")
	}
	if got := w.complete(0); !slices.Equal(got, []string{first.Snapshot}) {
		t.Errorf("backups %v", got)
	}
	w.mustRun()
	w.verify()
	w.clean(0)
}

// TROUBLE 39: a `btrfs` program that crashes, or says other things than it used to, is asked for nothing that could lead to a deletion. Listing and pruning do
// without it, and what it was to receive is no backup.
func TestProgramOfNoUse(t *testing.T) {
	for name, script := range map[string]string{
		"crashes":          `kill -SEGV $$`,
		"says other words": `cat >/dev/null; echo "{\"ID\": 256, \"gone\": true}"; exit 0`,
	} {
		t.Run("TROUBLE 39: "+name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.receiver(config.ReceiverProgs)
			w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 2}, config.Keep{Last: 2}
			for range 2 {
				w.write("a", w.now.String())
				w.mustRun()
			}
			before := w.complete(0)
			fakeProgram(t, script)
			for range 4 {
				w.write("a", w.now.String())
				if tr := transfer(t, w.run(), "d1"); tr.Result != jobs.ResultFailed {
					t.Errorf("%+v", tr)
				}
			}
			if got := w.complete(0); !slices.Equal(got, before) {
				t.Errorf("backups %v, want %v", got, before)
			}
			if got := w.snapshots(); len(got) != 3 || got[0] != before[1] {
				t.Errorf("snapshots %v, want the last two and the common one", got)
			}
			w.receiver(config.ReceiverNative) // which needs no program
			for _, tr := range w.mustRun().Transfers {
				if tr.Parent == "" {
					t.Errorf("in full: %+v", tr)
				}
			}
			w.verify()
		})
	}
}

// TROUBLE 45: a receiver that does not know protocol 2 gets protocol 1, also for what one that knew it had begun.
func TestOlderReceiver(t *testing.T) {
	t.Run("TROUBLE 45: btrfs-progs before 6.2", func(t *testing.T) {
		w := newWorld(t, 1)
		w.receiver(config.ReceiverProgs)
		out := fakeProgram(t, `
[ "$1" != --version ] || { echo "btrfs-progs v5.16.2"; exit; }
[ "$1" = receive ] || exec "$real" "$@"
head -c 17 >$out/head; tail -c 4 $out/head | od -An -tu1 >>$out/versions
cat $out/head - | "$real" "$@"`)
		w.compressible("a")
		w.mustRun()
		w.compressible("b")
		w.incremental("")
		versions, err := os.ReadFile(filepath.Join(out, "versions"))
		must(t, err)
		if got := strings.Fields(string(versions)); !slices.Equal(got, []string{"1", "0", "0", "0", "1", "0", "0", "0"}) {
			t.Errorf("protocols, in little endian: %v", got)
		}
	})
	t.Run("TROUBLE 45: in the middle of a transfer", func(t *testing.T) {
		if btrfs.StreamVersion() < 2 {
			t.Skip("this kernel sends protocol 1 only")
		}
		w := newResuming(t, 1)
		grow(t, filepath.Join(w.source(), "large"), 8<<20)
		r := w.interrupted(5 << 20)
		if c := w.checkpoints(0); len(c) != 1 || c[0].Checkpoint.Version != 2 {
			t.Fatalf("%+v", c)
		}
		w.runner.Open = local.Opener{Zone: time.UTC, Receiver: older{local.Native{Checkpoint: w.cfg.Checkpoint}, t}}.Open
		again := w.mustRun()
		if i := slices.IndexFunc(again.Transfers, func(tr jobs.Transfer) bool { return tr.Snapshot == r.Snapshot }); i < 0 || again.Transfers[i].ResumedBytes != 0 {
			t.Errorf("%+v", again.Transfers)
		}
		w.verify()
		w.clean(0)
	})
}

// older is a receiver of protocol 1.
type older struct {
	local.Native
	t *testing.T
}

func (older) StreamVersion(context.Context) (int, error) { return 1, nil }

func (o older) Receive(ctx context.Context, dir, name string, in jobs.Incoming, disk local.Disk) error {
	if in.Version != 1 || in.Compressed {
		o.t.Errorf("it gets %+v", in.Identity)
	}
	return o.Native.Receive(ctx, dir, name, in, disk)
}

// compressible writes a file into the source that is compressed on the disk.
func (w *world) compressible(name string) {
	w.t.Helper()
	path := filepath.Join(w.source(), name)
	w.write(name, "")
	btrfsProgram(w.t, "property", "set", path, "compression", "zstd")
	w.write(name, strings.Repeat("compressible ", 100_000))
	must(w.t, btrfs.Sync(w.source()))
}
