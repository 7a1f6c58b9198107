package config

import (
	"fmt"
	"slices"
	"strings"
)

// unknown refuses a key, with the best guess of what was meant. The TOML library would take a key in
// any case; keys that differ only in that are refused, so that one spelling can be searched for.
func (l *loader) unknown(n node, known []string) {
	key := n.key()
	l.fail(n.keyPlace(), l.guess(n, known), "unknown key %q", key)
}

func (l *loader) guess(n node, known []string) string {
	key := n.key()
	if lower := strings.ToLower(key); slices.Contains(known, lower) {
		return fmt.Sprintf("keys are written in lower case: %s", lower)
	}
	if near := closest(key, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	_, isTable := n.value.(map[string]any)
	switch {
	case l.global()[key] != nil:
		return fmt.Sprintf("%q belongs at the top of the file, before the first [table]", key)
	case l.job(&draft{})[key] != nil:
		return fmt.Sprintf("%q belongs in [jobs.NAME] or [defaults]", key)
	case l.destination(&target{})[key] != nil:
		return fmt.Sprintf("%q belongs in [jobs.NAME.destinations.NAME]", key)
	case len(n.path) == 1 && isTable:
		return fmt.Sprintf("a job is written [jobs.%s]", n.path)
	default:
		return "known here: " + strings.Join(known, ", ")
	}
}

// misspelt reports whether the table at n lacks key because of a slip, which is reported already,
// or is no table at all, which is so too.
func misspelt(n node, key string) bool {
	if _, ok := n.value.(map[string]any); !ok {
		return true
	}
	return slices.ContainsFunc(n.children(), func(child node) bool {
		return closest(child.key(), []string{key}) != ""
	})
}

// closest is the known key that key is most likely a slip or a short form of, or "".
func closest(key string, known []string) string {
	best, least := "", 1+min(max(1, len(key)/3), 3)
	for _, k := range known {
		if d := distance(strings.ToLower(key), k); d < least {
			best, least = k, d
		}
	}
	if best == "" && len(key) >= 3 {
		for _, k := range known {
			if strings.HasPrefix(k, strings.ToLower(key)) {
				return k
			}
		}
	}
	return best
}

// distance counts the letters to insert, remove, replace, or swap with their neighbour to make b of a.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
