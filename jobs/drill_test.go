package jobs_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

func (w *world) drill(destination string) jobs.DrillReport {
	w.t.Helper()
	return w.runner.Drill(context.Background(), w.placed(), jobs.DrillOptions{Clock: w.clock(), Destination: destination})
}

// A drill brings back all of the newest backup, finds it as it was, and leaves nothing: no subvolume, no change that a run would see.
func TestDrill(t *testing.T) {
	w := newWorld(t, 2)
	if r := w.drill("d1"); r.Result != jobs.ResultSkipped || !r.TaskResult().NotNow() {
		t.Errorf("without a backup: %+v", r)
	}
	names := three(t, w)
	w.job.OnlyIfChanged = true
	before := len(listed(t, w.src.Path))
	for _, d := range []string{"d1", "d2"} {
		r := w.drill(d)
		if r.Result != jobs.ResultOK || r.Backup != names[2] || r.Bytes < 1<<20 || r.Seconds <= 0 || r.Against != "its snapshot" {
			t.Errorf("%+v", r)
		}
	}
	if after := len(listed(t, w.src.Path)); after != before {
		t.Errorf("%d subvolumes, there were %d", after, before)
	}
	if left, _ := filepath.Glob(filepath.Join(w.job.SnapshotDir, ".btrkeep-[rd]*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if r := w.mustRun(); !r.Unchanged {
		t.Errorf("the drill has changed the source: %+v", r)
	}
	w.job.Destinations[1].RequireMount = w.dests[1].Path
	w.dests[1].Unmount()
	if r := w.drill("d2"); r.Result != jobs.ResultAbsent || !r.TaskResult().NotNow() {
		t.Errorf("%+v", r)
	}
	w.dests[1].Mount("")
	w.goesOnIncrementally()
}

// What is not as it was is named.
func TestDrillFindsDamage(t *testing.T) {
	w := newWorld(t, 1)
	w.write("dir/file", "as it was")
	name := w.mustRun().Snapshot
	path := w.path(0, name)
	damaged := filepath.Join(path, "dir/file")
	must(t, setFlag(path, false)) // raw: the received UUID stays
	st, err := os.Stat(damaged)
	must(t, err)
	must(t, os.WriteFile(damaged, []byte("as it iz."), 0o644))
	must(t, os.Chtimes(damaged, st.ModTime(), st.ModTime()))
	must(t, setFlag(path, true))
	// The catalog knows that somebody has written; one that was made to believe otherwise does not.
	if r := w.drill("d1"); r.Result != jobs.ResultSkipped {
		t.Errorf("%+v", r)
	}
	info, err := btrfs.Info(path)
	must(t, err)
	cat, err := catalog.Read(w.job.Destinations[0].URL)
	must(t, err)
	e := cat[info.UUID]
	e.Ctransid = info.Ctransid
	must(t, catalog.Replace(w.job.Destinations[0].URL, info.UUID, e))
	r := w.drill("d1")
	if r.Result != jobs.ResultFailed || len(r.Findings) != 1 || r.Findings[0].Path != "dir/file" || len(r.TaskResult().Damaged) != 1 {
		t.Errorf("%+v", r)
	}
}

// A drill that is cut ends soon; one that was killed is cleaned up by the next run, and one that would fill the disk is refused.
func TestDrillCut(t *testing.T) {
	w := newWorld(t, 1)
	grow(t, filepath.Join(w.source(), "large"), 60<<20)
	w.mustRun()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if r := w.runner.Drill(ctx, w.placed(), jobs.DrillOptions{Clock: w.clock(), Destination: "d1"}); r.Result != jobs.ResultFailed || r.Error == "" {
		t.Errorf("%+v", r)
	}
	dir := filepath.Join(w.job.SnapshotDir, ".btrkeep-drill")
	if _, err := os.Lstat(dir); err == nil {
		t.Error("left behind")
	}
	must(t, os.Mkdir(dir, 0o700))
	must(t, btrfs.Create(dir, ".btrkeep-incoming-1"))
	must(t, btrfs.Create(dir, "restored"))
	r := w.mustRun()
	if _, err := os.Lstat(dir); err == nil || len(r.Warnings) > 0 {
		t.Errorf("left behind; %v", r.Warnings)
	}
	grow(t, filepath.Join(w.source(), "larger"), 300<<20)
	w.mustRun()
	if r := w.drill("d1"); r.Result != jobs.ResultFailed || !strings.Contains(r.Hint, "room") {
		t.Errorf("%+v", r)
	}
	w.job.Destinations[0].Keep = config.Keep{Last: 1}
}
