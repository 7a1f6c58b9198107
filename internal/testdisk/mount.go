package testdisk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a busy mount point is tried before the test fails: a
// child that was just killed needs a moment to let go of it.
const patience = 10 * time.Second

// Mount mounts an unmounted disk again, with the options of mount -o.
func (d *Disk) Mount(options string) {
	d.t.Helper()
	if d.mounted {
		d.t.Fatalf("mount %s: it is mounted", d.Path)
	}
	if err := d.TryMount(options); err != nil {
		d.t.Fatal(err)
	}
}

// TryMount is Mount where refusal is an outcome to look at, as with a disk
// that lost data.
func (d *Disk) TryMount(options string) error {
	flags, data := parseOptions(options)
	err := unix.Mount(d.Device, d.Path, d.format, flags, data)
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("mount %s: this kernel has no %s", d.Path, d.format)
	}
	if err != nil {
		return fmt.Errorf("mount %s on %s (%s): %w", d.Device, d.Path, options, err)
	}
	d.mounted = true
	return nil
}

// Remount changes the options of the mounted disk; "ro" is the usual one.
func (d *Disk) Remount(options string) {
	d.t.Helper()
	flags, data := parseOptions(options)
	if err := unix.Mount("", d.Path, "", flags|unix.MS_REMOUNT, data); err != nil {
		d.t.Fatalf("remount %s (%s): %v", d.Path, options, err)
	}
}

// Unmount takes the file system away and leaves the device: the mount point is
// an empty directory then, as with a disk that was pulled. A mount point that
// stays busy fails the test.
func (d *Disk) Unmount() {
	d.t.Helper()
	if !d.mounted {
		return
	}
	d.mounted = false
	if err := unmount(d.Path, patience); err != nil {
		// At least nothing of it is left for the removal of the temporary directory.
		_ = unix.Unmount(d.Path, unix.MNT_DETACH)
		d.t.Error(err)
	}
}

// Close unmounts and detaches; tests need it only to give up a disk early.
func (d *Disk) Close() {
	d.t.Helper()
	d.Unmount()
	if d.loop != nil {
		d.loop.close()
		d.loop = nil
	}
}

func unmount(path string, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EBUSY) && time.Now().Before(deadline):
			time.Sleep(20 * time.Millisecond)
		default:
			return fmt.Errorf("unmount %s: %w; held by: %s", path, err, holders(path))
		}
	}
}

// holders names the processes that have something open below path.
func holders(path string) string {
	var found []string
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range append(links, fds...) {
		target, err := os.Readlink(link)
		if err == nil && below(target, path) {
			found = append(found, link+" -> "+target)
		}
	}
	mounts, _ := mountTable()
	for _, m := range mounts {
		if m.point != path && below(m.point, path) {
			found = append(found, "mount on "+m.point)
		}
	}
	if found == nil {
		return "nobody any more"
	}
	return strings.Join(found, ", ")
}

// below tells whether path is directory, or lies in it.
func below(path, directory string) bool {
	return path == directory || strings.HasPrefix(path, strings.TrimSuffix(directory, "/")+"/")
}

// mountEntry is a line of the mount table.
type mountEntry struct{ source, point string }

// mountTable returns what is mounted in this namespace, in the order of mounting.
func mountTable() ([]mountEntry, error) {
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	// See getmntent(3).
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var mounts []mountEntry
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 1 {
			mounts = append(mounts, mountEntry{unescape.Replace(fields[0]), unescape.Replace(fields[1])})
		}
	}
	return mounts, nil
}

// parseOptions splits the options of mount -o into those that mount(2) wants as
// flags and those that the file system reads itself.
func parseOptions(options string) (flags uintptr, data string) {
	known := map[string]uintptr{
		"ro": unix.MS_RDONLY, "rw": 0, "sync": unix.MS_SYNCHRONOUS,
		"noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME,
		"relatime": unix.MS_RELATIME, "strictatime": unix.MS_STRICTATIME, "lazytime": unix.MS_LAZYTIME,
		"nodev": unix.MS_NODEV, "nosuid": unix.MS_NOSUID, "noexec": unix.MS_NOEXEC,
		"defaults": 0, "": 0,
	}
	var rest []string
	for _, option := range strings.Split(options, ",") {
		if flag, ok := known[option]; ok {
			flags |= flag
		} else {
			rest = append(rest, option)
		}
	}
	return flags, strings.Join(rest, ",")
}
