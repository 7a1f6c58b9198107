package jobs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
	"github.com/btrkeep/btrkeep/jobs/local"
)

// breaking is a receiver whose line drops after so many bytes.
type breaking struct {
	local.Native
	after int64 // < 0: never
}

var errDropped = errors.New("the line dropped")

func (b breaking) Receive(ctx context.Context, dir, name string, in jobs.Incoming, disk local.Disk) error {
	if b.after >= 0 {
		in.Stream = &dropping{in.Stream, b.after}
	}
	return b.Native.Receive(ctx, dir, name, in, disk)
}

type dropping struct {
	r interface{ Read([]byte) (int, error) }
	n int64
}

func (d *dropping) Read(p []byte) (int, error) {
	if d.n <= 0 {
		return 0, errDropped
	}
	n, err := d.r.Read(p[:min(int64(len(p)), d.n)])
	d.n -= int64(n)
	return n, err
}

// interval between checkpoints: exact from 2 MiB on.
const interval = 2 << 20

// newResuming is a world with native receiver and frequent checkpoints.
func newResuming(t *testing.T, destinations int) *world {
	w := newWorld(t, destinations)
	w.cfg.Receiver, w.cfg.Checkpoint = config.ReceiverNative, config.Checkpoint{Bytes: interval, Time: config.Duration(time.Minute)}
	w.dropAfter(-1)
	return w
}

// dropAfter makes the line drop in each of the following transfers after so many bytes; -1: never.
func (w *world) dropAfter(bytes int64) {
	w.runner = w.newRunner()
	w.runner.Open = w.recorded(local.Opener{Zone: time.UTC, Receiver: breaking{local.Native{Checkpoint: w.cfg.Checkpoint}, bytes}}.Open)
}

// interrupted makes a run that breaks off after so many bytes.
func (w *world) interrupted(bytes int64) jobs.Record {
	w.t.Helper()
	w.dropAfter(bytes)
	r := w.run()
	w.dropAfter(-1)
	if tr := transfer(w.t, r, "d1"); tr.Result != jobs.ResultFailed || !strings.Contains(tr.Error, errDropped.Error()) || tr.Bytes != bytes {
		w.t.Fatalf("%+v", tr)
	}
	return r
}

// holding is a receiver whose first checkpoint somebody begins to read.
type holding struct {
	local.Native
	pattern string
	release func()
}

func (h *holding) Receive(ctx context.Context, dir, name string, in jobs.Incoming, disk local.Disk) error {
	return h.Native.Receive(ctx, dir, name, in, &heldDisk{disk, h})
}

type heldDisk struct {
	local.Disk
	h *holding
}

func (d *heldDisk) Save(at sendstream.Position) error {
	err := d.Disk.Save(at)
	if found, _ := filepath.Glob(d.h.pattern); err == nil && d.h.release == nil && len(found) == 1 {
		s, err := btrfs.Info(found[0])
		if err != nil {
			return err
		}
		if d.h.release, err = btrfs.Hold(found[0], s.UUID); err != nil {
			return err
		}
	}
	return err
}

// A checkpoint that cannot be deleted, once there is a newer one, is no reason to end a transfer that goes well. A later run deletes it.
func TestCheckpointThatIsRead(t *testing.T) {
	w := newResuming(t, 1)
	grow(t, filepath.Join(w.source(), "large"), 4*interval)
	h := &holding{Native: local.Native{Checkpoint: w.cfg.Checkpoint}, pattern: w.path(0, ".btrkeep-incoming-*-*-*-*-*-*")}
	w.runner.Open = local.Opener{Zone: time.UTC, Receiver: h}.Open
	w.mustRun()
	if h.release == nil {
		t.Fatal("nobody has read a checkpoint: the test is no test")
	}
	if left, _ := filepath.Glob(h.pattern); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	h.release()
	w.dropAfter(-1)
	w.write("a", "2")
	w.mustRun()
	w.verify()
	w.clean(0)
}

