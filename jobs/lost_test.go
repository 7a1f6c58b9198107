package jobs_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/local"
)

// losing is a receiver whose disk loses what was written just before the nth checkpoint, in the background, and works again at once.
type losing struct {
	local.Native
	dst  *testdisk.FaultDisk
	nth  int
	at   int64 // of that checkpoint
	lost int   // requests
}

func (l *losing) Receive(ctx context.Context, dir, name string, in jobs.Incoming, disk local.Disk) error {
	return l.Native.Receive(ctx, dir, name, in, &lossyDisk{disk, l, filepath.Join(dir, name)})
}

type lossyDisk struct {
	local.Disk
	l    *losing
	path string
}

func (d *lossyDisk) Save(at sendstream.Position) error {
	if d.l.nth--; d.l.nth == 0 {
		d.l.at = at.Offset
		files, err := filepath.Glob(filepath.Join(d.path, "*"))
		if err != nil {
			return err
		}
		before := d.l.dst.Stats().Failed[testdisk.Write]
		d.l.dst.Fail(testdisk.Write, testdisk.Failure{})
		for _, path := range files {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			_ = btrfs.WriteOut(f) // what it says is for the kernel to tell others, too
			f.Close()
		}
		d.l.dst.Clear()
		d.l.lost = d.l.dst.Stats().Failed[testdisk.Write] - before
	}
	return d.Disk.Save(at)
}

// A disk that loses data before a checkpoint, and works again: what was lost is in no checkpoint. The run fails, the next one goes on with the checkpoint before, or begins anew if there is none, and its
// backup is the snapshot.
func TestLostBeforeCheckpoint(t *testing.T) {
	for name, nth := range map[string]int{"the first": 1, "a later one": 3} {
		t.Run(name, func(t *testing.T) {
			options := testdisk.Options{Size: 512 << 20, MountOptions: "noatime,commit=300"} // so that nothing but data is written when it fails
			src, dst := testdisk.New(t, options), testdisk.NewFaulty(t, options)
			must(t, btrfs.Create(src.Path, "home"))
			w := newWorldOn(t, src, dst.Disk)
			w.cfg.Checkpoint = config.Checkpoint{Bytes: interval, Time: config.Duration(time.Minute)}
			grow(t, filepath.Join(w.source(), "large"), 6*interval)
			l := &losing{Native: local.Native{Checkpoint: w.cfg.Checkpoint}, dst: dst, nth: nth}
			w.runner.Open = local.Opener{Zone: time.UTC, Receiver: l}.Open
			r := w.run()
			if tr := transfer(t, r, "d1"); tr.Result != jobs.ResultFailed || !strings.Contains(tr.Error, "input/output error") {
				t.Errorf("%+v", tr)
			}
			if l.nth > 0 || l.lost == 0 {
				t.Fatal("the disk has lost nothing: the test is no test")
			}
			kept := w.checkpoints(0)
			if len(kept) != min(nth-1, 1) || len(kept) > 0 && kept[0].Checkpoint.Offset >= l.at {
				t.Errorf("what was to be kept at %d was lost: %+v", l.at, kept)
			}
			w.dropAfter(-1)
			w.write("later", "")
			again := w.mustRun()
			if tr := again.Transfers[0]; tr.Snapshot != r.Snapshot || (tr.ResumedBytes > 0) != (nth > 1) {
				t.Errorf("%+v", tr)
			}
			dst.Unmount() // what is compared comes from the disk
			dst.Mount(options.MountOptions)
			w.verify()
			w.clean(0)
			if got := w.complete(0); len(got) != 2 || got[0] != r.Snapshot {
				t.Errorf("complete: %v", got)
			}
		})
	}
}

// A disk that fails in the commit that makes the name of a backup durable, wherever in it: the run fails, and what it has brought over does not count. On the disk when it works again there is the whole backup or
// none of that name, and the next run goes on from there.
func TestLostInCommit(t *testing.T) {
	for name, fails := range map[string]struct {
		op testdisk.Op
		as testdisk.Failure
	}{
		"what is written":                 {testdisk.Write, testdisk.Failure{}},
		"the flush before the superblock": {testdisk.Flush, testdisk.Failure{}},
		"the flush of the superblock":     {testdisk.Flush, testdisk.Failure{After: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			options := testdisk.Options{Size: 512 << 20, MountOptions: "noatime,commit=300"} // so that no other commit comes first
			src, dst := testdisk.New(t, options), testdisk.NewFaulty(t, options)
			must(t, btrfs.Create(src.Path, "home"))
			w := newWorldOn(t, src, dst.Disk)
			w.receiver(config.ReceiverNative)
			w.write("a", "1")
			first := w.mustRun().Snapshot
			grow(t, filepath.Join(w.source(), "large"), 4<<20)
			w.runner.Open = local.Opener{Zone: time.UTC, Receiver: staged{Receiver: local.Native{}, done: func() error {
				dst.Fail(fails.op, fails.as) // what comes before the commit, the catalog and the renaming, is written by it
				return nil
			}}}.Open
			r := w.run()
			if tr := transfer(t, r, "d1"); tr.Result != jobs.ResultFailed || !strings.HasPrefix(tr.Error, "commit "+w.path(0, r.Snapshot)) {
				t.Fatalf("%+v", tr)
			}
			if got := w.complete(0); len(got) > 0 {
				t.Errorf("on a disk that has failed there are said to be %v", got)
			}
			dst.Clear()
			dst.Unmount()
			dst.Mount(options.MountOptions)
			w.verify()
			w.receiver(config.ReceiverNative)
			again := w.mustRun()
			w.verify()
			w.clean(0)
			if got := w.complete(0); !slices.Equal(got, []string{first, r.Snapshot, again.Snapshot}) {
				t.Errorf("complete: %v", got)
			}
		})
	}
}
