package config

import (
	"path/filepath"
	"strings"
)

// The limits of the kernel, without the NUL that PATH_MAX counts.
const (
	maxPath      = 4095
	maxComponent = 255
)

// cleanPath takes an absolute path of any characters. It is cleaned by its letters alone: what a symbolic
// link before ".." points to is not asked.
func cleanPath(path string) (string, error) {
	switch {
	case path == "":
		return "", refuse(`write an absolute path, such as "/home"`, "empty path")
	case strings.Contains(path, "\x00"):
		return "", refuse("no file system can hold it", "path %q contains a NUL byte", path)
	case !strings.HasPrefix(path, "/"):
		return "", refuse("write an absolute path; neither ~ nor variables are replaced", "path %q is not absolute", path)
	}
	path = filepath.Clean(path)
	if len(path) > maxPath {
		return "", refuse("at most 4095 bytes", "path of %d bytes is too long", len(path))
	}
	for name := range strings.SplitSeq(path, "/") {
		if len(name) > maxComponent {
			return "", refuse("at most 255 bytes between two slashes", "path with a name of %d bytes is too long", len(name))
		}
	}
	return path, nil
}

// within reports whether path is dir or below it.
func within(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
