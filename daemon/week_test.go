package daemon

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/daemon/journal"
	"github.com/btrkeep/btrkeep/daemon/metrics"
	"github.com/btrkeep/btrkeep/daemon/notify"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/local"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { testdisk.Main(m) }

// week is a daemon with real runs between real disks, whose days pass as fast as the machine can.
type week struct {
	*lab
	dir            string
	src, disk, usb *testdisk.Disk
	load           func() (*config.Config, error)
	watchers       []Observer
	heard          int // bytes of what was told that are in the timeline
	timeline       strings.Builder
}

// newWeek makes a lab with a configuration that is read from a file, runs that are real, and a file that shows what is told.
func newWeek(t *testing.T, src, disk, usb *testdisk.Disk) *week {
	w := &week{dir: t.TempDir(), src: src, disk: disk, usb: usb}
	tell := filepath.Join(w.dir, "tell")
	must(t, os.WriteFile(tell, []byte("#!/bin/sh\nprintf '%s: %s\\n' \"$BTRKEEP_EVENT\" \"$BTRKEEP_TITLE\" >>"+w.dir+"/told\n"), 0o755))
	text := fmt.Sprintf(`
timezone    = "UTC"
state_dir   = "%[1]s/state"
runtime_dir = "%[1]s/run"
textfile    = "%[1]s/metrics.prom"
[defaults]
keep   = { last = 3 }
notify = { command = ["%[2]s"] }
[jobs.home]
source   = "%[3]s/home"
schedule = "0 */6 * * *"
[jobs.home.destinations]
disk = { url = "%[4]s/home", max_age = "2d" }
usb  = { url = "%[5]s/home", max_age = "3d" }
[jobs.srv]
source      = "%[3]s/srv"
schedule    = "30 2 * * *"
destination = "%[4]s/srv"
`, w.dir, tell, src.Path, disk.Path, usb.Path)
	path := filepath.Join(w.dir, "btrkeep.toml")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	w.load = func() (*config.Config, error) { return config.Load(path, func(string) string { return "" }) }
	cfg, err := w.load()
	must(t, err)
	w.lab = newLab(t, "2026-11-23T00:10:00Z")
	w.cfg, w.d.Load = cfg, w.load
	return w
}

// boot begins a daemon, as after a start of the service.
func (w *week) boot() {
	tail := journal.NewTail(w.d.Log.Handler())
	log := slog.New(tail)
	slots := &jobs.Slots{}
	opener := local.Opener{Zone: time.UTC, Receiver: local.Native{Checkpoint: w.cfg.Checkpoint}}
	w.d.Runner = func(cfg *config.Config) Runner {
		return &jobs.Runner{Config: cfg, Log: log, Slots: slots, Open: opener.Open, At: opener.At}
	}
	w.watchers = []Observer{notify.New(log, tail.Of), metrics.New(log, "test", func() time.Time { return w.clockNow() })}
	w.d.Observers = w.watchers
	w.start()
	w.settle()
}

// clock is that of one boot of a machine that is never off.
func (w *week) clock() jobs.Clock {
	return jobs.Clock{Wall: w.clockNow(), Boot: time.Since(bubbleStart) + time.Hour, ID: "boot"}
}

var bubbleStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // testing/synctest

// settle waits for runs and for what is told.
func (w *week) settle() {
	time.Sleep(2 * time.Minute)
	synctest.Wait()
	b, _ := os.ReadFile(w.dir + "/told")
	for _, line := range strings.SplitAfter(string(b[w.heard:]), "\n") {
		if line != "" {
			host, _ := os.Hostname()
			fmt.Fprintf(&w.timeline, "%s  told  %s", w.clockNow().Format("Mon 15:04"), strings.ReplaceAll(line, " on "+host, ""))
		}
	}
	w.heard = len(b)
}

// until lets time go by, an hour at a time. Something is written now and then.
func (w *week) until(day string) {
	end := instant(w.T, "2026-11-"+day+":00Z")
	for n := 0; w.clockNow().Before(end); n++ {
		for _, name := range []string{"home", "srv"} {
			_ = os.WriteFile(filepath.Join(w.src.Path, name, "file"), []byte(w.clockNow().String()), 0o600) // srv may be away
		}
		w.pass(min(58*time.Minute, end.Sub(w.clockNow())))
		w.settle()
	}
}

// event is what befalls the machine.
func (w *week) event(format string, args ...any) {
	fmt.Fprintf(&w.timeline, "%s  ----  %s\n", w.clockNow().Format("Mon 15:04"), fmt.Sprintf(format, args...))
}

// look writes down how all stands: the states and the exit status of `btrkeep status`, and what the metrics say is wrong.
func (w *week) look() {
	cfg, err := w.load()
	must(w.T, err)
	opener := local.Opener{Zone: time.UTC, Receiver: local.Native{}}
	r := &jobs.Runner{Config: cfg, Log: w.d.Log, Slots: &jobs.Slots{}, Open: opener.Open, At: opener.At}
	exit, states := 0, ""
	for _, job := range cfg.Jobs {
		s := r.Status(w.Context(), job, w.clockNow())
		states += " " + s.Job + "=" + s.State
		for _, d := range s.Destinations {
			states += fmt.Sprintf(" %s.%s=%s", s.Job, d.Name, d.State)
		}
		if s.Alarming() {
			exit = 1
		}
	}
	fmt.Fprintf(&w.timeline, "%s        status exits %d:%s\n", w.clockNow().Format("Mon 15:04"), exit, states)
	b, err := os.ReadFile(w.dir + "/metrics.prom")
	must(w.T, err)
	var wrong []string
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if kind, ok := strings.CutPrefix(name, "btrkeep_problem{"); ok && value == "1" {
			wrong = append(wrong, strings.NewReplacer("btrkeep_job=", "", "destination=", "", "kind=", "", `"`, "").Replace(kind))
		}
		if strings.HasPrefix(line, "btrkeep_daemon_up 0") || strings.HasPrefix(line, "btrkeep_config_last_reload_successful 0") {
			wrong = append(wrong, strings.TrimSpace(line))
		}
	}
	slices.Sort(wrong)
	fmt.Fprintf(&w.timeline, "%s        metrics: %s\n", w.clockNow().Format("Mon 15:04"), strings.Join(wrong, "; "))
}

