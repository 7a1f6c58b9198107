package testdisk

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/internal/testdisk/faultfile"
)

// FaultDisk is a disk whose hardware fails on command, and that knows what
// would be left of it after a power cut.
type FaultDisk struct {
	*Disk
	file *faultfile.File
}

type (
	// Op is a kind of request to a disk.
	Op = faultfile.Op
	// Failure says which requests of a kind fail, and how. The zero value is:
	// all, with EIO.
	Failure = faultfile.Failure
	// Stats counts what a disk was asked for.
	Stats = faultfile.Stats
)

// The kinds of requests.
const (
	Read    = faultfile.Read
	Write   = faultfile.Write
	Flush   = faultfile.Flush
	Discard = faultfile.Discard
)

// NewFaulty makes a disk as [New] does, on hardware that works until told
// otherwise.
func NewFaulty(t testing.TB, o Options) *FaultDisk {
	t.Helper()
	needRoot(t)
	image := makeImage(t, o)
	dir := filepath.Join(t.TempDir(), "faulty")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// The first process of the process namespace sees no disk of the tests.
	file, err := faultfile.Start(image, dir, "/proc/1/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(file.Close)
	d := &FaultDisk{openImage(t, file.Path, o), file}
	t.Cleanup(d.Close)
	d.Mount(o.MountOptions)
	return d
}

// Close heals, unmounts and detaches the disk.
func (d *FaultDisk) Close() {
	d.t.Helper()
	// A hung disk cannot be unmounted. After Yank there is nobody to ask.
	_ = d.file.Clear()
	d.Disk.Close()
}

func (d *FaultDisk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// Fail makes requests of one kind fail from now on, instead of what was said
// for that kind before.
func (d *FaultDisk) Fail(op Op, f Failure) { d.t.Helper(); d.must(d.file.Fail(op, f)) }

// Slow makes every request take delay longer.
func (d *FaultDisk) Slow(delay time.Duration) {
	d.t.Helper()
	for _, op := range []Op{Read, Write, Flush, Discard} {
		d.Fail(op, Failure{Delay: delay, Pass: true})
	}
}

// Hang stops all requests until Unhang or Clear, and at most for a minute. Who
// waits for the disk meanwhile cannot be killed.
func (d *FaultDisk) Hang() { d.t.Helper(); d.must(d.file.Hang()) }

// Unhang lets the requests go on that Hang stopped.
func (d *FaultDisk) Unhang() { d.t.Helper(); d.must(d.file.Unhang()) }

// IgnoreFlushes makes a disk that lies: it says that data is safe and keeps it
// in its cache.
func (d *FaultDisk) IgnoreFlushes() { d.t.Helper(); d.must(d.file.IgnoreFlushes()) }

// Clear ends every fault but Yank.
func (d *FaultDisk) Clear() { d.t.Helper(); d.must(d.file.Clear()) }

// Yank takes the device away as one pulls a USB disk: every request fails. It
// cannot be put back.
func (d *FaultDisk) Yank() { d.t.Helper(); d.must(d.file.Kill()) }

// Stats returns the counters since the disk was made.
func (d *FaultDisk) Stats() Stats {
	d.t.Helper()
	stats, err := d.file.Stats()
	d.must(err)
	return stats
}

// PowerCut writes to out the image that a power cut would leave now: all
// writes that were flushed, and of the others each 4 KiB piece with the
// probability keep, chosen by seed. The disk goes on. See [MountImage].
func (d *FaultDisk) PowerCut(out string, seed uint64, keep float64) {
	d.t.Helper()
	d.must(d.file.PowerCut(out, seed, keep))
}
