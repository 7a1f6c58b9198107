package migrate

import (
	"path"
	"regexp"
	"strings"
	"unicode/utf8"
)

// section is one of a btrbk.conf: the file as a whole, a volume, a subvolume or a target, with the options that are set in it. See btrbk.conf(5), SECTIONS.
type section struct {
	kind    string // "", "volume", "subvolume", "target"
	parent  *section
	line    int
	place   place
	raw     bool // a target that is a file
	glob    bool // a subvolume with wildcards
	dummy   bool // the volume of subvolumes that stand before any
	options map[string]option
	targets []*section
	inner   []*section // volumes of the file, subvolumes of a volume
}

type option struct {
	value string // what follows the name; "yes" if nothing does
	line  int
}

// place is a path on this machine (host is "") or another one.
type place struct{ host, port, path string }

// btrbk is a btrbk.conf that was read.
type btrbk struct {
	file  string
	root  *section
	all   []setting // in the order of lines
	notes []Note
}

// setting is one line with an option.
type setting struct {
	key string
	option
}

func (b *btrbk) note(line int, text string) { b.notes = append(b.notes, Note{b.file, line, text}) }

// parseBtrbk reads a btrbk.conf. Lines that make no sense are noted and left out.
func parseBtrbk(file, text string) *btrbk {
	b := &btrbk{file: file, root: &section{options: map[string]option{}}}
	at, line := b.root, 0
	statement := regexp.MustCompile(`^([a-zA-Z_]+)(?:\s+(.*))?$`)
	for l := range strings.Lines(text) {
		line++
		l = strings.TrimSpace(cutComment(strings.TrimRight(l, "\r\n")))
		if l == "" {
			continue
		}
		m := statement.FindStringSubmatch(l)
		if !utf8.ValidString(l) {
			b.note(line, "this line is not UTF-8, as the configuration has to be: left out")
			continue
		}
		if m == nil {
			b.note(line, "this line is none of btrbk: "+l)
			continue
		}
		at = b.statement(at, strings.ToLower(m[1]), m[2], line)
	}
	return b
}

// cutComment cuts from a # on that is not in quotes. A quote that is not closed is none.
func cutComment(l string) string {
	for i := 0; i < len(l); i++ {
		switch c := l[i]; c {
		case '#':
			return l[:i]
		case '"', '\'':
			if end := strings.IndexByte(l[i+1:], c); end >= 0 {
				i += 1 + end
			}
		}
	}
	return l
}

// statement takes one line, and gives the section in which the next ones are.
func (b *btrbk) statement(at *section, key, value string, line int) *section {
	switch key {
	case "volume":
		return b.volume(unquote(value), line)
	case "subvolume":
		return b.subvolume(at, unquote(value), line)
	case "target":
		return b.target(at, value, line)
	}
	if value == "" {
		value = "yes"
	}
	o := option{value, line}
	if key == "group" { // may be given again
		if before, ok := at.options[key]; ok {
			o.value = before.value + " " + value
		}
	} else if before, ok := at.options[key]; ok && before.value != value {
		b.note(before.line, key+" is given again further down, which holds")
	}
	if _, ok := translated()[key]; ok && at.kind == "target" && (strings.HasPrefix(key, "snapshot_") || key == "timestamp_format") {
		b.note(line, key+" "+value+": btrbk refuses it in a section target, and so it is left out")
		return at
	}
	at.options[key] = o
	b.all = append(b.all, setting{key, option{value, line}})
	return at
}

func (b *btrbk) volume(value string, line int) *section {
	v := newSection("volume", b.root, line)
	var ok bool
	if v.place, ok = parsePlace(value); !ok {
		b.note(line, "volume "+value+" is no absolute path and no url: its subvolumes are left out")
		v.parent = b.root
		return v // not listed: what follows is read and leads nowhere
	}
	b.root.inner = append(b.root.inner, v)
	return v
}

func (b *btrbk) subvolume(at *section, value string, line int) *section {
	for at.kind != "volume" && at.parent != nil {
		at = at.parent
	}
	if at.kind == "" {
		v := newSection("volume", at, line)
		v.dummy = true
		at.inner = append(at.inner, v)
		at = v
	}
	s := newSection("subvolume", at, line)
	s.glob = strings.Contains(value, "*")
	p, absolute := parsePlace(value)
	switch {
	case absolute:
		s.place = p
	case at.dummy || value == "" || climbs(value):
		b.note(line, "subvolume "+value+" is no path here: left out")
		return s
	default:
		s.place = at.place
		s.place.path = path.Join(at.place.path, value)
	}
	at.inner = append(at.inner, s)
	return s
}

func (b *btrbk) target(at *section, value string, line int) *section {
	if at.kind == "target" {
		at = at.parent
	}
	t := newSection("target", at, line)
	if m := regexp.MustCompile(`^([a-zA-Z_-]+)\s+(.*)`).FindStringSubmatch(value); m != nil {
		switch strings.ToLower(m[1]) {
		case "raw":
			t.raw = true
		case "send-receive":
		default:
			b.note(line, "target "+m[1]+" is of no kind that btrbk has: left out")
			return t
		}
		value = m[2]
	}
	var ok bool
	if t.place, ok = parsePlace(unquote(value)); !ok {
		b.note(line, "target "+value+" is no absolute path and no url: left out")
		return t
	}
	at.targets = append(at.targets, t)
	return t
}

func newSection(kind string, parent *section, line int) *section {
	return &section{kind: kind, parent: parent, line: line, options: map[string]option{}}
}

// unquote takes the quotes from around a value.
func unquote(s string) string {
	if n := len(s); n >= 2 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		return s[1 : n-1]
	}
	return s
}

// parsePlace reads an absolute path, ssh://host:port/path or host:/path.
func parsePlace(s string) (place, bool) {
	m := regexp.MustCompile(`^(?:ssh://([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::([1-9][0-9]*))?|([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):)?(/.*)$`).FindStringSubmatch(s)
	if m == nil || climbs(m[4]) {
		return place{}, false
	}
	return place{host: m[1] + m[3], port: m[2], path: path.Clean(m[4])}, true
}

// climbs reports a .. in a path, which btrbk refuses.
func climbs(p string) bool {
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// get is what an option is here or, if it is not set, further out. "no" is not set, as for btrbk, but ends the search; which is told by ok.
func (s *section) get(key string) (o option, ok bool) {
	for ; s != nil; s = s.parent {
		if o, ok = s.options[key]; ok {
			return o, true
		}
	}
	return option{}, false
}

// value is what an option is, or its default.
func (s *section) value(key, otherwise string) string {
	if o, ok := s.get(key); ok {
		return o.value
	}
	return otherwise
}

// allTargets are the targets of a subvolume, those of the file and the volume first. One that is given again further in is that.
func (s *section) allTargets() []*section {
	var all []*section
	for _, outer := range []*section{s.parent.parent, s.parent, s} {
		for _, t := range outer.targets {
			c := *t
			c.parent = s
			for i, before := range all {
				if before.same(before.place) == c.same(c.place) && before.raw == c.raw {
					all = append(all[:i], all[i+1:]...)
					break
				}
			}
			all = append(all, &c)
		}
	}
	return all
}
