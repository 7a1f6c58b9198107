package jobs_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// hold holds a subvolume.
func hold(t *testing.T, path string) (release func()) {
	t.Helper()
	s, err := btrfs.Info(path)
	must(t, err)
	release, err = btrfs.Hold(path, s.UUID)
	must(t, err)
	return release
}

// aged is a world with four snapshots at each end, of which the policies want only the newest.
func aged(t *testing.T) (w *world, names []string) {
	t.Helper()
	w = newWorld(t, 1)
	for range 4 {
		names = append(names, w.backup())
	}
	w.job.Keep, w.job.Destinations[0].Keep = config.Keep{Last: 1}, config.Keep{Last: 1}
	return w, names
}

// Prune leaves alone what is being read, without an error; a later one deletes it.
func TestPruneLeavesAloneWhatIsRead(t *testing.T) {
	w, names := aged(t)
	release := []func(){hold(t, filepath.Join(w.job.SnapshotDir, names[0])), hold(t, w.path(0, names[1])), hold(t, w.path(0, names[2]))}
	must(t, btrfs.Create(w.job.Destinations[0].URL, ".btrkeep-incoming-1"))
	leftover := w.path(0, ".btrkeep-incoming-1")
	release = append(release, hold(t, leftover))

	want := []string{"d1 " + names[0], "source " + names[1], "source " + names[2]}
	same(t, "pruned", w.prune(), want)
	same(t, "snapshots", w.snapshots(), []string{names[0], names[3]})
	same(t, "backups", w.complete(0), []string{names[1], names[2], names[3]})
	for _, line := range []string{"source: left alone, as it is being read: " + names[0], "d1: left alone, as it is being read: " + names[1] + ", " + names[2], "d1: left alone, as it is being read: .btrkeep-incoming-1"} {
		if n := strings.Count(w.log.String(), `level=INFO msg="`+line+`"`); n != 1 {
			t.Errorf("%q is in the log %d times:\n%s", line, n, w.log.String())
		}
	}
	if r := w.run(); r.Result != jobs.ResultOK || len(r.Pruned) != 2 { // the third is the newest no more
		t.Errorf("a whole run: %+v", r)
	}
	for _, r := range release {
		r()
	}
	same(t, "after the release", w.prune(), []string{"d1 " + names[1], "d1 " + names[2], "source " + names[0]})
	if _, err := os.Lstat(leftover); err == nil {
		t.Error("the leftover is still there")
	}
}

// That one is being read hides no error of another.
func TestPruneInUseBesideAnError(t *testing.T) {
	w, names := aged(t)
	at := t.TempDir()
	must(t, unix.Mount(w.dests[0].Device, at, "btrfs", 0, "subvol=backups/"+names[0]))
	t.Cleanup(func() { _ = unix.Unmount(at, 0) })
	defer hold(t, w.path(0, names[1]))()
	w.pass(time.Minute)
	r := w.runner.Prune(context.Background(), w.placed(), jobs.Options{Clock: w.clock()})
	if tr := transfer(t, r, "d1"); tr.Result != jobs.ResultFailed || !strings.Contains(tr.Error, "mounted") || strings.Contains(tr.Error, btrfs.ErrInUse.Error()) || tr.Hint == "" {
		t.Errorf("%+v", tr)
	}
	if !strings.Contains(w.log.String(), "left alone, as it is being read: "+names[1]) {
		t.Error(w.log.String())
	}
	same(t, "backups", w.complete(0), []string{names[0], names[1], names[3]})
}

// A hold of another process counts, and ends with that process, however it dies.
func TestPruneHeldByAnotherProcess(t *testing.T) {
	const order = "BTRKEEP_TEST_HOLD"
	if paths := os.Getenv(order); paths != "" {
		for _, path := range strings.Split(paths, "\n") {
			hold(t, path)
		}
		fmt.Println("held")
		select {}
	}
	w, names := aged(t)
	paths := []string{filepath.Join(w.job.SnapshotDir, names[0]), w.path(0, names[0])}
	c := exec.Command(os.Args[0], "-test.run=^TestPruneHeldByAnotherProcess$")
	c.Env = append(os.Environ(), order+"="+strings.Join(paths, "\n"))
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	defer func() { _, _ = c.Process.Kill(), c.Wait() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "held\n" {
		t.Fatalf("%q %v", line, err)
	}
	for range 2 {
		if gone := w.prune(); slices.Contains(gone, "source "+names[0]) || slices.Contains(gone, "d1 "+names[0]) {
			t.Errorf("pruned: %v", gone)
		}
	}
	same(t, "snapshots", w.snapshots(), []string{names[0], names[3]})
	same(t, "backups", w.complete(0), []string{names[0], names[3]})
	must(t, c.Process.Kill())
	_ = c.Wait()
	same(t, "after its death", w.prune(), []string{"d1 " + names[0], "source " + names[0]})
}
