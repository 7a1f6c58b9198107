package jobs

import (
	"path"
	"slices"
	"strings"

	"github.com/btrkeep/btrkeep/btrfs/sendstream"
)

// pattern is a path to be found.
type pattern struct {
	prefix string // the directory below which names have to be matched; "" is the root
	parts  []part
	glob   bool
	found  bool // something matched
}

// part is one name of a pattern; of a plain path all of it.
type part struct {
	text string
	glob bool
	any  bool // **
}

// parsePattern reads what people write: a path relative to the source or an absolute one below it, plain or a pattern.
func parsePattern(source, text string) (pattern, error) {
	relative, err := belowSource(source, text)
	if err != nil {
		return pattern{}, err
	}
	names := strings.Split(relative, "/")
	first := slices.IndexFunc(names, isGlob)
	if first < 0 {
		return plainPath(relative), nil
	}
	p := pattern{prefix: strings.Join(names[:first], "/"), glob: true}
	for _, name := range names[first:] {
		next := part{text: name, glob: isGlob(name), any: name == "**"}
		if n := len(p.parts); n == 0 || !next.any || !p.parts[n-1].any {
			p.parts = append(p.parts, next)
		}
	}
	return p, nil
}

func plainPath(relative string) pattern { return pattern{parts: []part{{text: relative}}} }

// belowSource gives a path relative to the source; "." is the root.
func belowSource(source, text string) (string, error) {
	clean := path.Clean(text)
	if path.IsAbs(clean) {
		below, ok := strings.CutPrefix(clean+"/", strings.TrimSuffix(source, "/")+"/")
		if !ok {
			return "", hintf("write a path relative to it, or an absolute one below it", "%s %w %s", sendstream.Quote(text), ErrPath, source)
		}
		clean = path.Clean(below)
	}
	if text == "" || clean == ".." || strings.HasPrefix(clean, "../") {
		return "", hintf("write a path relative to it, without ..", "%s %w %s", sendstream.Quote(text), ErrPath, source)
	}
	return clean, nil
}

func isGlob(name string) bool { return strings.ContainsAny(name, "*?[") }

// matches reports whether a name is meant. A name that is written as the pattern is always meant: many files have brackets in their names.
func (p part) matches(name string) bool {
	if !p.glob || p.text == name {
		return p.text == name
	}
	ok, err := path.Match(goClass(p.text), name)
	return ok && err == nil
}

// goClass writes the [!…] of shells as package path knows it.
func goClass(glob string) string {
	var b strings.Builder
	for i := 0; i < len(glob); i++ {
		b.WriteByte(glob[i])
		switch {
		case glob[i] == '\\' && i+1 < len(glob):
			i++
			b.WriteByte(glob[i])
		case glob[i] == '[' && i+1 < len(glob) && glob[i+1] == '!':
			i++
			b.WriteByte('^')
		}
	}
	return b.String()
}

// start are the parts that the names in the first directory can match.
func (p pattern) start() []int { return p.add(nil, 0) }

// add adds a part to those that names can match; ** also matches no directory at all.
func (p pattern) add(active []int, k int) []int {
	if !slices.Contains(active, k) {
		active = append(active, k)
	}
	if p.parts[k].any && k+1 < len(p.parts) {
		return p.add(active, k+1)
	}
	return active
}

// advance gives what a name in a directory means: whether it is a match itself, and which parts the names below it can match.
func (p pattern) advance(active []int, name string) (below []int, match bool) {
	for _, k := range active {
		switch last := k == len(p.parts)-1; {
		case p.parts[k].any:
			below, match = p.add(below, k), match || last
		case !p.parts[k].matches(name):
		case last:
			match = true
		default:
			below = p.add(below, k+1)
		}
	}
	return below, match
}

// literals are the names that alone can match; nil if the directory has to be read.
func (p pattern) literals(active []int) []string {
	var names []string
	for _, k := range active {
		if p.parts[k].glob {
			return nil
		}
		if !slices.Contains(names, p.parts[k].text) {
			names = append(names, p.parts[k].text)
		}
	}
	return names
}
