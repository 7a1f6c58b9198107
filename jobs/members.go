package jobs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
)

// maxMembers bounds what a group stands for: who may create subvolumes where a pattern looks must not bring the backups of others to a halt.
const maxMembers = 1000

// Members is the configuration with every group replaced by the jobs that it stands for at the moment. Without groups it is the same.
//
// A pattern stands for the writable subvolumes that match it, through no symbolic link; names that begin with a dot match only a pattern that says so. What has a job of its own, or is in an earlier
// group, is no member: two jobs would prune each other's snapshots. A source that names itself is always a member, and so is, by its own text, a pattern that nothing matches: a file system that is
// not mounted must not look like one that has nothing to back up.
func Members(cfg *config.Config) *config.Config {
	if !slices.ContainsFunc(cfg.Jobs, config.Job.IsGroup) {
		return cfg
	}
	all := *cfg
	all.Jobs, all.Groups, all.Warnings = nil, nil, slices.Clone(cfg.Warnings)
	for _, job := range cfg.Jobs {
		if job.IsGroup() {
			all.Groups = append(all.Groups, job)
		} else {
			all.Jobs = append(all.Jobs, job)
		}
	}
	e := expansion{cfg: &all, taken: map[string]bool{}}
	for _, job := range all.Jobs {
		e.taken[job.SnapshotPlace()] = true
		for _, d := range job.Destinations {
			e.taken[d.URL] = true
		}
	}
	for _, group := range all.Groups {
		e.expand(group)
	}
	slices.SortFunc(all.Jobs, func(a, b config.Job) int { return strings.Compare(a.Name, b.Name) })
	return &all
}

// expansion is the taking apart of groups.
type expansion struct {
	cfg   *config.Config
	taken map[string]bool // snapshot directories and destinations of jobs
}

func (e *expansion) warn(group config.Job, format string, args ...any) {
	e.cfg.Warnings = append(e.cfg.Warnings, "job "+group.Name+": "+fmt.Sprintf(format, args...))
}

func (e *expansion) expand(group config.Job) {
	var sources []string
	matched := map[string]bool{}
	for _, source := range group.Sources {
		found := []string{source}
		if config.IsPattern(source) {
			if found = e.subvolumes(source, group); len(found) == 0 {
				e.add(group.MemberApart(source))
				continue
			}
		}
		for _, path := range found {
			if !slices.Contains(sources, path) {
				sources = append(sources, path)
				matched[path] = config.IsPattern(source)
			}
		}
	}
	if len(sources) > maxMembers {
		e.warn(group, "it has %d subvolumes: only the first %d are backed up", len(sources), maxMembers)
		sources = sources[:maxMembers]
	}
	alike := map[string][]config.Job{} // by the name that they would have
	for _, source := range sources {
		m := group.Member(source)
		alike[m.Name] = append(alike[m.Name], m)
	}
	for _, source := range sources {
		m := group.Member(source)
		if source != owner(e.cfg.StateDir, alike[m.Name]) {
			m = group.MemberApart(source)
		}
		m.Matched = matched[source]
		e.add(m)
	}
}

// add makes a job, unless its subvolume or one of its directories is that of another one.
func (e *expansion) add(m config.Job) {
	places := []string{m.SnapshotPlace()}
	for _, d := range m.Destinations {
		places = append(places, d.URL)
	}
	for i, place := range places {
		if e.taken[place] {
			if i > 0 { // a job of its own for the subvolume is what one may want
				e.warn(config.Job{Name: m.Group}, "%q is not backed up: another job has the directory %q", m.Source, place)
			}
			return
		}
	}
	for _, place := range places {
		e.taken[place] = true
	}
	e.cfg.Jobs = append(e.cfg.Jobs, m)
}

// owner is the source, of several with the same last part, that has the plain name: one that had it before. A newcomer must not take it.
func owner(stateDir string, alike []config.Job) string {
	if len(alike) > 1 {
		for _, m := range alike {
			s, err := LoadState(stateDir, m)
			if err != nil {
				continue
			}
			for _, d := range m.Destinations {
				if _, had := s.Destinations[d.URL]; had {
					return m.Source
				}
			}
		}
	}
	return alike[0].Source
}

// subvolumes are those that match a pattern.
func (e *expansion) subvolumes(pattern string, group config.Job) (found []string) {
	matches, err := filepath.Glob(pattern)
	if err != nil {
		return nil // the configuration has been checked
	}
	for _, path := range matches {
		hidden := strings.HasPrefix(filepath.Base(path), ".") && !strings.HasPrefix(filepath.Base(pattern), ".")
		if st, err := os.Lstat(path); hidden || err != nil || !st.IsDir() {
			continue
		}
		s, err := btrfs.Info(path)
		if err != nil || s.ReadOnly {
			continue
		}
		real, err := filepath.EvalSymlinks(path)
		switch {
		case err != nil:
		case strings.ContainsFunc(path, unicode.IsControl):
			e.warn(group, "%q is not backed up: a name with control characters can be written out as a source, but matches no pattern", path)
		case real != path:
			e.warn(group, "%q is not backed up: a symbolic link is in its path, which could lead anywhere", path)
		case holdsBackups(path, group):
			e.warn(group, "%q is not backed up: the backups themselves are in it", path)
		default:
			found = append(found, path)
		}
	}
	return found
}

// holdsBackups reports whether the group's backups lie in a subvolume that a pattern matches: on the same file system, so that it is not another disk that is mounted there.
func holdsBackups(path string, group config.Job) bool {
	return slices.ContainsFunc(group.Destinations, func(d config.Destination) bool {
		if !d.Local() || d.URL != path && !strings.HasPrefix(d.URL, path+"/") {
			return false
		}
		there, err := btrfs.FileSystemID(d.URL)
		here, err2 := btrfs.FileSystemID(path)
		return err == nil && err2 == nil && there == here
	})
}

// GoneMember is the job that a group's member was whose subvolume is gone, by what is remembered of it, or else by where it would have been: its backups can still be listed and restored.
func GoneMember(cfg *config.Config, name string) (config.Job, bool) {
	for _, group := range cfg.Groups {
		rest, ok := strings.CutPrefix(name, group.Name+":")
		if !ok {
			continue
		}
		for _, source := range append(remembered(cfg.StateDir, name), wouldBe(group, rest)...) {
			for _, m := range []config.Job{group.Member(source), group.MemberApart(source)} {
				if m.Name == name {
					return m, true
				}
			}
		}
	}
	return config.Job{}, false
}

// remembered are the sources of the states of jobs with a name.
func remembered(stateDir, name string) (sources []string) {
	files, err := filepath.Glob(filepath.Join(stateDir, "jobs", "*.json"))
	if err != nil {
		return nil
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if s, err := readState(b); err == nil && s.Job == name && s.Source != "" {
			sources = append(sources, s.Source)
		}
	}
	return sources
}

// wouldBe are the paths at which the patterns of a group would have found a member.
func wouldBe(group config.Job, rest string) (sources []string) {
	for _, pattern := range group.Sources {
		dir := filepath.Dir(pattern)
		if config.IsPattern(pattern) && !config.IsPattern(dir) && !strings.Contains(rest, "%") {
			if ok, err := filepath.Match(pattern, filepath.Join(dir, rest)); ok && err == nil {
				sources = append(sources, filepath.Join(dir, rest))
			}
		}
	}
	return sources
}
