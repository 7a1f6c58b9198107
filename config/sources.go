package config

import (
	"crypto/sha256"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// IsGroup reports whether the job stands for several, one for each subvolume that its sources name now: see [Job.Member].
func (j Job) IsGroup() bool { return len(j.Sources) > 0 }

// Member is the job of one source of a group: named GROUP:NAME, which no other job can be, after the last part of its path; that part is also its directory in each of the group's destinations.
func (j Job) Member(source string) Job {
	base := memberBase(source)
	return j.member(source, memberName(base), base)
}

// MemberApart is Member for one whose last part another source has as well, or that is a pattern which nothing matches: its name and directory end in a part of a hash of its path.
func (j Job) MemberApart(source string) Job {
	base := memberBase(source)
	sum := sha256.Sum256([]byte(source))
	suffix := fmt.Sprintf("-%x", sum[:4])
	if len(base)+len(suffix) > maxComponent {
		base = base[:maxComponent-len(suffix)]
	}
	return j.member(source, memberName(base+suffix), base+suffix)
}

func (j Job) member(source, name, dir string) Job {
	m := j
	m.Name, m.Group, m.Sources, m.Source = j.Name+":"+name, j.Name, nil, source
	m.SnapshotDir = path.Join(m.SourcePath(), DefaultSnapshotDir)
	m.Destinations = slices.Clone(j.Destinations)
	for i := range m.Destinations {
		d := &m.Destinations[i]
		if isSSH(d.URL) {
			d.URL = strings.TrimRight(d.URL, "/") + "/" + url.PathEscape(dir)
		} else {
			d.URL = path.Join(d.URL, dir)
		}
	}
	return m
}

// IsPattern reports whether one of a group's sources names what matches it, by path.Match; else it names itself.
func IsPattern(source string) bool { return !isSSH(source) && strings.ContainsAny(source, `*?[\`) }

// memberBase is the last part of the path of a source.
func memberBase(source string) string {
	base := path.Base(pathOf(source))
	if base == "/" || base == "." {
		return "root"
	}
	return base
}

// longestMember bounds the name of a member, which names files.
const longestMember = 100

// memberName writes what a job's name cannot have as %XX.
func memberName(base string) string {
	var b strings.Builder
	for i := range len(base) {
		if c := base[i]; isLetter(c) || isDigit(c) || strings.IndexByte("_.-", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	name := b.String()
	if len(name) > longestMember {
		sum := sha256.Sum256([]byte(base))
		name = fmt.Sprintf("%s-%x", name[:longestMember-9], sum[:4])
	}
	return name
}

// sources reads what a group backs up.
func (l *loader) sources(target *[]string) func(node) {
	return func(n node) {
		*target = nil
		list, ok := l.texts(n)
		if !ok {
			return
		}
		if len(list) == 0 {
			l.fail(n.valuePlace(), `write sources = ["/srv/db", "/var/lib/machines/*"]`, "%q names nothing", n.key())
			return
		}
		seen := map[string]string{}
		var all []string
		for _, s := range list {
			s, err := cleanMember(s)
			if err != nil {
				l.refused(n, err)
				return
			}
			if !IsPattern(s) {
				base := memberBase(s)
				if other, taken := seen[base]; taken {
					l.fail(n.valuePlace(), "give one of them a job of its own", "%s and %s would both go into the directory %q", other, s, base)
					return
				}
				seen[base] = s
			}
			all = append(all, s)
		}
		*target = all
	}
}

// cleanMember takes one of the sources of a group.
func cleanMember(s string) (string, error) {
	cleaned, err := cleanSource(s)
	if err != nil {
		return "", err
	}
	if isSSH(cleaned) && strings.ContainsAny(pathOf(cleaned), "*?[") {
		return "", refuse("name each of its subvolumes", "source %q is a pattern, which cannot be looked up on another machine", s)
	}
	if _, err := path.Match(cleaned, "x"); IsPattern(cleaned) && err != nil {
		return "", refuse(`* and ? stand for other characters, […] for one of several, \ takes the meaning away from what follows`, "bad pattern %q", s)
	}
	return cleaned, nil
}

// checkSources refuses what does not go together with sources.
func (l *loader) checkSources(jobs []*draft) {
	for _, d := range jobs {
		n, ok := d.set["sources"]
		switch {
		case !ok:
		case len(n.path) == 2: // defaults.sources
			l.fail(n.keyPlace(), "write it into one job", `"sources" cannot be given to all jobs`)
		default:
			if other, both := d.set["source"]; both {
				l.fail(other.keyPlace(), "write all of them as sources", `give either "source" or "sources", not both`)
			}
			if other, both := d.set["snapshot_dir"]; both {
				l.fail(other.keyPlace(), "remove this line", "each of several sources has a snapshot directory of its own: <source>/.btrkeep")
			}
		}
	}
}
