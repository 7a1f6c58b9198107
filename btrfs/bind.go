package btrfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// `btrfs receive` looks for parents by their path from the root of the mount that it receives into, so an incremental stream
// fails where a plain directory is mounted: a bind mount, as systemd's ReadWritePaths= makes one. The program is then
// shown, in a mount namespace of its own, the same directory below a mount that begins at the root of a subvolume.

// A detour is another way to a directory: through one more mount, which only the program that needs it sees.
type detour struct {
	device string // what to mount: a block device, by subvolid=5
	source string // or, if not empty, a directory to bind; its mount begins at the root of a subvolume
	point  string // where
	dir    string // the directory by its new path
	inode  unix.Stat_t
}

// findDetour tells how the btrfs program has to be shown dir, an absolute path; nil if it can use it as it is.
func findDetour(dir string) (*detour, error) {
	fd, _, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	all, err := mounts()
	if err != nil {
		return nil, err
	}
	m, found, err := mountOf(fd, all)
	if err != nil || !found {
		return nil, err
	}
	if beginsAtSubvolume(m, all) {
		return nil, nil
	}
	// The kernel's own name of the directory: without symbolic links, and below the mount point.
	real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, err
	}
	below, ok := cutPath(real, m.point)
	if !ok {
		return nil, fmt.Errorf("%s is not below its mount point %s", real, m.point)
	}
	d := &detour{device: m.source, point: m.point, dir: path.Join(m.point, m.root, below)}
	if err := unix.Fstat(fd, &d.inode); err != nil {
		return nil, err
	}
	for _, other := range all {
		if other.device != m.device {
			continue
		}
		if inOther, ok := cutPath(m.root, other.root); ok && beginsAtSubvolume(other, all) {
			d.source, d.dir = other.point, path.Join(m.point, inOther, below)
			break
		}
	}
	return d, nil
}

// beginsAtSubvolume reports whether m can be reached at its mount point and is the mount of a subvolume's root.
func beginsAtSubvolume(m mount, all []mount) bool {
	fd, err := openSubvolume(m.point)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	top, found, err := mountOf(fd, all)
	return err == nil && found && top.id == m.id
}

// cutPath gives what of p is below the directory dir.
func cutPath(p, dir string) (below string, ok bool) {
	if dir == "/" || p == dir {
		return strings.TrimPrefix(p, dir), strings.HasPrefix(p, dir)
	}
	return strings.CutPrefix(p, dir+"/")
}

// enter moves the calling thread into a mount namespace with the detour. The thread is of no other use then.
func (d *detour) enter() error {
	if err := d.mount(); err != nil {
		return fmt.Errorf("%s is a bind mount, which btrfs receive cannot use, and another way to it cannot be made: %w"+
			" (cure: mount the file system itself, or use the native receiver)", d.point, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(d.dir, &st); err != nil || st.Dev != d.inode.Dev || st.Ino != d.inode.Ino {
		return errors.Join(fmt.Errorf("%s is a bind mount, and what is found behind it is not the same directory", d.point), err)
	}
	return nil
}

func (d *detour) mount() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	// Mounts made here do not show elsewhere; what is unmounted elsewhere goes away here too and is not kept busy.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if d.source == "" {
		// A file system is refused on a mount point that shows it already, so that something else comes between.
		if err := unix.Mount("none", d.point, "tmpfs", unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("mount tmpfs: %w", err)
		}
		if err := unix.Mount(d.device, d.point, "btrfs", 0, "subvolid=5"); err != nil {
			return fmt.Errorf("mount %s: %w", d.device, err)
		}
		return nil
	}
	if err := unix.Mount(d.source, d.point, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", d.source, err)
	}
	// systemd's ProtectSystem=strict leaves only the bind mount writable.
	if err := unix.Mount("", d.point, "", unix.MS_BIND|unix.MS_REMOUNT, ""); err != nil {
		return fmt.Errorf("remount %s: %w", d.source, err)
	}
	return nil
}
