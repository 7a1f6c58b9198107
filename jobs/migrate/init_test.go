package migrate

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/local"
)

// computer is a machine below a directory, with disks of its own.
type computer struct {
	t      *testing.T
	root   string
	mounts []string // lines of mountinfo, as the computer itself would see them
}

func (c *computer) disk() *testdisk.Disk {
	c.t.Helper()
	return testdisk.New(c.t, testdisk.Options{Size: 256 << 20, InMemory: true})
}

// masked is the text without what differs from one run of the test to the next.
func masked(c *Config) string {
	return regexp.MustCompile(`[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}`).ReplaceAllString(c.Text(), "UUID")
}

// mount mounts what of the disk is called root at a point of the computer.
func (c *computer) mount(d *testdisk.Disk, root, point string, number int) {
	c.t.Helper()
	at := filepath.Join(c.root, point)
	must(c.t, os.MkdirAll(at, 0o755))
	must(c.t, unix.Mount(d.Device, at, "btrfs", unix.MS_NOATIME, "subvol="+root))
	c.t.Cleanup(func() { must(c.t, unix.Unmount(at, unix.MNT_DETACH)) })
	c.mounts = append(c.mounts, fmt.Sprintf("%d 1 0:%d %s %s rw,noatime shared:1 - btrfs /dev/disk%d rw,subvol=%s", 30+len(c.mounts), 40+number, root, point, number, root))
}

func (c *computer) subvolumes(at string, names ...string) {
	c.t.Helper()
	for _, name := range names {
		must(c.t, os.MkdirAll(filepath.Join(at, filepath.Dir(name)), 0o755))
		must(c.t, btrfs.Create(filepath.Join(at, filepath.Dir(name)), filepath.Base(name)))
	}
}

func (c *computer) file(name, text string) {
	c.t.Helper()
	must(c.t, os.MkdirAll(filepath.Join(c.root, filepath.Dir(name)), 0o755))
	must(c.t, os.WriteFile(filepath.Join(c.root, name), []byte(text), 0o644))
}

func (c *computer) init() *Config {
	c.t.Helper()
	table := filepath.Join(c.t.TempDir(), "mountinfo")
	must(c.t, os.WriteFile(table, []byte("21 1 0:20 / /proc rw - proc proc rw\n"+strings.Join(c.mounts, "\n")+"\n"), 0o600))
	mounts, err := btrfs.ReadMounts(table)
	must(c.t, err)
	made, err := Init(Machine{Root: c.root, Mounts: mounts})
	must(c.t, err)
	return made
}

// A laptop with the layout of Ubuntu, a disk for backups, and other tools.
func TestInitWithDisk(t *testing.T) {
	c := &computer{t: t, root: t.TempDir()}
	system, usb := c.disk(), c.disk()
	c.subvolumes(system.Path, "@", "@home", "@unseen", "timeshift-btrfs/x")
	must(t, btrfs.Snapshot(filepath.Join(system.Path, "@home"), system.Path, "home.ro", true))
	c.mount(system, "/@", "/", 1)
	c.mount(system, "/@home", "/home", 1)
	c.mount(usb, "/", "/media/ann/Disk", 2)
	c.subvolumes(c.root, "srv", "var/cache", "var/lib/docker/btrfs/subvolumes/1234", "home/ann/home", ".snapshots")
	c.subvolumes(c.root, ".snapshots/1/snapshot")
	c.file("/etc/btrbk/btrbk.conf", "subvolume /home\n")
	c.file("/etc/snapper/configs/root", "SUBVOLUME=\"/\"\n")
	c.file("/etc/timeshift/timeshift.json", "{}\n")
	c.file("/etc/crontab", "# m h\n17 3 * * * root btrfs-backup.py /home /media/ann/Disk\n")
	made := c.init()
	golden(t, "init_disk.toml", masked(made))
	if cfg := loads(t, made); len(cfg.Warnings) > 0 || len(made.Notes) > 0 {
		t.Errorf("warnings: %v, notes: %v", cfg.Warnings, made.Notes)
	}
}

// A server with its system in the top level and nothing else: what is to be filled in is said.
func TestInitWithoutDisk(t *testing.T) {
	c := &computer{t: t, root: t.TempDir()}
	system := c.disk()
	c.mount(system, "/", "/", 1)
	c.subvolumes(c.root, "home", "var/lib/machines")
	made := c.init()
	golden(t, "init_alone.toml", masked(made))
	loads(t, made)
	if len(made.Notes) != 1 || !strings.Contains(made.Notes[0].Text, "no second btrfs") {
		t.Errorf("notes: %v", made.Notes)
	}
}

func TestInitWithoutBtrfs(t *testing.T) {
	if _, err := Init(Machine{Root: t.TempDir()}); err == nil {
		t.Error("made something of nothing")
	}
}

// What is written for real disks passes check, and the first run.
func TestInitPassesCheck(t *testing.T) {
	c := &computer{t: t, root: t.TempDir()}
	system, usb := c.disk(), c.disk()
	c.mount(system, "/", "/data", 1)
	c.mount(usb, "/", "/backup", 2)
	c.subvolumes(filepath.Join(c.root, "data"), "home")
	all, err := btrfs.ReadMounts("/proc/thread-self/mountinfo")
	must(t, err)
	var m Machine
	for _, mount := range all {
		if strings.HasPrefix(mount.Point, c.root) {
			m.Mounts = append(m.Mounts, mount)
		}
	}
	made, err := Init(m)
	must(t, err)
	cfg := loads(t, made)
	cfg.StateDir, cfg.RuntimeDir = filepath.Join(c.root, "state"), filepath.Join(c.root, "run")
	opener := local.Opener{Zone: time.UTC, Receiver: local.Native{}}
	r := &jobs.Runner{Config: cfg, Log: slog.New(slog.DiscardHandler), Slots: &jobs.Slots{}, Open: opener.Open, At: opener.At}
	if len(cfg.Jobs) != 2 {
		t.Fatalf("%d jobs:\n%s", len(cfg.Jobs), made.Text())
	}
	for _, j := range cfg.Jobs {
		for _, f := range r.Check(t.Context(), j) {
			if f.Level == jobs.LevelError {
				t.Errorf("check: %+v", f)
			}
		}
		if rec := r.Run(t.Context(), j, jobs.Options{Clock: jobs.Now()}); rec.Result != jobs.ResultOK {
			t.Errorf("%s: %+v", j.Name, rec)
		}
	}
	if cfg.Jobs[0].Destinations[0].URL != filepath.Join(c.root, "backup/btrkeep", cfg.Jobs[0].Name) {
		t.Errorf("%+v", cfg.Jobs[0].Destinations)
	}
}
