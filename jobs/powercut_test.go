package jobs_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/local"
)

// The power goes at random moments, every third one right after a run reported success. What the disks would hold then is looked at and worked with: each
// backup at its final name is its snapshot, every file's content included; nothing else looks like one; the next run ends well and is incremental.
func TestPowerCut(t *testing.T) {
	for _, receiver := range []config.Receiver{config.ReceiverProgs, config.ReceiverNative} {
		t.Run(string(receiver), func(t *testing.T) {
			rounds := 9 // of the whole program there are more
			if os.Getenv("BTRKEEP_LONG") != "" {
				rounds = 30
			}
			options := testdisk.Options{Size: 512 << 20, MountOptions: "noatime"}
			src, dst := testdisk.NewFaulty(t, options), testdisk.NewFaulty(t, options)
			must(t, btrfs.Create(src.Path, "home"))
			w := newWorldOn(t, src.Disk, dst.Disk)
			w.cfg.Receiver = receiver
			w.runner = w.newRunner()
			testdisk.Tree(t, w.source(), testdisk.Spec{Seed: 11, Files: 150, MaxSize: 64 << 10})
			w.mustRun()
			random := rand.New(rand.NewPCG(1, 2))
			var took time.Duration
			incomplete := 0
			for round := range rounds {
				must(t, testdisk.Mutate(w.source(), uint64(round), 40))
				w.write(fmt.Sprintf("fresh/%d", round), "")
				grow(t, filepath.Join(w.source(), "fresh", fmt.Sprint(round)), random.Int64N(8<<20)) // so that most of a run is transfer
				images := []string{filepath.Join(t.TempDir(), "src.img"), filepath.Join(t.TempDir(), "dst.img")}
				cut := func() {
					// The destination first: what it has, its source had before.
					dst.PowerCut(images[1], random.Uint64(), 0.5)
					src.PowerCut(images[0], random.Uint64(), 0.5)
				}
				reported := ""
				if round%3 == 0 {
					start := time.Now()
					reported = w.mustRun().Snapshot
					took = time.Since(start)
					cut()
				} else {
					done := make(chan struct{})
					go func() {
						defer close(done)
						w.run()
					}()
					time.Sleep(time.Duration(random.Int64N(int64(took + time.Millisecond))))
					cut()
					<-done
				}
				incomplete += w.afterPowerCut(t, round, images, reported)
			}
			t.Logf("%s: %d cuts, %d of them in mid-transfer", receiver, rounds, incomplete)
		})
	}
}

// The power goes when a receiver has just said that it is done. What it left, under its hidden name yet, is the snapshot.
func TestPowerCutAfterReceiver(t *testing.T) {
	for name, receiver := range map[string]local.Receiver{"native": local.Native{}, "btrfs-progs": local.Progs{}} {
		t.Run(name, func(t *testing.T) {
			dst := testdisk.NewFaulty(t, testdisk.Options{Size: 512 << 20, MountOptions: "noatime"})
			src := testdisk.New(t, testdisk.Options{MountOptions: "noatime"})
			must(t, btrfs.Create(src.Path, "home"))
			w := newWorldOn(t, src, dst.Disk)
			testdisk.Tree(t, w.source(), testdisk.Spec{Seed: 11, Files: 150, MaxSize: 64 << 10})
			image := filepath.Join(t.TempDir(), "dst.img")
			w.runner.Open = local.Opener{Zone: time.UTC, Receiver: staged{Receiver: receiver, done: func() error {
				dst.PowerCut(image, 7, 0) // and of what was not flushed nothing is there
				return errors.New("it is dark")
			}}}.Open
			if tr := transfer(t, w.run(), "d1"); tr.Result != jobs.ResultFailed {
				t.Fatalf("%+v", tr)
			}
			after := testdisk.MountImage(t, image)
			found, err := filepath.Glob(filepath.Join(after.Path, "*", ".btrkeep-incoming-*"))
			must(t, err)
			if len(found) != 1 {
				t.Fatalf("what was received is %q", found)
			}
			s, err := btrfs.Info(found[0])
			must(t, err)
			snapshot := w.listing().Snapshots[0]
			if !s.ReadOnly || s.ReceivedUUID != snapshot.UUID {
				t.Errorf("%+v is not received from %s", s, snapshot.UUID)
			}
			diffs, err := testdisk.Compare(snapshot.Path, found[0])
			if err != nil || len(diffs) > 0 {
				t.Errorf("it differs from its snapshot: %v\n%s", err, strings.Join(diffs, "\n"))
			}
		})
	}
}

