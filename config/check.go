package config

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// fitName refuses names of jobs and destinations that could not be those of files.
func (l *loader) fitName(n node, what string) {
	name := n.key()
	good := name != "" && len(name) <= 64 && (isLetter(name[0]) || isDigit(name[0]))
	for i := range len(name) {
		good = good && (isLetter(name[i]) || isDigit(name[i]) || strings.IndexByte("_.-", name[i]) >= 0)
	}
	if !good {
		l.fail(n.keyPlace(), "use 1 to 64 of A-Z a-z 0-9 _ . - and begin with a letter or digit",
			"%q cannot be the name of a %s: it names files", name, what)
	}
}

// checkOneForm refuses destination = "…" beside [destinations].
func (l *loader) checkOneForm(d *draft) {
	short, ok := d.set["destination"]
	named, both := d.set["destinations"]
	if ok && both {
		l.fail(short.keyPlace(), fmt.Sprintf("write the first as [%s.default] with url = …", named.path),
			`give either "destination" or "destinations", not both`)
	}
}

// checkComplete looks for what a job must have, and what it probably should.
func (l *loader) checkComplete(jobs []*draft) {
	for _, d := range jobs {
		if d.receives() {
			continue // see checkReceived
		}
		_, group := d.set["sources"]
		if _, ok := d.set["source"]; !ok && !group && !misspelt(d.at, "source") && !misspelt(d.at, "sources") {
			l.fail(d.at.keyPlace(), `add what is backed up: source = "/home"`, "job %q has no source", d.Name)
		}
		_, short := d.set["destination"]
		_, named := d.set["destinations"]
		if !short && !named && !misspelt(d.at, "destination") {
			l.fail(d.at.keyPlace(), `add where to: destination = "/mnt/backup/home"`, "job %q has no destination", d.Name)
		}
		if n := d.set["destinations"]; named && len(d.targets) == 0 && isEmptyTable(n) {
			l.fail(n.keyPlace(), fmt.Sprintf("add one: [%s.NAME] with url = …", n.path), "job %q has no destination", d.Name)
		}
		l.warnKeep(d)
	}
	if len(jobs) == 0 {
		l.warn(place{file: l.config.Files[0]}, "no job is configured: nothing is backed up")
	}
}

func isEmptyTable(n node) bool {
	table, ok := n.value.(map[string]any)
	return ok && len(table) == 0
}

func (l *loader) warnKeep(d *draft) {
	if _, ok := d.set["keep"]; ok {
		return
	}
	where := "at its source"
	for _, t := range d.targets {
		if _, ok := t.set["keep"]; !ok {
			where += ", nor at destination " + t.Name
		}
	}
	l.warn(d.at.keyPlace(), "job %q has no keep: nothing is ever pruned %s", d.Name, where)
}

// checkPlaces refuses directories that would be in each other's way.
func (l *loader) checkPlaces(jobs []*draft) {
	snapshots := l.checkSnapshotDirs(jobs)
	seen := map[string]node{}
	for _, d := range jobs {
		if d.receives() {
			continue
		}
		for _, t := range d.targets {
			n, ok := t.set["url"]
			if !ok || t.URL == "" {
				continue // reported already
			}
			if first, taken := seen[sameURL(t.URL)]; taken {
				l.fail(n.valuePlace(), "give each a directory of its own"+otherPlace(n, first),
					"destination %q of job %q is a destination already", t.URL, d.Name)
			} else {
				seen[sameURL(t.URL)] = n
			}
			if owner, taken := snapshots[at(t.URL, pathOf(t.URL))]; taken {
				l.fail(n.valuePlace(), "give it a directory of its own", "destination %q holds the snapshots of job %q", t.URL, owner)
			}
			l.checkInside(d, t, n)
			l.checkMount(t)
		}
	}
}

// otherPlace is the end of a hint on two keys that clash.
func otherPlace(n, first node) string {
	at, other := n.valuePlace(), first.valuePlace()
	if at == other {
		return ", in the jobs instead of [defaults]"
	}
	return "; the other is at " + other.String()
}

// checkSnapshotDirs gives the job of each snapshot directory, by machine and path: see at.
func (l *loader) checkSnapshotDirs(jobs []*draft) map[string]string {
	owners, seen := map[string]string{}, map[string]node{}
	claim := func(d *draft, key, dir string, n node) {
		if first, taken := seen[key]; taken {
			l.fail(n.valuePlace(), "give one of them another snapshot_dir"+otherPlace(n, first),
				"jobs %q and %q share the snapshot_dir %q", owners[key], d.Name, dir)
			return
		}
		owners[key], seen[key] = d.Name, n
	}
	for _, d := range jobs {
		for _, source := range d.Sources {
			if m := d.Member(source); !IsPattern(source) {
				claim(d, m.SnapshotPlace(), m.SnapshotDir, d.set["sources"])
			}
		}
		dir := d.finish().SnapshotDir
		n, ok := d.set["snapshot_dir"]
		if !ok {
			n = d.set["source"]
		}
		if dir == "" || d.receives() {
			continue // reported already, or there are none
		}
		claim(d, at(d.Source, dir), dir, n)
	}
	return owners
}

// checkInside refuses a destination in its own source. It goes by the paths alone, so it cannot hold
// for /, which every path is below, nor where a file system is said to be mounted in between, nor for patterns.
func (l *loader) checkInside(d *draft, t *target, n node) {
	sources := []string{d.Source}
	if d.Source == "" {
		sources = slices.DeleteFunc(slices.Clone(d.Sources), IsPattern)
	}
	for _, s := range sources {
		source, destination := pathOf(s), path.Clean(pathOf(t.URL))
		if s == "" || hostOf(s) != hostOf(t.URL) || !within(source, destination) {
			continue
		}
		between := t.RequireMount != "" && t.RequireMount != source && within(source, t.RequireMount)
		if destination != source && (source == "/" || between) {
			continue
		}
		l.fail(n.valuePlace(), "choose a directory elsewhere; if another disk is mounted there, name its mount point as require_mount",
			"destination %q is inside its own source %q", t.URL, s)
	}
}

func (l *loader) checkMount(t *target) {
	n := t.set["require_mount"]
	switch {
	case t.RequireMount == "":
	case !t.Local() && !isSSH(t.URL):
		l.fail(n.keyPlace(), "remove this line", "require_mount is for directories only")
	case !within(t.RequireMount, pathOf(t.URL)):
		l.fail(n.valuePlace(), "name the mount point that the destination is below", "destination %q is not below require_mount %q", t.URL, t.RequireMount)
	}
}
