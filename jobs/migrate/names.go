package migrate

import (
	"fmt"
	"strings"
)

// names gives names to jobs or destinations, none twice.
type names map[string]bool

// unique gives the first of the wishes that is fit and free, or the first with a number behind it.
func (n names) unique(wishes ...string) string {
	fit := make([]string, 0, len(wishes))
	for _, w := range wishes {
		if w = fitName(w); w != "" {
			fit = append(fit, w)
		}
	}
	fit = append(fit, "job")
	for _, w := range fit[:len(fit)-1] {
		if !n[w] {
			n[w] = true
			return w
		}
	}
	for i := 2; ; i++ {
		if w := fmt.Sprintf("%s-%d", fit[0], i); !n[w] {
			n[w] = true
			return w
		}
	}
}

// fitName makes a name of s that a job can have without quotes in TOML; "" if there is none.
func fitName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '-'
	}, s)
	for strings.Contains(s, "--") {
		s = strings.ReplaceAll(s, "--", "-")
	}
	s = strings.Trim(s, "-_")
	return strings.TrimRight(s[:min(len(s), 56)], "-_")
}