// A run is killed when it has given a backup its final name, and before the commit that makes the name durable. The next run finds the backup, has nothing to do, and says so; then the power goes.
// The backup is still there.
func TestPowerCutAfterKill(t *testing.T) {
	dst := testdisk.NewFaulty(t, testdisk.Options{Size: 512 << 20, MountOptions: "noatime,commit=300"})
	src := testdisk.New(t, testdisk.Options{MountOptions: "noatime"})
	must(t, btrfs.Create(src.Path, "home"))
	w := newWorldOn(t, src, dst.Disk)
	w.job.OnlyIfChanged = true
	w.runner = w.newRunner()
	w.write("a", "1")
	name := w.mustRun().Snapshot
	dir := w.job.Destinations[0].URL
	must(t, btrfs.Rename(dir, name, "yet to be named"))
	must(t, btrfs.Commit(dir))
	must(t, btrfs.Rename(dir, "yet to be named", name))
	must(t, os.WriteFile(filepath.Join(dir, ".btrkeep.lock"), []byte(`{"pid": 1, "job": "home"}`), 0o600)) // nobody has taken the name out
	if r := w.mustRun(); !r.Unchanged || r.Transfers[0].Bytes > 0 {
		t.Fatalf("%+v", r)
	}
	image := filepath.Join(t.TempDir(), "dst.img")
	dst.PowerCut(image, 3, 0)
	after := testdisk.MountImage(t, image)
	if _, err := os.Stat(filepath.Join(after.Path, filepath.Base(dir), name)); err != nil {
		t.Error(err)
	}
}

// afterPowerCut looks at what a power cut left, and makes the next run on it. It returns 1 if the cut came in mid-transfer.
func (w *world) afterPowerCut(t *testing.T, round int, images []string, reported string) (incomplete int) {
	src, dst := testdisk.MountImage(t, images[0]), testdisk.MountImage(t, images[1])
	defer func() {
		for i, d := range []*testdisk.Disk{src, dst} {
			d.Close()
			must(t, os.Remove(images[i]))
		}
	}()
	after := newWorldOn(t, src, dst)
	after.cfg.Receiver, after.now = w.cfg.Receiver, w.now.Add(time.Hour)
	after.runner = after.newRunner()
	live := w.listing()
	names := []string{}
	for _, b := range after.listing().Destinations[0].Backups {
		if !b.Complete {
			t.Errorf("round %d: %s is at a final name and not complete", round, b.Name)
			continue
		}
		names = append(names, b.Name)
		i := slices.IndexFunc(live.Snapshots, func(s jobs.ListedSnapshot) bool { return s.UUID == b.ReceivedUUID })
		if i < 0 {
			t.Errorf("round %d: %s is of no snapshot", round, b.Name)
			continue
		}
		diffs, err := testdisk.Compare(live.Snapshots[i].Path, b.Path)
		if err != nil || len(diffs) > 0 {
			t.Errorf("round %d: %s differs from its snapshot: %v\n%s", round, b.Name, err, strings.Join(diffs, "\n"))
		}
	}
	if reported != "" && !slices.Contains(names, reported) {
		t.Errorf("round %d: %s was reported as complete and is gone: %v", round, reported, names)
	}
	if left, _ := filepath.Glob(filepath.Join(after.job.Destinations[0].URL, ".btrkeep-incoming-*")); len(left) > 0 {
		incomplete = 1
	}
	for _, tr := range after.mustRun().Transfers {
		if tr.Parent == "" {
			t.Errorf("round %d: the run after it is not incremental: %+v", round, tr)
		}
	}
	after.verify()
	return incomplete
}