// An error of the disk while a transfer goes on: what was kept stays, since the disk may have been torn off, and who reads the error is told what to delete if it comes for ever.
func TestResumeMeetsBadDisk(t *testing.T) {
	w := newResuming(t, 1)
	grow(t, filepath.Join(w.source(), "large"), 4*interval)
	r := w.interrupted(3 * interval)
	kept := w.checkpoints(0)[0]
	left, err := filepath.Glob(w.path(0, ".btrkeep-incoming-*"))
	must(t, err)
	w.runner.Open = local.Opener{Zone: time.UTC, Receiver: staged{
		Receiver: local.Native{Checkpoint: config.Checkpoint{Bytes: 1 << 30, Time: config.Duration(time.Hour)}},
		done:     func() error { return syscall.EIO },
	}}.Open
	if tr := transfer(t, w.run(), "d1"); tr.Result != jobs.ResultFailed || len(left) != 1 || !strings.Contains(tr.Hint, kept.Checkpoint.UUID.String()) || !strings.Contains(left[0], kept.Checkpoint.UUID.String()) || !strings.Contains(tr.Hint, w.job.Destinations[0].URL) {
		t.Errorf("%+v does not name %q", tr, left)
	}
	if again := w.checkpoints(0); len(again) != 1 || again[0].UUID != kept.UUID {
		t.Errorf("%+v was kept, now %+v", kept, again)
	}
	w.dropAfter(-1)
	w.goesOn(r.Snapshot)
}

// checkpoints are those at destination i.
func (w *world) checkpoints(i int) (all []catalog.Entry) {
	w.t.Helper()
	c, err := catalog.Read(w.job.Destinations[i].URL)
	must(w.t, err)
	for _, e := range c {
		if e.Checkpoint != nil {
			all = append(all, e)
		}
	}
	return all
}

// clean makes sure that destination i has backups and nothing else.
func (w *world) clean(i int) {
	w.t.Helper()
	if left, _ := filepath.Glob(w.path(i, ".btrkeep-incoming-*")); len(left) > 0 || len(w.checkpoints(i)) > 0 {
		w.t.Errorf("left: %v %v", left, w.checkpoints(i))
	}
}

// onlyCheckpoints makes sure that what was left at destination i can be gone on with.
func (w *world) onlyCheckpoints(i int) {
	w.t.Helper()
	left, _ := filepath.Glob(w.path(i, ".btrkeep-incoming-*"))
	if len(left) == 0 {
		return
	}
	info, err := btrfs.Info(left[0])
	must(w.t, err)
	if kept := w.checkpoints(i); len(left) != 1 || len(kept) != 1 || kept[0].UUID != info.UUID || !info.ReadOnly {
		w.t.Errorf("left behind: %v, checkpoints %v", left, kept)
	}
}

// goesOn makes a run that takes one transfer up, of all those that it makes.
func (w *world) goesOn(of string) jobs.Transfer {
	w.t.Helper()
	r := w.mustRun()
	var found *jobs.Transfer
	for i, tr := range r.Transfers {
		if tr.Snapshot == of {
			found = &r.Transfers[i]
		}
	}
	if found == nil || found.ResumedBytes == 0 {
		w.t.Fatalf("%s does not go on: %+v\n%s", of, r, w.log.String())
	}
	w.verify()
	w.clean(0)
	return *found
}