// fill leaves no room on a disk.
func fill(t *testing.T, path string) {
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * 7)
	}
	for size := len(block); size >= 4096; size /= 2 {
		for {
			if _, err = f.Write(block[:size]); err != nil {
				break
			}
		}
		_ = f.Sync()
	}
}

// Seven days with one of each trouble: a disk that is away until it is stale, a job that fails, a disk that is full, a daemon that is killed, a clock that is set wrong, a configuration with a mistake. Each is told once, and
// once that it is over; status, its exit status and the metrics say the same at each point.
func TestWeek(t *testing.T) {
	small := testdisk.Options{Size: 256 << 20}
	src, disk, usb := testdisk.New(t, small), testdisk.New(t, small), testdisk.New(t, small)
	for _, name := range []string{"home", "srv"} {
		must(t, btrfs.Create(src.Path, name))
		must(t, os.WriteFile(filepath.Join(src.Path, name, "file"), []byte("first"), 0o600))
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWeek(t, src, disk, usb)
		w.d.Clock = w.clock
		w.boot()
		w.until("24T01:00")
		w.look()

		w.event("the usb disk is unplugged")
		w.usb.Unmount()
		w.until("25T01:00")
		w.look()

		w.event("the subvolume srv is moved away")
		must(t, os.Rename(src.Path+"/srv", src.Path+"/away"))
		w.until("25T13:00")
		w.look()
		w.until("26T12:00")
		w.event("srv is back")
		must(t, os.Rename(src.Path+"/away", src.Path+"/srv"))
		w.until("26T17:00")

		w.event("the disk is filled")
		fill(t, disk.Path+"/filler")
		must(t, os.WriteFile(src.Path+"/home/large", noise(24<<20), 0o600))
		w.until("26T19:00")
		w.look()
		w.until("27T01:00")
		w.event("there is room again; the usb disk has become stale")
		must(t, os.Remove(disk.Path+"/filler"))
		must(t, btrfs.Commit(disk.Path))
		w.until("27T08:00")
		w.look()

		w.until("27T19:50")
		w.event("the daemon is killed, and comes up again in the morning")
		w.d.Observers = nil // nobody is told of its end
		w.stop()
		w.watchers[1].Close(t.Context()) // its goroutine would outlive the test
		w.pass(12 * time.Hour)
		w.boot()
		w.until("28T09:00")
		w.look()

		w.event("the usb disk is plugged in")
		w.usb.Mount("")
		w.until("29T03:00")
		w.look()

		w.event("the clock is set to 2040")
		w.mu.Lock()
		w.offset += 14 * 365 * 24 * time.Hour
		w.mu.Unlock()
		w.pass(2 * time.Hour)
		w.settle()
		w.mu.Lock()
		w.offset -= 14 * 365 * 24 * time.Hour
		w.mu.Unlock()
		w.event("the clock is right again")
		w.until("29T09:00")
		w.look()

		w.event("a mistake is written into the configuration")
		path := filepath.Join(w.dir, "btrkeep.toml")
		good, err := os.ReadFile(path)
		must(t, err)
		must(t, os.WriteFile(path, append(good, "\nkeeep = 3\n"...), 0o600))
		w.hup <- syscall.SIGHUP
		w.settle()
		must(t, os.WriteFile(path, good, 0o600))
		w.look()
		w.until("29T11:00")
		w.event("it is mended")
		w.hup <- syscall.SIGHUP
		w.until("30T00:10")
		w.look()
		w.stop()
		for _, o := range w.watchers {
			o.Close(t.Context())
		}
		w.sound()
		compareGolden(t, "testdata/week.golden", w.timeline.String())
		if t.Failed() {
			t.Log(w.log.String())
		}
	})
}

// sound looks whether what is there at the end can be restored: the newest backups are what their snapshots are.
func (w *week) sound() {
	w.Helper()
	for _, to := range []string{w.disk.Path + "/home", w.usb.Path + "/home", w.disk.Path + "/srv"} {
		backups, err := filepath.Glob(to + "/2*")
		must(w.T, err)
		if len(backups) == 0 {
			w.Errorf("no backup in %s", to)
			continue
		}
		newest := slices.Max(backups)
		diffs, err := testdisk.Compare(filepath.Join(w.src.Path, filepath.Base(to), ".btrkeep", filepath.Base(newest)), newest)
		if err != nil || len(diffs) > 0 {
			w.Errorf("%s: %v %q", newest, err, diffs)
		}
	}
}

func compareGolden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s\n%s", path, diff, got)
	}
}

func noise(n int) []byte {
	out, err := exec.Command("head", "-c", fmt.Sprint(n), "/dev/urandom").Output()
	if err != nil {
		panic(err)
	}
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
