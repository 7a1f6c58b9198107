package btrfs

import (
	"os"
	"strings"
)

// Mounted is a btrfs, or a part of it, as it is mounted.
type Mounted struct {
	Point    string // where
	Root     string // what of the file system: a path from its top level
	Source   string // a device
	ReadOnly bool
}

// ReadMounts gives the btrfs in a file of mounts, proc_pid_mountinfo(5): of what is mounted at one place, the last.
func ReadMounts(path string) ([]Mounted, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	last := map[string]mount{}
	var points []string
	for line := range strings.Lines(string(text)) {
		m, err := parseMount(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, err
		}
		if _, stacked := last[m.point]; !stacked {
			points = append(points, m.point)
		}
		last[m.point] = m
	}
	var all []Mounted
	for _, p := range points {
		if m := last[p]; m.fsType == "btrfs" {
			all = append(all, Mounted{Point: m.point, Root: m.root, Source: m.source, ReadOnly: strings.HasPrefix(m.options+",", "ro,")})
		}
	}
	return all, nil
}