func size(t *testing.T, snapshot string, parent uint64) int64 {
	t.Helper()
	version := min(2, btrfs.StreamVersion())
	stream, err := btrfs.Send{Subvolume: snapshot, Parent: parent, Version: version, Compressed: version >= 2}.Start(t.Context())
	must(t, err)
	sum, err := (&sendstream.Tap{}).Copy(t.Context(), discard{}, stream)
	must(t, errors.Join(err, stream.Close()))
	return sum.Bytes
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// A first backup that breaks off again and again is complete in the end, and no more than one interval was sent twice each time.
func TestTransferGoesOn(t *testing.T) {
	w := newResuming(t, 1)
	testdisk.Tree(t, w.source(), testdisk.Spec{Seed: 5, Files: 200, MaxSize: 256 << 10})
	grow(t, filepath.Join(w.source(), "large"), 12<<20)
	first := w.interrupted(5 << 20)
	whole := size(t, filepath.Join(w.job.SnapshotDir, first.Snapshot), 0)
	at, sent := int64(5<<20), int64(5<<20)
	for range 2 {
		r := w.interrupted(5 << 20)
		tr := transfer(t, r, "d1")
		if again := at - tr.ResumedBytes; again < 0 || again > interval || tr.Snapshot != first.Snapshot {
			t.Errorf("%d bytes were sent again: %+v", again, tr)
		}
		at, sent = tr.ResumedBytes+tr.Bytes, sent+tr.Bytes
	}
	if n := len(w.checkpoints(0)); n != 1 {
		t.Errorf("%d checkpoints are kept", n)
	}
	tr := w.goesOn(first.Snapshot)
	if tr.ResumedBytes+tr.Bytes != whole || at-tr.ResumedBytes > interval || sent+tr.Bytes > whole+3*interval {
		t.Errorf("of %d bytes %d had been brought over, then %+v", whole, at, tr)
	}
}

// An incremental transfer needs its parent and its clone sources again, at both ends, which policies would prune meanwhile.
func TestIncrementalTransferGoesOn(t *testing.T) {
	w := newResuming(t, 1)
	w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 4}, config.Keep{Last: 4}
	for i := range 4 {
		grow(t, filepath.Join(w.source(), "file"+itoa(i)), 3<<20)
		w.mustRun()
	}
	w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 1}, config.Keep{Last: 1}
	for i := range 3 {
		grow(t, filepath.Join(w.source(), "new"+itoa(i)), 3<<20)
	}
	r := w.interrupted(5 << 20)
	if tr := transfer(t, r, "d1"); tr.Parent == "" {
		t.Fatalf("%+v", tr)
	}
	for _, p := range []jobs.Plan{w.runner.Plan(t.Context(), w.placed(), w.clock()), w.runner.PlanPrune(t.Context(), w.placed(), w.clock())} {
		for _, d := range p.Prune {
			if d.Remove && len(p.Transfers) == 0 {
				t.Errorf("the plan deletes what the transfer needs: %+v", d)
			}
		}
		for _, tr := range p.Transfers {
			if at := w.checkpoints(0)[0].Checkpoint.Offset; tr.Snapshot == r.Snapshot && (tr.Resumed != at || tr.Estimate < 4<<20 || tr.Estimate+at > 10<<20) {
				t.Errorf("the plan is %+v, though %d bytes are there", tr, at)
			}
		}
	}
	id := w.checkpoints(0)[0].Checkpoint.Identity
	if id.Parent.IsZero() || len(id.Clones) == 0 {
		t.Errorf("the checkpoint is of %+v", id)
	}
	grow(t, filepath.Join(w.source(), "later"), 1<<20)
	if kept := w.complete(0); len(kept) != 1+len(id.Clones) {
		t.Errorf("of the parent and %d clone sources, the destination has %v", len(id.Clones), kept)
	}
	if tr := w.goesOn(r.Snapshot); tr.Parent == "" {
		t.Errorf("%+v", tr)
	}
	if kept := w.complete(0); len(kept) != 1 {
		t.Errorf("%v are kept for nothing", kept)
	}
}

// New snapshots come while the first one is still under way; no policy lets that one go.
func TestTransferGoesOnThoughNewerSnapshotsCame(t *testing.T) {
	w := newResuming(t, 1)
	w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 1}, config.Keep{Last: 1}
	grow(t, filepath.Join(w.source(), "large"), 12<<20)
	first := w.interrupted(5 << 20)
	w.write("more", "1")
	second := w.interrupted(5 << 20)
	if second.Snapshot == first.Snapshot || second.Transfers[0].ResumedBytes == 0 || !slices.Contains(w.snapshots(), first.Snapshot) {
		t.Errorf("%+v, snapshots %v", second, w.snapshots())
	}
	// The disk is away for a run: what it needs stays.
	w.job.Destinations[0].RequireMount = w.dests[0].Path
	w.dests[0].Unmount()
	w.write("more", "2")
	w.run()
	if !slices.Contains(w.snapshots(), first.Snapshot) {
		t.Errorf("snapshots %v lack %s, which the absent disk has half", w.snapshots(), first.Snapshot)
	}
	w.dests[0].Mount("")
	w.goesOn(first.Snapshot)
	w.write("more", "3")
	w.mustRun()
	if slices.Contains(w.snapshots(), first.Snapshot) {
		t.Errorf("snapshots %v: %s is no longer needed", w.snapshots(), first.Snapshot)
	}
}

