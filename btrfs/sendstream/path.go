package sendstream

import "bytes"

// checkAttr holds the rules for names in values. btrfs receive has none: it joins what it gets to the subvolume's path, so that
// "../../etc/x" is written where it says, and cuts it at a NUL.
func checkAttr(cmd Cmd, a Attr, value []byte) error {
	switch a {
	case AttrPath:
		if cmd == CmdSubvol || cmd == CmdSnapshot {
			return checkName(value)
		}
		return checkPath(value, commands[cmd].root)
	case AttrPathTo, AttrClonePath:
		return checkPath(value, false)
	case AttrPathLink:
		if cmd == CmdSymlink {
			return checkText(value, pathMax-1) // where a symbolic link points is its own affair: nobody here follows it
		}
		return checkPath(value, false)
	case AttrXattrName:
		return checkText(value, nameMax)
	}
	return nil
}

// checkPath accepts relative paths as the kernel makes them, below the subvolume's root: names with single slashes between.
func checkPath(path []byte, root bool) error {
	if len(path) == 0 {
		if root {
			return nil
		}
		return corrupt("empty path")
	}
	if len(path) >= pathMax {
		return corrupt("path of %d bytes", len(path))
	}
	start := 0
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			if path[i] == 0 {
				return corrupt("path %q holds NUL", path)
			}
			continue
		}
		if name := path[start:i]; !properName(name) {
			return corrupt("path %q leaves the subvolume or is not in its plain form", path)
		}
		start = i + 1
	}
	return nil
}

func properName(name []byte) bool {
	switch len(name) {
	case 0:
		return false
	case 1:
		return name[0] != '.'
	case 2:
		return name[0] != '.' || name[1] != '.'
	}
	return len(name) <= nameMax
}

// checkName accepts what can be the name of a subvolume in its directory.
func checkName(name []byte) error {
	if !properName(name) || bytes.IndexByte(name, '/') >= 0 || bytes.IndexByte(name, 0) >= 0 {
		return corrupt("subvolume name %q is not one name", name)
	}
	return nil
}

func checkText(text []byte, limit int) error {
	if len(text) == 0 || len(text) > limit {
		return corrupt("text of %d bytes", len(text))
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return corrupt("text %q holds NUL", text)
	}
	return nil
}
