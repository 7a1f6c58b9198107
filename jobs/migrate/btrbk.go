package migrate

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Btrbk translates a btrbk.conf; m is where it is used.
func Btrbk(file, text string, m Machine) *Config {
	b := parseBtrbk(file, text)
	t := &btrbkTranslation{btrbk: b, machine: m, names: names{}, users: map[place]int{}, hosts: map[string]string{}, sources: map[place]string{}, urls: map[string]bool{}}
	for _, v := range b.root.inner {
		for _, s := range v.inner {
			t.found = append(t.found, t.expand(s)...)
		}
	}
	for _, v := range t.found {
		t.count(v)
	}
	t.schedule, t.why = m.btrbkSchedule()
	c := &Config{}
	for _, asItLies := range []bool{true, false} { // directories of their own are given out when it is known which are taken
		for i := range t.found {
			t.chooseURLs(&t.found[i], asItLies)
		}
	}
	for _, v := range t.found {
		c.Jobs = append(c.Jobs, t.job(v))
	}
	for _, o := range b.all {
		if text := lost(o.key, o.value); text != "" {
			b.note(o.line, o.key+" "+o.value+": "+text)
		}
	}
	slices.SortStableFunc(b.notes, func(x, y Note) int { return x.Line - y.Line })
	c.Notes = slices.Compact(b.notes)
	c.Head = t.head(len(c.Jobs) > 0)
	return c
}

// btrbkTranslation is what is known while a btrbk.conf is translated.
type btrbkTranslation struct {
	*btrbk
	machine       Machine
	names         names
	found         []btrbkVolume
	users         map[place]int     // how many subvolumes use a directory, for their snapshots or backups
	hosts         map[string]string // lines for ssh_config(5), by host
	sources       map[place]string  // the job of each
	urls          map[string]bool   // of destinations
	schedule, why string
	remote        bool // some job is
}

// btrbkVolume is one subvolume that btrbk backs up.
type btrbkVolume struct {
	*section
	at      place
	name    string // of its snapshots, before the dot
	job     string
	unknown bool // its wildcards could not be looked up
	targets []*section
	urls    []string // of the targets; "" for raw ones
}

// expand gives the subvolumes that a section stands for.
func (t *btrbkTranslation) expand(s *section) []btrbkVolume {
	base := func(at place) string {
		if at.path == "/" {
			return "ROOT"
		}
		return path.Base(at.path)
	}
	if !s.glob {
		return []btrbkVolume{{section: s, at: s.place, name: unquote(s.value("snapshot_name", base(s.place))), targets: s.allTargets()}}
	}
	paths := []string(nil)
	if s.place.host == "" {
		paths = t.machine.glob(s.place.path)
	}
	if len(paths) == 0 {
		t.note(s.line, fmt.Sprintf("subvolume %s: no subvolume is found here that it matches: write a job for each", s.place.path))
		at := s.place
		at.path = strings.ReplaceAll(at.path, "*", "NAME")
		return []btrbkVolume{{section: s, at: at, name: base(at), targets: s.allTargets(), unknown: true}}
	}
	t.note(s.line, fmt.Sprintf("subvolume %s: a job for each of the %d that there are now; those that come later need one of their own", s.place.path, len(paths)))
	var all []btrbkVolume
	for _, p := range paths {
		at := place{path: p}
		all = append(all, btrbkVolume{section: s, at: at, name: base(at), targets: s.allTargets()})
	}
	return all
}

// count notes which directories v uses.
func (t *btrbkTranslation) count(v btrbkVolume) {
	n := 1
	if v.unknown {
		n = 2 // or more
	}
	t.users[t.snapshotDir(v)] += n
	for _, target := range v.targets {
		t.users[target.place] += n
	}
}

// snapshotDir is where btrbk keeps the snapshots of v.
func (t *btrbkTranslation) snapshotDir(v btrbkVolume) place {
	base := v.parent.place // the volume
	dir := unquote(v.value("snapshot_dir", "no"))
	switch {
	case dir == "no" || dir == ".":
		if v.parent.dummy {
			base = v.at
			base.path = path.Dir(base.path)
		}
		return base
	case strings.HasPrefix(dir, "/"):
		return place{v.at.host, v.at.port, path.Clean(dir)}
	case v.parent.dummy: // btrbk refuses it
		return place{}
	}
	return base.below(dir)
}

// chooseURLs gives v destinations: the directories of targets that it has for itself as they lie, or directories of its own below the others.
func (t *btrbkTranslation) chooseURLs(v *btrbkVolume, asItLies bool) {
	if v.job == "" {
		host, _, _ := strings.Cut(v.at.host, ".")
		v.job = t.names.unique(v.name, host+"-"+v.name, path.Base(path.Dir(v.at.path))+"-"+v.name)
		v.urls = make([]string, len(v.targets))
	}
	for i, target := range v.targets {
		switch at := target.place; {
		case target.raw || (t.users[at] == 1) != asItLies:
		case asItLies:
			v.urls[i] = t.free(target, at)
		default:
			v.urls[i] = t.free(target, at.below(fileName(v.name)), at.below(v.job), at.below(v.job+"-btrkeep"))
		}
	}
}

// free is the url of the first place that is no destination yet. If all are, it is that of the last: checking the configuration tells.
func (t *btrbkTranslation) free(s *section, wishes ...place) (url string) {
	for _, at := range wishes {
		if url = t.url(s, at); !t.urls[url] {
			break
		}
	}
	t.urls[url] = true
	return url
}

func (p place) below(name string) place {
	p.path = path.Join(p.path, name)
	return p
}

// fileName is a name that a directory can have.
func fileName(s string) string { return strings.ReplaceAll(s, "/", "-") }

// url is a place as the configuration writes it, with user and port as the section says them.
func (t *btrbkTranslation) url(s *section, at place) string {
	if at.host == "" {
		return at.path
	}
	t.remote = true
	u := url.URL{Scheme: "ssh", Host: at.host, Path: at.path}
	port := at.port
	if p := s.value("ssh_port", "default"); port == "" && p != "default" {
		port = p
	}
	if port != "" {
		u.Host += ":" + port
	}
	if user := s.value("ssh_user", "root"); user != "no" {
		u.User = url.User(user)
	}
	t.sshConfig(s, at.host)
	return u.String()
}

// sshConfig notes what ssh's own configuration has to say of a host.
func (t *btrbkTranslation) sshConfig(s *section, host string) {
	lines := ""
	if v := s.value("ssh_identity", "no"); v != "no" {
		lines += "\n    IdentityFile " + v
	}
	if s.value("ssh_compression", "no") == "yes" {
		lines += "\n    Compression yes"
	}
	if v := s.value("ssh_cipher_spec", "default"); v != "default" {
		lines += "\n    Ciphers " + strings.Join(strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' }), ",")
	}
	if lines != "" {
		t.hosts[strings.Trim(host, "[]")] = lines
	}
}