// rewrite changes the checkpoint in the catalog.
func (w *world) rewrite(change func(*sendstream.Checkpoint)) {
	w.t.Helper()
	e := w.checkpoints(0)[0]
	change(e.Checkpoint)
	must(w.t, catalog.Replace(w.job.Destinations[0].URL, e.UUID, e))
}

// ofAnother makes a checkpoint one of another stream.
func ofAnother(t *testing.T, c *sendstream.Checkpoint) {
	t.Helper()
	h := sha256.New()
	h.Write([]byte("something else"))
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	must(t, err)
	c.Digest, c.State = h.Sum(nil), state
}

// forgetful is a receiver whose line is lost once, and which then has a checkpoint of another stream.
type forgetful struct {
	local.Native
	w    *world
	lost *int
}

func (f forgetful) Receive(ctx context.Context, dir, name string, in jobs.Incoming, disk local.Disk) error {
	if *f.lost++; *f.lost > 1 {
		return f.Native.Receive(ctx, dir, name, in, disk)
	}
	in.Stream = &dropping{in.Stream, 5 << 20}
	err := f.Native.Receive(ctx, dir, name, in, disk)
	f.w.rewrite(func(c *sendstream.Checkpoint) { ofAnother(f.w.t, c) })
	return errors.Join(jobs.ErrInterrupted, err)
}

// A transfer that loses its line and cannot go on from the checkpoint that it made starts over in the same run.
func TestTransferStartsOverInOneRun(t *testing.T) {
	w := newResuming(t, 1)
	grow(t, filepath.Join(w.source(), "large"), 8<<20)
	w.runner.Open = local.Opener{Zone: time.UTC, Receiver: forgetful{local.Native{Checkpoint: w.cfg.Checkpoint}, w, new(int)}}.Open
	tr := transfer(t, w.mustRun(), "d1")
	if tr.ResumedBytes != 0 || tr.Bytes < 13<<20 {
		t.Errorf("%+v", tr)
	}
	if n := strings.Count(w.log.String(), "starts over"); n != 1 {
		t.Errorf("starts over %d times:\n%s", n, w.log.String())
	}
	w.verify()
}

// What cannot be gone on with is begun anew, and says why.
func TestTransferStartsOver(t *testing.T) {
	tests := []struct {
		name    string
		between func(t *testing.T, w *world, r jobs.Record)
		says    string // in the log
	}{
		{"the stream is another one", func(t *testing.T, w *world, _ jobs.Record) {
			w.rewrite(func(c *sendstream.Checkpoint) { ofAnother(t, c) })
		}, "not the same as before"},
		{"the protocol is of the future", func(t *testing.T, w *world, _ jobs.Record) {
			w.rewrite(func(c *sendstream.Checkpoint) { c.Version = 9 })
		}, "is gone"},
		{"the parent is of another stream", func(t *testing.T, w *world, _ jobs.Record) {
			w.rewrite(func(c *sendstream.Checkpoint) { c.Parent = btrfs.UUID{1} })
		}, "is gone"},
		{"the digest cannot go on", func(t *testing.T, w *world, _ jobs.Record) {
			w.rewrite(func(c *sendstream.Checkpoint) { c.State = c.State[:10] })
		}, "go on with the digest"},
		{"somebody wrote into it", func(t *testing.T, w *world, _ jobs.Record) {
			left, _ := filepath.Glob(w.path(0, ".btrkeep-incoming-*"))
			btrfsProgram(t, "property", "set", "-f", left[0], "ro", "false")
			must(t, os.WriteFile(filepath.Join(left[0], "planted"), nil, 0o600))
			btrfsProgram(t, "property", "set", left[0], "ro", "true")
			must(t, btrfs.Sync(left[0]))
		}, "deleted what an interrupted transfer left"},
		{"the snapshot is gone", func(t *testing.T, w *world, r jobs.Record) {
			path := filepath.Join(w.job.SnapshotDir, r.Snapshot)
			s, err := btrfs.Info(path)
			must(t, err)
			must(t, btrfs.Delete(w.job.SnapshotDir, r.Snapshot, s.UUID))
			w.write("more", "1")
		}, "deleted what an interrupted transfer left"},
		{"the catalog is gone", func(t *testing.T, w *world, _ jobs.Record) {
			must(t, os.Remove(w.path(0, catalog.File)))
		}, "deleted what an interrupted transfer left"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newResuming(t, 1)
			grow(t, filepath.Join(w.source(), "large"), 8<<20)
			first := w.interrupted(5 << 20)
			tt.between(t, w, first)
			for _, tr := range w.mustRun().Transfers {
				if tr.ResumedBytes != 0 {
					t.Errorf("went on: %+v", tr)
				}
			}
			if !strings.Contains(w.log.String(), tt.says) {
				t.Errorf("the log does not say %q:\n%s", tt.says, w.log.String())
			}
			w.verify()
			w.clean(0)
			if left, _ := filepath.Glob(w.path(0, "*/planted")); len(left) > 0 {
				t.Errorf("a backup has %v", left)
			}
		})
	}
}

