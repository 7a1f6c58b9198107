package jobs_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
)

// reference is a disk on which each stream that came over is received once more, in one go. The twin of a backup is there by the name of its snapshot's UUID.
type reference struct {
	t       *testing.T
	disk    *testdisk.Disk
	streams string       // directory of those that are not there yet, see recording
	made    []btrfs.UUID // twins
}

func newReference(t *testing.T) *reference {
	return &reference{t: t, disk: testdisk.New(t, testdisk.Options{Size: 4 << 30}), streams: t.TempDir()}
}

// same makes sure that a complete backup is what its stream, not interrupted, makes: in all that Twins compares. One that was sent in full is its snapshot with all holes and preallocated ranges, and with the
// time of the root directory.
func (r *reference) same(when, snapshot string, b jobs.ListedBackup) {
	r.t.Helper()
	r.receive(b.ReceivedUUID)
	must(r.t, errors.Join(btrfs.Sync(r.disk.Path), btrfs.Sync(b.Path)))
	twin := filepath.Join(r.disk.Path, b.ReceivedUUID.String())
	pair := testdisk.Twins{Resumed: true}
	diffs, err := pair.Compare(twin, b.Path)
	must(r.t, err)
	s, err := btrfs.Info(twin)
	must(r.t, err)
	if s.ParentUUID.IsZero() {
		more, err := testdisk.CompareExact(snapshot, b.Path)
		must(r.t, err)
		diffs = append(diffs, more...)
	}
	if len(diffs) > 0 {
		r.t.Errorf("%s: %s is not what it would be without:\n%s", when, b.Name, strings.Join(diffs, "\n"))
	}
}

// receive makes a twin, and before it those that its stream takes something from.
func (r *reference) receive(id btrfs.UUID) {
	r.t.Helper()
	if _, err := btrfs.Info(filepath.Join(r.disk.Path, id.String())); err == nil {
		return
	}
	f, err := os.Open(filepath.Join(r.streams, id.String()))
	must(r.t, err)
	defer f.Close()
	for d := sendstream.NewDecoder(f); ; {
		c, err := d.Next()
		if err == io.EOF {
			break
		}
		must(r.t, err)
		if c.Has(sendstream.AttrCloneUUID) && c.UUID(sendstream.AttrCloneUUID) != id {
			r.receive(c.UUID(sendstream.AttrCloneUUID))
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	must(r.t, err)
	must(r.t, sendstream.Receiver{}.Receive(r.t.Context(), r.disk.Path, id.String(), f))
	must(r.t, os.Remove(f.Name()))
	r.made = append(r.made, id)
}

// forget deletes the twins that were made.
func (r *reference) forget() {
	r.t.Helper()
	for _, id := range r.made {
		s, err := btrfs.Info(filepath.Join(r.disk.Path, id.String()))
		must(r.t, err)
		must(r.t, btrfs.Delete(r.disk.Path, id.String(), s.UUID))
	}
	r.made = nil
}

// wholeAfter compares what a run has completed on the disks that a power cut left. The machine that goes on makes the same backup again.
func (v *victim) wholeAfter(back *world) {
	v.t.Helper()
	whole := reference{t: v.t, disk: v.whole.disk, streams: back.streams}
	defer whole.forget()
	l := back.listing()
	for _, b := range l.Destinations[0].Backups {
		i := slices.IndexFunc(l.Snapshots, func(s jobs.ListedSnapshot) bool { return s.UUID == b.ReceivedUUID })
		if i >= 0 && !v.compared[b.UUID] {
			whole.same("after a power cut", l.Snapshots[i].Path, b)
		}
	}
}

// recording is a destination that keeps what comes over, each stream in a file called as the UUID of its snapshot.
type recording struct {
	jobs.Destination
	streams string
}

func (r recording) Receive(ctx context.Context, in jobs.Incoming) (jobs.Backup, error) {
	f, err := os.OpenFile(filepath.Join(r.streams, in.UUID.String()), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return jobs.Backup{}, err
	}
	defer f.Close()
	at := int64(0)
	if in.From != nil {
		at = in.From.Checkpoint.Offset
	}
	if err := f.Truncate(at); err != nil {
		return jobs.Backup{}, err
	}
	in.Stream = io.TeeReader(in.Stream, io.NewOffsetWriter(f, at))
	return r.Destination.Receive(ctx, in)
}

// recorded is an Opener whose destinations are recording, if the world wants that.
func (w *world) recorded(open jobs.Opener) jobs.Opener {
	if w.streams == "" {
		return open
	}
	return func(ctx context.Context, job config.Job, d config.Destination, owner jobs.Owner, last jobs.Identity) (jobs.Destination, error) {
		there, err := open(ctx, job, d, owner, last)
		if err != nil {
			return nil, err
		}
		return recording{there, w.streams}, nil
	}
}
