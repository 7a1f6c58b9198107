package migrate

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/btrkeep/btrkeep/btrfs"
)

// Machine is where configurations are read for. Root stands before every path that is looked at, and Mounts are what is mounted there; both are for tests.
type Machine struct {
	Root   string
	Mounts []btrfs.Mounted
}

// Here is this machine.
func Here() (Machine, error) {
	mounts, err := btrfs.ReadMounts("/proc/thread-self/mountinfo")
	return Machine{Mounts: mounts}, err
}

func (m Machine) read(name string) string {
	b, err := os.ReadFile(filepath.Join(m.Root, name))
	if err != nil {
		return ""
	}
	return string(b)
}

// files are the paths that a pattern matches.
func (m Machine) files(pattern string) []string {
	found, _ := filepath.Glob(filepath.Join(m.Root, pattern))
	for i := range found {
		found[i] = "/" + strings.TrimPrefix(strings.TrimPrefix(found[i], m.Root), "/")
	}
	return found
}

// mountAbove is the mount point of the btrfs that a path lies on, if that is a disk that may be away: not / and what is mounted with it.
func (m Machine) mountAbove(p string) string {
	best := ""
	for _, mount := range m.Mounts {
		if mount.Point != "/" && len(mount.Point) > len(best) && (p == mount.Point || strings.HasPrefix(p, mount.Point+"/")) {
			best = mount.Point
		}
	}
	return best
}

// sameDisk reports whether both paths are there, and on one file system.
func (m Machine) sameDisk(a, b string) bool {
	first, err := btrfs.FileSystemID(filepath.Join(m.Root, a))
	if err != nil {
		return false
	}
	second, err := btrfs.FileSystemID(filepath.Join(m.Root, b))
	return err == nil && first == second
}

// btrbkSchedule is how often btrbk is started, and what tells so.
func (m Machine) btrbkSchedule() (schedule, why string) {
	for _, every := range []string{"hourly", "daily", "weekly", "monthly"} {
		if found := m.files("/etc/cron." + every + "/*btrbk*"); len(found) > 0 {
			return "@" + every, "as btrbk is started, by " + found[0]
		}
	}
	for _, dir := range []string{"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"} {
		for line := range strings.Lines(m.read(path.Join(dir, "btrbk.timer"))) {
			every, ok := strings.CutPrefix(strings.TrimSpace(line), "OnCalendar=")
			if ok && slices.Contains([]string{"hourly", "daily", "weekly", "monthly"}, every) {
				return "@" + every, "as in btrbk.timer; if cron starts btrbk, as that says"
			}
		}
	}
	return "@daily", "btrbk has none of its own; write here how often cron starts it"
}
