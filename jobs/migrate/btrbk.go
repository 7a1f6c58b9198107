package migrate

import (
	"net/url"
	"path"
	"slices"
	"strings"
)

// Btrbk translates a btrbk.conf; m is where it is used.
func Btrbk(file, text string, m Machine) *Config {
	b := parseBtrbk(file, text)
	t := &btrbkTranslation{btrbk: b, machine: m, names: names{}, users: map[place]int{}, hosts: map[string]string{}, sources: map[place]string{}, urls: map[place]bool{}}
	for _, v := range b.root.inner {
		for _, s := range v.inner {
			t.found = append(t.found, t.volume(s))
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
	urls          map[place]bool    // of destinations
	schedule, why string
	remote        bool // some job is
}

// btrbkVolume is a subvolume that btrbk backs up, or all that match wildcards.
type btrbkVolume struct {
	*section
	at      place
	name    string // of its snapshots, before the dot
	job     string
	targets []*section
	urls    []string // of the targets; "" for raw ones
}

// volume is what a section subvolume stands for: one subvolume, or with wildcards a group of them.
func (t *btrbkTranslation) volume(s *section) btrbkVolume {
	v := btrbkVolume{section: s, at: s.place, targets: s.allTargets()}
	name := path.Base(v.at.path)
	if v.at.path == "/" {
		name = "ROOT"
	}
	v.name = unquote(s.value("snapshot_name", name))
	if s.glob {
		v.name = name // btrbk allows no other
	}
	return v
}

// far reports wildcards in a path of another machine, where they cannot be looked up.
func (v btrbkVolume) far() bool { return v.glob && v.at.host != "" }

// count notes which directories v uses. The snapshots of a group always go elsewhere; its backups go below.
func (t *btrbkTranslation) count(v btrbkVolume) {
	t.users[v.same(t.snapshotDir(v))]++
	for _, target := range v.targets {
		t.users[target.same(target.place)]++
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
		if v.far() {
			v.at.path = strings.ReplaceAll(v.at.path, "*", "NAME")
		}
		v.urls = make([]string, len(v.targets))
	}
	for i, target := range v.targets {
		switch at := target.place; {
		case target.raw || (t.users[target.same(at)] == 1) != asItLies:
		case asItLies:
			v.urls[i] = t.free(target, at)
		case v.glob:
			v.urls[i] = t.free(target, at.below(v.job), at.below(v.job+"-btrkeep"))
		default:
			v.urls[i] = t.free(target, at.below(fileName(v.name)), at.below(v.job), at.below(v.job+"-btrkeep"))
		}
	}
}

// free is the url of the first place that is no destination yet. If all are, it is that of the last: checking the configuration tells.
func (t *btrbkTranslation) free(s *section, wishes ...place) (url string) {
	var key place
	for _, at := range wishes {
		if url, key = t.url(s, at), s.same(at); !t.urls[key] {
			break
		}
	}
	t.urls[key] = true
	return url
}

func (p place) below(name string) place {
	p.path = path.Join(p.path, name)
	return p
}

// port is that of a place as the section says it; "" for ssh's own.
func (s *section) port(at place) string {
	if p := s.value("ssh_port", "default"); at.host != "" && at.port == "" && p != "default" {
		return p
	}
	return at.port
}

// same is what all ways to write a place have in common.
func (s *section) same(at place) place {
	at.host, at.port = strings.ToLower(at.host), s.port(at)
	if at.port == "22" {
		at.port = ""
	}
	return at
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
	if port := s.port(at); port != "" {
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
