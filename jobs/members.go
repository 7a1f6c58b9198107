package jobs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
)

// Members is the configuration with every group replaced by the jobs that it stands for at the moment. Without groups it is the same.
//
// A pattern stands for the writable subvolumes that match it; names that begin with a dot match only a pattern that says so. A source that names itself is always a member, and so is, by its own text, a pattern
// that nothing matches: a file system that is not mounted must not look like one that has nothing to back up.
func Members(cfg *config.Config) *config.Config {
	if !slices.ContainsFunc(cfg.Jobs, config.Job.IsGroup) {
		return cfg
	}
	all := *cfg
	all.Jobs, all.Warnings = nil, slices.Clone(cfg.Warnings)
	for _, job := range cfg.Jobs {
		if !job.IsGroup() {
			all.Jobs = append(all.Jobs, job)
			continue
		}
		members, left := membersOf(job)
		all.Jobs = append(all.Jobs, members...)
		for _, source := range left {
			all.Warnings = append(all.Warnings, fmt.Sprintf("job %s: %s is not backed up: another of its sources has the same last part; give it a job of its own", job.Name, source))
		}
	}
	slices.SortFunc(all.Jobs, func(a, b config.Job) int { return strings.Compare(a.Name, b.Name) })
	return &all
}

// membersOf also gives the sources for which there is no directory: another one has their name.
func membersOf(group config.Job) (members []config.Job, left []string) {
	by := map[string]string{}
	for _, source := range group.Sources {
		found := []string{source}
		if config.IsPattern(source) {
			if matches := subvolumes(source, group); len(matches) > 0 {
				found = matches
			}
		}
		for _, path := range found {
			m := group.Member(path)
			switch other, taken := by[m.Name]; {
			case !taken:
				by[m.Name] = path
				members = append(members, m)
			case other != path:
				left = append(left, path)
			}
		}
	}
	return members, left
}

// subvolumes are those that match a pattern.
func subvolumes(pattern string, group config.Job) (found []string) {
	matches, err := filepath.Glob(pattern)
	if err != nil {
		return nil // the configuration has been checked
	}
	for _, path := range matches {
		hidden := strings.HasPrefix(filepath.Base(path), ".") && !strings.HasPrefix(filepath.Base(pattern), ".")
		if st, err := os.Lstat(path); hidden || err != nil || !st.IsDir() || holdsDestination(path, group) {
			continue
		}
		if s, err := btrfs.Info(path); err == nil && !s.ReadOnly {
			found = append(found, path)
		}
	}
	return found
}

// holdsDestination reports whether a path that a pattern matches is where the group's backups go.
func holdsDestination(path string, group config.Job) bool {
	return slices.ContainsFunc(group.Destinations, func(d config.Destination) bool {
		return d.Local() && (d.URL == path || strings.HasPrefix(d.URL, path+"/"))
	})
}
