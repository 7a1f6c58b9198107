package migrate

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/btrkeep/btrkeep/config"
)

// ErrNoBtrfs means that nothing is mounted that could be backed up.
var ErrNoBtrfs = errors.New("no btrfs is mounted here")

// Init writes a configuration for what the machine has: a job for each subvolume, to the disk that looks like one for backups. Without such a disk the jobs are commented out.
func Init(m Machine) (*Config, error) {
	all, err := m.fileSystems()
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, ErrNoBtrfs
	}
	disk := backupDisk(all)
	c := &Config{Head: []string{
		"Written by btrkeep init from what this machine has. Look through it, then", "",
		"    btrkeep check                     every mistake with its cure, and the next three times of each job",
		"    btrkeep plan                      what the first run would do",
		"    systemctl enable --now btrkeep    from here on by itself", "",
	}}
	c.found(all, disk)
	c.tools(m)
	c.Defaults = &Job{Schedule: "@hourly", Keep: Keep{Keep: config.Keep{Hourly: 24, Daily: 7, Weekly: 4}, Said: "of the snapshots beside the source"}}
	taken := names{}
	for _, f := range all {
		if f != disk {
			c.subvolumes(f, disk, taken)
		}
	}
	if disk == nil {
		c.Notes = append(c.Notes, Note{Text: "no second btrfs that looks like a disk for backups is mounted: every job is commented out. Mount one, and run btrkeep init again; or name it in each url and take the # away"})
	}
	return c, nil
}

// found says what there is.
func (c *Config) found(all []*fileSystem, disk *fileSystem) {
	c.Head = append(c.Head, "Found:")
	for _, f := range all {
		var points []string
		for _, mount := range f.mounts {
			points = append(points, mount.Point)
		}
		text := fmt.Sprintf("- %s, btrfs %s, at %s", f.mounts[0].Source, f.id, strings.Join(points, ", "))
		if f.snapshots > 0 {
			text += fmt.Sprintf("; %d snapshots and the like, which get no jobs", f.snapshots)
		}
		if f == disk {
			text += "; it looks like the disk for backups"
		}
		c.Head = append(c.Head, text)
		for _, p := range f.hidden {
			c.Head = append(c.Head, fmt.Sprintf("- its subvolume %s is not to be seen anywhere: mount it, or its top level (subvolid=5), to back it up", p))
		}
	}
	if disk != nil && slices.ContainsFunc(disk.sources, func(s subvolume) bool { return s.path != disk.mounts[0].Point }) {
		c.Head = append(c.Head, "- "+disk.mounts[0].Point+" has subvolumes of its own. If it is no disk for backups, name another in each url, and write jobs for what is on it")
	}
}

// tools names the configurations of other tools.
func (c *Config) tools(m Machine) {
	var found []string
	for _, file := range []string{"/etc/btrbk.conf", "/etc/btrbk/btrbk.conf"} {
		if m.read(file) != "" {
			found = append(found, "- btrbk:", "      btrkeep import btrbk "+file)
		}
	}
	if len(m.files(path.Join(SnapperDir, "*"))) > 0 {
		found = append(found, "- snapper:", "      btrkeep import snapper")
	}
	if m.read("/etc/timeshift/timeshift.json") != "" {
		found = append(found, "- timeshift may stay: btrkeep leaves its snapshots alone, and they are no backups, as they lie on the same disk")
	}
	for _, file := range append([]string{"/etc/crontab", "/var/spool/cron/crontabs/root", "/var/spool/cron/root"}, m.files("/etc/cron.d/*")...) {
		for line := range strings.Lines(m.read(file)) {
			if line = strings.TrimSpace(line); strings.Contains(line, "btrfs-backup") && !strings.HasPrefix(line, "#") {
				found = append(found, "- the script btrfs-backup, in "+file+":", "      btrkeep import btrfs-backup '"+strings.ReplaceAll(line, "'", `'\''`)+"'")
			}
		}
	}
	if len(found) > 0 {
		c.Head = append(append(c.Head, "", "Other tools, whose snapshots btrkeep goes on with if you take their configuration over, instead of this one:"), found...)
	}
}

// subvolumes adds a job for each subvolume of a file system.
func (c *Config) subvolumes(f, disk *fileSystem, taken names) {
	for _, s := range f.sources {
		base := path.Base(s.path)
		if s.path == "/" {
			base = "root"
		}
		j := Job{Name: taken.unique(base, path.Base(path.Dir(s.path))+"-"+base), Source: s.path, Off: s.off}
		d := Destination{Name: "backup", URL: "/mnt/backup/" + j.Name, RequireMount: "/mnt/backup", MaxAge: "14d", Keep: Keep{Keep: config.Keep{Daily: 30, Weekly: 12, Monthly: 24}}}
		if disk != nil {
			d.RequireMount = disk.mounts[0].Point
			d.URL = path.Join(d.RequireMount, "btrkeep", j.Name)
		} else if j.Off == "" {
			j.Off = "no disk for backups was found. Name it in url and require_mount"
		}
		j.Destinations = []Destination{d}
		c.Jobs = append(c.Jobs, j)
	}
}
