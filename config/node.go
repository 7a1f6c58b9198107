package config

import (
	"errors"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// node is one key of a file with its value, or an argument of the command line.
type node struct {
	file   *file    // nil for an argument
	parent *node    // the table it is in; nil for the file itself
	path   toml.Key // from the top of the file; for an argument its name
	prim   toml.Primitive
	value  any
}

// key is the key's own name.
func (n node) key() string { return n.path[len(n.path)-1] }

// load fills in the value.
func (n node) load() node {
	// Into an empty interface anything can be decoded.
	_ = n.file.md.PrimitiveDecode(n.prim, &n.value)
	return n
}

// children are the keys of a table in the order of the file.
func (n node) children() []node {
	prims := map[string]toml.Primitive{}
	if err := n.file.md.PrimitiveDecode(n.prim, &prims); err != nil {
		return nil
	}
	list := make([]node, 0, len(prims))
	for key, prim := range prims {
		path := append(slices.Clone(n.path), key)
		list = append(list, node{file: n.file, parent: &n, path: path, prim: prim}.load())
	}
	slices.SortFunc(list, func(a, b node) int {
		return n.file.order[a.path.String()] - n.file.order[b.path.String()]
	})
	return list
}

// inline reports whether a key is inside { }. It costs a search for positions, so only mistakes ask.
func (n node) inline() bool {
	if n.parent == nil {
		return false
	}
	at, ok := n.parent.offset()
	if ok && at > 0 && n.file.text[at-1] == '{' && n.file.text[at] != '[' {
		return true
	}
	return n.parent.inline()
}

// locate is a value that refuses whatever it is given: to a value that refuses, the library adds the
// position of its key, which it tells in no other way. It reads the whole file for that.
type locate struct{}

func (locate) UnmarshalTOML(any) error { return errors.New("here") }

// offset is where the library saw the key: the start of the value for key = value (past its quote
// or bracket), the bracket of a [table], the start of the key inside { }. A table that is only
// implied by [its.child] has none.
func (n node) offset() (at int, ok bool) {
	var pe toml.ParseError
	if err := n.file.md.PrimitiveDecode(n.prim, &locate{}); !errors.As(err, &pe) || pe.Position.Line == 0 {
		return 0, false
	}
	return min(pe.Position.Start, len(n.file.text)-1), true
}

// keyPlace is the position of the key.
func (n node) keyPlace() place {
	if n.file == nil {
		return place{file: n.key()}
	}
	at, ok := n.offset()
	switch {
	case !ok:
		// A table that is only implied begins with the first of its keys.
		if children := n.children(); len(children) > 0 {
			return children[0].keyPlace()
		}
		return n.file.place(0)
	case n.inline():
		return n.file.place(at)
	}
	// A key and the start of its value share a line, which has nothing before them.
	line := strings.LastIndexByte(n.file.text[:at], '\n') + 1
	blank := n.file.text[line:]
	return n.file.place(line + len(blank) - len(strings.TrimLeft(blank, " \t")))
}

// valuePlace is the position of the value.
func (n node) valuePlace() place {
	if n.file == nil {
		return place{file: n.key()}
	}
	at, ok := n.offset()
	if !ok {
		return n.keyPlace()
	}
	text := n.file.text
	if n.inline() {
		return n.file.place(at + valueOffset(text[at:]))
	}
	if at > 0 && strings.IndexByte("[{", text[at-1]) >= 0 {
		return n.file.place(at - 1)
	}
	for i := 0; i < len(`"""`) && at > 0 && strings.IndexByte(`"'`, text[at-1]) >= 0; i++ {
		at--
	}
	return n.file.place(at)
}

// valueOffset is the length of `key = ` at the start of s. The key is known to be well-formed.
func valueOffset(s string) int {
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote == '"' && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '=':
			value := s[i+1:]
			return i + 1 + len(value) - len(strings.TrimLeft(value, " \t"))
		}
	}
	return 0
}
