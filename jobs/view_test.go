package jobs_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/local"
)

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

// Through a view each job is seen as without one, whatever lies around: nested subvolumes, snapshots by hand, others that were written into, a source that was restored.
func TestViewSeesTheSame(t *testing.T) {
	w := newWorld(t, 2)
	w.write("file", "1")
	w.mustRun()
	w.write("file", "2")
	w.mustRun()
	must(t, btrfs.Create(w.source(), "nested"))
	must(t, btrfs.Snapshot(w.source(), w.job.SnapshotDir, "by-hand", true))
	must(t, btrfs.Snapshot(w.source(), w.job.SnapshotDir, "writable", false))
	must(t, btrfs.Snapshot(w.source(), w.src.Path, "elsewhere", true))
	must(t, btrfs.Create(w.job.SnapshotDir, "unrelated"))
	must(t, btrfs.SetReadOnly(filepath.Join(w.job.SnapshotDir, "unrelated")))
	must(t, btrfs.Create(w.src.Path, "other"))
	other := w.job
	other.Name, other.Source, other.SnapshotDir = "other", filepath.Join(w.src.Path, "other"), filepath.Join(w.src.Path, "other", config.DefaultSnapshotDir)
	other.Destinations = []config.Destination{{Name: "d1", URL: filepath.Join(w.dests[0].Path, "other")}}
	if r := w.runner.Run(t.Context(), other, jobs.Options{Clock: w.clock()}); r.Result != jobs.ResultOK {
		t.Fatalf("%+v", r)
	}
	view := &jobs.View{}
	near := local.Opener{Zone: time.UTC, Receiver: local.Native{}, View: &view.View}
	viewer := w.newRunner()
	viewer.View, viewer.Open, viewer.At = view, near.Open, near.At
	list := []config.Job{w.job, other, w.job}
	seen := jobs.Each(t.Context(), list, viewer.List)
	stood := jobs.Each(t.Context(), list, func(ctx context.Context, j config.Job) jobs.Status { return viewer.Status(ctx, j, w.now) })
	found := jobs.Each(t.Context(), list, viewer.Check)
	free := cmpopts.IgnoreFields(jobs.ListedDestination{}, "Free")
	freeNow := cmpopts.IgnoreFields(jobs.DestinationStatus{}, "Free")
	for i, job := range list {
		if diff := cmp.Diff(w.runner.List(t.Context(), job), seen[i], free); diff != "" {
			t.Errorf("list of %s without (-) and with a view (+):\n%s", job.Name, diff)
		}
		if diff := cmp.Diff(w.runner.Status(t.Context(), job, w.now), stood[i], freeNow, cmpopts.IgnoreUnexported(jobs.Status{})); diff != "" {
			t.Errorf("status of %s without (-) and with a view (+):\n%s", job.Name, diff)
		}
		if diff := cmp.Diff(w.runner.Check(t.Context(), job), found[i]); diff != "" {
			t.Errorf("check of %s without (-) and with a view (+):\n%s", job.Name, diff)
		}
	}
	if n := len(seen[0].Snapshots); n != 3 { // two of its own, one by hand
		t.Errorf("%d snapshots: %+v", n, seen[0].Snapshots)
	}
	w.write("file", "3")
	w.mustRun()
	if now := viewer.List(t.Context(), w.job); len(now.Snapshots) != 3 {
		t.Errorf("a view is of one moment, and now has %d snapshots", len(now.Snapshots))
	}
}

// What looks at one job does not end the look at the others, and gives its panic to the caller.
func TestEach(t *testing.T) {
	list := make([]config.Job, 50)
	for i := range list {
		list[i].Name = strings.Repeat("x", i)
	}
	for i, n := range jobs.Each(t.Context(), list, func(_ context.Context, j config.Job) int { return len(j.Name) }) {
		if n != i {
			t.Errorf("%d: %d", i, n)
		}
	}
	defer func() {
		if v := recover(); v == nil || !strings.Contains(v.(string), "bad luck") {
			t.Errorf("%v", v)
		}
	}()
	jobs.Each(t.Context(), list, func(_ context.Context, j config.Job) int {
		if len(j.Name) == 7 {
			panic(errors.New("bad luck"))
		}
		return 0
	})
}
