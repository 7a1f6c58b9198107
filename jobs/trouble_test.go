package jobs_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
)

// TROUBLE 10: one of two destinations is away, or in some trouble: the record and the exit status say so, the other one (d2) is complete, and nothing is deleted.
func TestTroubleAtOneDestination(t *testing.T) {
	tests := []struct {
		name    string
		trouble func(t *testing.T, w *world)
		result  string // of the transfer to d1
		says    string
		status  int // of the command line
	}{
		{
			name: "TROUBLE 7: unmounted, the directory stands on the source's btrfs",
			trouble: func(t *testing.T, w *world) {
				w.job.Destinations[0].URL = filepath.Join(w.src.Path, "mnt", "backups")
				must(t, os.MkdirAll(w.job.Destinations[0].URL, 0o700))
			},
			result: jobs.ResultAbsent, says: "source's own file system", status: 75,
		},
		{
			name: "TROUBLE 7: unmounted, the directory stands on ext4",
			trouble: func(t *testing.T, w *world) {
				w.dests[0].Unmount()
				other := testdisk.New(t, testdisk.Options{Format: "ext4", Size: 64 << 20})
				bind(t, other.Path, w.dests[0].Path)
				must(t, os.MkdirAll(w.job.Destinations[0].URL, 0o700))
			},
			// Something is mounted there, and it is not btrfs: that is no disk that is away.
			result: jobs.ResultAbsent, says: "is not there", status: 75,
		},
		{
			name: "TROUBLE 7: unmounted, the directory stands on another btrfs",
			trouble: func(t *testing.T, w *world) {
				// The destination was on a disk mounted below another disk, which is gone now.
				w.dests[0].Unmount()
				outer := testdisk.New(t, testdisk.Options{})
				must(t, os.Remove(w.dests[0].Path))
				must(t, os.Symlink(outer.Path, w.dests[0].Path))
				must(t, os.MkdirAll(w.job.Destinations[0].URL, 0o700))
				w.job.Destinations[0].RequireMount = w.dests[0].Path
			},
			result: jobs.ResultAbsent, says: "nothing is mounted at", status: 75,
		},
		{
			name:    "TROUBLE 7: unmounted, the directory is empty",
			trouble: func(t *testing.T, w *world) { w.dests[0].Unmount() },
			result:  jobs.ResultAbsent, says: "is not there", status: 75,
		},
		{
			name: "required mount is missing",
			trouble: func(t *testing.T, w *world) {
				w.dests[0].Unmount()
				w.job.Destinations[0].RequireMount = w.dests[0].Path
			},
			result: jobs.ResultAbsent, says: "nothing is mounted at", status: 75,
		},
		{
			name:    "read-only",
			trouble: func(t *testing.T, w *world) { w.dests[0].Remount("ro") },
			result:  jobs.ResultFailed, says: "read-only", status: 1,
		},
		{
			name: "TROUBLE 28: full in mid-receive",
			trouble: func(t *testing.T, w *world) {
				fill(t, w.dests[0].Path, 64<<20)
				grow(t, filepath.Join(w.source(), "large"), 200<<20)
			},
			result: jobs.ResultFailed, says: "No space left on device", status: 1,
		},
		{
			name: "TROUBLE 5: a complete backup of another uuid has the name",
			trouble: func(t *testing.T, w *world) {
				name := w.job.NameFormat.Format(w.now.Add(minute), w.cfg.Timezone)
				other := testdisk.New(t, testdisk.Options{})
				must(t, btrfs.Create(other.Path, "v"))
				must(t, os.WriteFile(filepath.Join(other.Path, "v", "precious"), []byte("x"), 0o644))
				must(t, btrfs.Snapshot(filepath.Join(other.Path, "v"), other.Path, name, true))
				sendReceive(t, filepath.Join(other.Path, name), w.job.Destinations[0].URL)
			},
			result: jobs.ResultFailed, says: "taken by another subvolume", status: 1,
		},
		{
			name: "TROUBLE 6: a native snapshot has the name",
			trouble: func(t *testing.T, w *world) {
				name := w.job.NameFormat.Format(w.now.Add(minute), w.cfg.Timezone)
				must(t, btrfs.Create(w.dests[0].Path, "v"))
				must(t, btrfs.Snapshot(filepath.Join(w.dests[0].Path, "v"), w.job.Destinations[0].URL, name, true))
			},
			result: jobs.ResultFailed, says: "taken by another subvolume", status: 1,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 2)
			w.job.Keep = config.Keep{Last: 5}
			for i := range w.job.Destinations {
				w.job.Destinations[i].Keep = config.Keep{Last: 5}
			}
			w.write("a", "1")
			first := w.mustRun()
			tt.trouble(t, w)
			before := w.listing()
			w.write("b", "2")
			r := w.run()
			tr := transfer(t, r, "d1")
			if tr.Result != tt.result || !strings.Contains(strings.ToLower(tr.Error), strings.ToLower(tt.says)) {
				t.Errorf("transfer: %+v\nwant %s with %q", tr, tt.result, tt.says)
			}
			if r.Result != jobs.ResultPartial {
				t.Errorf("result %q, want partial", r.Result)
			}
			if got := jobs.ExitStatus([]jobs.Record{r}); got != tt.status {
				t.Errorf("exit status %d, want %d", got, tt.status)
			}
			if tr2 := transfer(t, r, "d2"); tr2.Result != jobs.ResultOK || tr2.Parent != first.Snapshot {
				t.Errorf("the other destination: %+v", tr2)
			}
			if got := w.complete(1); !slices.Equal(got, []string{first.Snapshot, r.Snapshot}) {
				t.Errorf("the other destination has %v", got)
			}
			if len(r.Pruned) > 0 {
				t.Errorf("pruned %v", r.Pruned)
			}
			for _, d := range before.Destinations {
				for _, b := range d.Backups {
					if info, err := btrfs.Info(b.Path); err != nil || info.UUID != b.UUID {
						t.Errorf("%s is gone: %v", b.Path, err)
					}
				}
			}
			for i := range w.dests {
				w.onlyCheckpoints(i)
			}
		})
	}
}