// The other receiver cannot go on: what was begun is deleted, and the backup made by it.
func TestOtherReceiverStartsOver(t *testing.T) {
	w := newResuming(t, 1)
	grow(t, filepath.Join(w.source(), "large"), 8<<20)
	w.interrupted(5 << 20)
	w.receiver(config.ReceiverProgs)
	if r := w.mustRun(); r.Transfers[0].ResumedBytes != 0 {
		t.Errorf("%+v", r)
	}
	w.verify()
	w.clean(0)
}

// Of two sources that share a destination directory, neither deletes what the other can go on with.
func TestCheckpointsOfOthersStay(t *testing.T) {
	w := newResuming(t, 1)
	grow(t, filepath.Join(w.source(), "large"), 8<<20)
	first := w.interrupted(5 << 20)
	other := *w
	must(t, btrfs.Create(w.src.Path, "other"))
	other.job.Name, other.job.Source = "other", filepath.Join(w.src.Path, "other")
	other.job.SnapshotDir = filepath.Join(other.job.Source, config.DefaultSnapshotDir)
	other.pass(time.Hour)
	other.mustRun()
	w.goesOn(first.Snapshot)
}

// A send that fails in the part that is skipped says nothing of what was kept: once the source can be read again, the transfer goes on.
func TestGoesOnAfterSendFailed(t *testing.T) {
	w := newResuming(t, 1)
	marker := bytes.Repeat([]byte("what the disk loses. "), 1000)
	must(t, os.WriteFile(filepath.Join(w.source(), "early"), marker, 0o600))
	grow(t, filepath.Join(w.source(), "large"), 12<<20)
	first := w.interrupted(8 << 20)
	kept := w.checkpoints(0)
	// spoil changes one byte of the file on the disk, or back.
	spoil := func() {
		w.src.Unmount()
		image, err := os.ReadFile(w.src.Image)
		must(t, err)
		at := bytes.Index(image, marker[:4096][1:])
		if at < 0 {
			t.Fatal("the file is not on the disk")
		}
		f, err := os.OpenFile(w.src.Image, os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteAt([]byte{image[at-1] ^ 1}, int64(at-1))
		must(t, errors.Join(err, f.Close()))
		w.src.Mount("")
	}
	spoil()
	for range 3 {
		if tr := transfer(t, w.run(), "d1"); tr.Result != jobs.ResultFailed || !strings.Contains(tr.Error, "input/output error") || !strings.Contains(tr.Hint, "the disk reports errors") || strings.Contains(tr.Hint, "delete") ||
			strings.Contains(w.log.String(), "not the same as before") {
			t.Errorf("%+v\n%s", tr, w.log.String())
		}
	}
	if now := w.checkpoints(0); !cmp.Equal(kept, now) {
		t.Fatalf("the checkpoint was given up: %v, now %v", kept, now)
	}
	spoil()
	w.goesOn(first.Snapshot)
}
