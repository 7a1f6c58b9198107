package migrate

import (
	"cmp"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/btrkeep/btrkeep/btrfs"
)

// fileSystem is a btrfs that is mounted, and what of it can be backed up.
type fileSystem struct {
	id        btrfs.UUID
	mounts    []btrfs.Mounted
	sources   []subvolume
	snapshots int      // read-only subvolumes, and what other tools keep
	hidden    []string // writable subvolumes that no mount shows, by their paths from the top level
	backup    int      // how likely it is the disk for backups; 0: not at all
}

// subvolume is a writable one, at the shortest path that shows it.
type subvolume struct {
	path string
	off  string // why a job for it is commented out
}

// fileSystems looks at all that is mounted. The system's own is the first.
func (m Machine) fileSystems() ([]*fileSystem, error) {
	byID := map[btrfs.UUID]*fileSystem{}
	var all []*fileSystem
	for _, mount := range m.Mounts {
		id, err := btrfs.FileSystemID(filepath.Join(m.Root, mount.Point))
		if err != nil {
			continue // something else is mounted over it, or it is gone
		}
		if byID[id] == nil {
			byID[id] = &fileSystem{id: id}
			all = append(all, byID[id])
		}
		byID[id].mounts = append(byID[id].mounts, mount)
	}
	for _, f := range all {
		slices.SortStableFunc(f.mounts, func(a, b btrfs.Mounted) int { return cmp.Compare(len(a.Point), len(b.Point)) })
		if err := f.look(m); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(all, func(a, b *fileSystem) int { return cmp.Compare(len(a.mounts[0].Point), len(b.mounts[0].Point)) })
	for _, f := range all {
		if len(all) > 1 && f.mounts[0].Point != "/" {
			f.backup = f.likely()
		}
	}
	return all, nil
}

// look finds the subvolumes.
func (f *fileSystem) look(m Machine) error {
	at := filepath.Join(m.Root, f.mounts[0].Point)
	all, err := btrfs.List(at)
	if err != nil {
		return err
	}
	paths, err := btrfs.Paths(at, all)
	if err != nil {
		return err
	}
	for _, s := range all {
		p := paths[s.ID]
		switch {
		case p == "":
		case s.ReadOnly || kept(p):
			f.snapshots++
		default:
			if shown := f.shown(m, s.ID, p); shown != "" {
				f.sources = append(f.sources, subvolume{shown, unwanted(shown)})
			} else {
				f.hidden = append(f.hidden, p)
			}
		}
	}
	// The top level, where it is more than what holds the others.
	mounted := slices.ContainsFunc(f.mounts, func(mount btrfs.Mounted) bool { return mount.Root != "/" })
	if shown := f.shown(m, topLevel, "/"); shown != "" && (!mounted || shown == "/") {
		f.sources = append(f.sources, subvolume{path: shown})
	}
	slices.SortFunc(f.sources, func(a, b subvolume) int { return cmp.Compare(a.path, b.path) })
	slices.Sort(f.hidden)
	return nil
}

// topLevel is the subvolume that every btrfs has.
const topLevel = 5

// shown is the shortest path at which the subvolume is to be seen; "" if there is none.
func (f *fileSystem) shown(m Machine, id uint64, p string) string {
	for _, mount := range f.mounts {
		rest, below := strings.CutPrefix(p, strings.TrimSuffix(mount.Root, "/"))
		if mount.ReadOnly || !below || rest != "" && rest[0] != '/' {
			continue
		}
		at := path.Join(mount.Point, rest)
		if s, err := btrfs.Info(filepath.Join(m.Root, at)); err == nil && s.ID == id {
			if fsys, err := btrfs.FileSystemID(filepath.Join(m.Root, at)); err == nil && fsys == f.id {
				return at
			}
		}
	}
	return ""
}

// kept reports whether a subvolume is what some tool keeps: snapshots, or images of containers.
func kept(p string) bool {
	for part := range strings.SplitSeq(p, "/") {
		switch part {
		case ".snapshots", ".btrkeep", "timeshift-btrfs", "btrbk_snapshots", "_btrbk_snap":
			return true
		}
	}
	for _, images := range []string{"/lib/docker/btrfs/", "/containers/storage/btrfs/", "/lib/containerd/", "/lib/lxd/storage-pools/", "/lib/incus/storage-pools/"} {
		if strings.Contains(p, images) {
			return true
		}
	}
	return false
}

// unwanted says why hardly anybody wants a subvolume in backups; "" if that is not so.
func unwanted(p string) string {
	switch {
	case p == "/tmp", p == "/var/tmp", p == "/var/cache", p == "/var/log/journal":
		return "what is in it comes again by itself"
	case p == "/swap", p == "/.swap", strings.HasSuffix(p, "/@swap"):
		return "it holds the swap file"
	case strings.HasPrefix(p, "/boot/grub2/"):
		return "the boot loader's, which the system's packages make anew"
	case p == "/var/lib/portables", p == "/var/lib/machines":
		return "systemd makes it, and it is empty on most machines"
	}
	return ""
}

// likely is how likely the file system is the disk for backups.
func (f *fileSystem) likely() int {
	score := 0
	if btrfs.Removable(f.id) {
		score += 8
	}
	for _, mount := range f.mounts {
		for _, dir := range []string{"/media/", "/run/media/"} {
			if strings.HasPrefix(mount.Point, dir) {
				score += 4
			}
		}
		for _, word := range []string{"backup", "bak", "usb", "archive", "external"} {
			if strings.Contains(strings.ToLower(mount.Point), word) {
				score += 4
				break
			}
		}
		if strings.HasPrefix(mount.Point, "/mnt/") {
			score += 2
		}
	}
	return score
}

// backupDisk is the file system that backups most likely go to; nil if none looks like one.
func backupDisk(all []*fileSystem) *fileSystem {
	var best *fileSystem
	for _, f := range all {
		if f.backup > 0 && (best == nil || f.backup > best.backup) && !f.mounts[0].ReadOnly {
			best = f
		}
	}
	return best
}