func TestTroubleAtTheSource(t *testing.T) {
	tests := []struct {
		name    string
		trouble func(t *testing.T, w *world)
		says    string
	}{
		{"not a subvolume", func(t *testing.T, w *world) {
			w.job.Source = filepath.Join(w.source(), "dir")
			must(t, os.Mkdir(w.job.Source, 0o755))
		}, "not a subvolume"},
		{"not on btrfs", func(t *testing.T, w *world) { w.job.Source = "/proc" }, "not on btrfs"},
		{"missing", func(t *testing.T, w *world) { w.job.Source = filepath.Join(w.src.Path, "nothing") }, "does not exist"},
		{"named snapshot directory is missing", func(t *testing.T, w *world) { w.job.SnapshotDir = filepath.Join(w.src.Path, "snapshots") }, "does not exist"},
		{"snapshot directory on another file system", func(t *testing.T, w *world) { w.job.SnapshotDir = w.dests[0].Path }, "not on the file system of"},
		{"snapshot directory is a link", func(t *testing.T, w *world) {
			must(t, os.RemoveAll(w.job.SnapshotDir+".old"))
			must(t, os.Rename(w.job.SnapshotDir, w.job.SnapshotDir+".old"))
			must(t, os.Symlink(w.job.SnapshotDir+".old", w.job.SnapshotDir))
		}, "not a directory"},
		{"snapshot directory belongs to the owner of the source", func(t *testing.T, w *world) {
			must(t, os.Chown(w.job.SnapshotDir, 1000, 1000))
		}, "can be written by others"},
		{"TROUBLE 20: writable with a received UUID", func(t *testing.T, w *world) {
			must(t, btrfs.SetReceived(w.source(), btrfs.UUID{1}, 7))
		}, "received UUID"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.job.Keep = config.Keep{Last: 1}
			w.write("a", "1")
			w.mustRun()
			before := w.listing()
			tt.trouble(t, w)
			r := w.run()
			if r.Result != jobs.ResultFailed || !strings.Contains(r.Error, tt.says) {
				t.Errorf("%+v\nwant failed with %q", r, tt.says)
			}
			if r.Hint == "" {
				t.Error("no hint")
			}
			for _, b := range before.Destinations[0].Backups {
				if info, err := btrfs.Info(b.Path); err != nil || info.UUID != b.UUID {
					t.Errorf("%s is gone: %v", b.Path, err)
				}
			}
		})
	}
}

// TROUBLE 28: the source's disk is full: no snapshot can be made, prune runs all the same and makes room.
func TestSourceFull(t *testing.T) {
	w := newWorld(t, 1)
	small := testdisk.New(t, testdisk.Options{Size: 128 << 20, Mixed: true, MountOptions: "noatime"})
	must(t, btrfs.Create(small.Path, "home"))
	w.src, w.job.Source = small, filepath.Join(small.Path, "home")
	w.job.SnapshotDir = filepath.Join(w.job.Source, config.DefaultSnapshotDir)
	w.write("a", "1")
	for range 3 {
		w.mustRun()
		w.write("a", w.now.String())
	}
	w.job.Keep = config.Keep{Last: 1}
	fill(t, w.source(), 0)
	for i := 0; ; i++ { // and the metadata with it
		if err := os.Mkdir(filepath.Join(w.source(), strings.Repeat("d", 200)+strings.Repeat("x", i%50)+string(rune('0'+i%10))), 0o755); errors.Is(err, unix.ENOSPC) || i > 20000 {
			break
		}
	}
	before := w.snapshots()
	r := w.run()
	if r.Error != "" && !strings.Contains(r.Error, "no space left") {
		t.Errorf("error %q", r.Error)
	}
	if r.Error != "" && r.Hint == "" {
		t.Error("no hint")
	}
	if len(r.Pruned) == 0 {
		t.Errorf("nothing pruned of %v: %+v", before, r)
	}
	if r.Error == "" {
		t.Log("a snapshot fitted in all the same: reserved space")
	}
}

const minute = 60e9

func bind(t *testing.T, from, to string) {
	t.Helper()
	must(t, unix.Mount(from, to, "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(to, 0) })
}

// fill leaves about the given number of bytes free.
func fill(t *testing.T, dir string, leave uint64) {
	t.Helper()
	must(t, btrfs.Sync(dir))
	fsys, err := btrfs.Stat(dir)
	must(t, err)
	if fsys.Free <= leave {
		return
	}
	grow(t, filepath.Join(dir, "ballast"), int64(fsys.Free-leave))
	must(t, btrfs.Sync(dir))
}

// grow writes a file that does not compress; a full disk ends it early.
func grow(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	must(t, err)
	defer f.Close()
	block := make([]byte, 1<<20)
	for i, x := 0, uint64(88172645463325252); i < len(block); i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		block[i] = byte(x)
	}
	for ; size > 0; size -= int64(len(block)) {
		block[0]++
		if _, err := f.Write(block[:min(int64(len(block)), size)]); errors.Is(err, unix.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// sendReceive copies a snapshot as another tool would.
func sendReceive(t *testing.T, snapshot, dir string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `btrfs send -q "$1" | btrfs receive -q "$2"`, "sh", snapshot, dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
