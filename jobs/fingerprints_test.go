package jobs_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// proving is a job whose daemon would verify and drill, with five backups of which the source has the newest alone.
func proving(t *testing.T) (w *world, names []string) {
	w = newResuming(t, 1)
	schedule, err := config.ParseSchedule("@weekly")
	must(t, err)
	w.job.Verify.Schedule, w.job.Keep, w.job.Destinations[0].Keep = schedule, config.Keep{Last: 1}, config.Keep{Last: 5}
	testdisk.Tree(t, w.source(), testdisk.Spec{Seed: 31, Files: 100, MaxSize: 64 << 10})
	for i := range 5 {
		must(t, testdisk.Mutate(w.source(), uint64(40+i), 25))
		grow(t, filepath.Join(w.source(), "grows"), int64(i+1)<<20)
		if i == 3 { // a transfer that goes on is of a checkpoint's descent, not of its parent's
			grow(t, filepath.Join(w.source(), "large"), 12<<20)
			names = append(names, w.interrupted(5<<20).Snapshot)
			w.goesOn(names[3])
			continue
		}
		names = append(names, w.mustRun().Snapshot)
	}
	return w, names
}

func (w *world) deepVerify() jobs.VerifyReport {
	w.t.Helper()
	return w.runner.Verify(context.Background(), w.placed(), jobs.VerifyOptions{Clock: w.clock(), Deep: true})
}

// Backups whose snapshots are gone are compared with what was noted when they were made: each is intact, and damage is named, though the account of the backup was made to agree with it.
func TestVerifyByFingerprint(t *testing.T) {
	w, names := proving(t)
	v := w.deepVerify()
	d := v.Destinations[0]
	if v.Result != jobs.ResultOK || len(d.StructureOnly) > 0 || len(d.Compared) != len(w.complete(0)) || len(d.Compared) < 5 {
		t.Fatalf("%+v\n%s", v, w.log.String())
	}
	path := w.path(0, names[2])
	damage := func(what string, do func()) {
		t.Helper()
		must(t, setFlag(path, false))
		do()
		must(t, setFlag(path, true))
		must(t, btrfs.Sync(path))
		info, err := btrfs.Info(path)
		must(t, err)
		cat, err := catalog.Read(w.job.Destinations[0].URL)
		must(t, err)
		e := cat[info.UUID]
		e.Ctransid = info.Ctransid
		must(t, catalog.Replace(w.job.Destinations[0].URL, info.UUID, e))
		v := w.deepVerify()
		if v.Result != jobs.ResultFailed || !slices.ContainsFunc(v.Destinations[0].Findings, func(f jobs.VerifyFinding) bool {
			return f.Backup == names[2] && strings.Contains(f.Path+" "+f.What, what)
		}) {
			t.Errorf("%s: %+v", what, v)
		}
	}
	damage("grows content differs", func() {
		st, err := os.Stat(filepath.Join(path, "grows"))
		must(t, err)
		f, err := os.OpenFile(filepath.Join(path, "grows"), os.O_RDWR, 0)
		must(t, err)
		_, err = f.WriteAt([]byte{0x55}, 1<<20+77)
		must(t, err)
		must(t, f.Close())
		must(t, os.Chtimes(filepath.Join(path, "grows"), st.ModTime(), st.ModTime()))
	})
	damage("grows", func() { must(t, os.Chown(filepath.Join(path, "grows"), 7, 7)) })
	damage("missing", func() { must(t, os.Remove(filepath.Join(path, "grows"))) })
}

// A fingerprint goes with its backup, but not before those that build on it.
func TestFingerprintsArePruned(t *testing.T) {
	w, _ := proving(t)
	w.job.Destinations[0].Keep = config.Keep{Last: 1}
	w.incremental("")
	if v := w.deepVerify(); v.Result != jobs.ResultOK {
		t.Errorf("%+v", v)
	}
	for range 20 { // chains come to an end
		w.incremental("")
	}
	files, err := os.ReadDir(w.path(0, ".btrkeep.fingerprints"))
	must(t, err)
	if len(files) > 17 {
		t.Errorf("%d files for one backup", len(files))
	}
	w.job.Verify = config.Verify{}
	w.incremental("")
	if v := w.deepVerify(); v.Result != jobs.ResultOK {
		t.Errorf("%+v", v)
	}
}

// A drill whose backup has no snapshot any more looks at its fingerprint.
func TestDrillByFingerprint(t *testing.T) {
	w, _ := proving(t)
	last := w.snapshots()
	s, err := btrfs.Info(filepath.Join(w.job.SnapshotDir, last[len(last)-1]))
	must(t, err)
	must(t, btrfs.Delete(w.job.SnapshotDir, s.Name, s.UUID))
	if r := w.drill("d1"); r.Result != jobs.ResultOK || r.Against != "the backup and its fingerprint" {
		t.Errorf("%+v", r)
	}
}
