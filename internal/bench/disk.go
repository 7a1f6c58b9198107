package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// pair is a source and a destination disk.
type pair struct {
	t        testing.TB
	src, dst *testdisk.Disk
	dir      string // for what programs keep elsewhere
	options  string // of mount
}

// diskSize is of a disk that people have: the reservations of many small files, half a mebibyte each, are more than a small one has room for, and so the kernel writes such
// files while they are being made. The images are sparse.
const diskSize = 2 << 40

func (b *bench) newPair(options string) *pair {
	o := testdisk.Options{Size: diskSize, MountOptions: "noatime" + options, InMemory: b.memory}
	p := &pair{t: b.t, src: testdisk.New(b.t, o), dst: testdisk.New(b.t, o), options: o.MountOptions}
	p.dir = filepath.Dir(p.src.Image)
	must(b.t, errors.Join(direct(p.src.Device), direct(p.dst.Device)))
	// As /run is, and with it what btrkeep keeps there.
	run := filepath.Join(p.dir, "run")
	must(b.t, os.Mkdir(run, 0o700))
	must(b.t, unix.Mount("bench-run", run, "tmpfs", 0, ""))
	b.t.Cleanup(func() { _ = unix.Unmount(run, unix.MNT_DETACH) })
	return p
}

// close gives the disks up and their space free.
func (p *pair) close() {
	for _, d := range []*testdisk.Disk{p.src, p.dst} {
		d.Close()
		must(p.t, os.Remove(d.Image))
	}
}

// settle has everything written and deleted that the last run left to the kernel, so that the next one does not pay for it.
func (p *pair) settle() {
	for _, d := range []*testdisk.Disk{p.src, p.dst} {
		// Of all ways to commit, this ioctl alone wakes the cleaner also when there is nothing to commit.
		p.execute("btrfs", "filesystem", "sync", d.Path)
		must(p.t, btrfs.WaitDeleted(p.t.Context(), d.Path))
		must(p.t, btrfs.Sync(d.Path))
	}
}

// cold drops all caches: those of the file systems by unmounting them, those of their images by dropping them. Unlike
// /proc/sys/vm/drop_caches this leaves the rest of the machine alone.
func (p *pair) cold() { p.remount(func() {}) }

// empty is cold, with nothing at the destination.
func (p *pair) empty() { p.remount(func() { p.execute("mkfs.btrfs", "-q", "-f", p.dst.Device) }) }

func (p *pair) remount(meanwhile func()) {
	p.settle()
	p.src.Unmount()
	p.dst.Unmount()
	meanwhile()
	for _, d := range []*testdisk.Disk{p.src, p.dst} {
		must(p.t, dropCache(d.Image))
		d.Mount(p.options)
	}
}

// direct has a loop device go around the cache of its image, if that is possible there, as it is not in memory: else what was read once is in the
// machine's cache twice, and what is read is read ahead by another file system.
func direct(device string) error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_ = unix.IoctlSetInt(int(f.Fd()), unix.LOOP_SET_DIRECT_IO, 1)
	return nil
}

func dropCache(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	// Only clean pages can be dropped.
	if err := f.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// deleteAll deletes the subvolumes in dir, but those with a name to keep.
func (p *pair) deleteAll(dir string, keep ...string) {
	for _, name := range p.subvolumes(dir) {
		if slices.Contains(keep, name) {
			continue
		}
		s, err := btrfs.Info(filepath.Join(dir, name))
		must(p.t, err)
		must(p.t, btrfs.Delete(dir, name, s.UUID))
	}
}

// subvolumes gives the names of the directories in dir; none if it does not exist.
func (p *pair) subvolumes(dir string) []string {
	entries, err := os.ReadDir(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		must(p.t, err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

func (p *pair) execute(argv ...string) {
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		p.t.Fatalf("%q: %v\n%s", argv, err, out)
	}
}
