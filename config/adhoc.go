package config

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// Adhoc is the configuration of `btrkeep backup SOURCE DESTINATION`: one job, checked by the same rules.
// latestOnly sets the job's Keep to { last = 1 } at the source; nothing is pruned at the destination.
// Both paths are absolute. In an [Errors] the file is "SOURCE" or "DESTINATION", without a line.
func Adhoc(source, destination string, latestOnly bool, env func(string) string) (*Config, error) {
	l := newLoader()
	l.config.Files = []string{"SOURCE", "DESTINATION"} // the order of mistakes
	d := newDraft()
	keys := l.job(d)
	keys["source"](node{path: []string{"SOURCE"}, value: source})
	keys["destination"](node{path: []string{"DESTINATION"}, value: destination})
	d.Name = adhocName(d.Source)
	d.Adhoc = true
	l.notYet([]*draft{d})
	l.checkPlaces([]*draft{d})
	l.environment(env)
	c, err := l.finish([]*draft{d})
	if err != nil {
		return nil, err
	}
	c.Files = nil
	if latestOnly {
		c.Jobs[0].Keep = Keep{Last: 1}
	}
	return c, nil
}

// adhocName is a job's name made of its source: home, srv-www, root for /. Where two sources could
// come to the same name, which is also that of a lock and of a state, a part of a hash tells them apart.
func adhocName(source string) string {
	if source == "/" {
		return "root"
	}
	fit := func(r rune) rune {
		if r < 0x80 && (isLetter(byte(r)) || isDigit(byte(r)) || strings.ContainsRune("_.", r)) {
			return r
		}
		return '-'
	}
	name := strings.TrimLeft(strings.Map(fit, source), "-._")
	const longest = 64 - len("-12345678")
	if "/"+strings.ReplaceAll(name, "-", "/") == source && name != "root" && len(name) <= longest {
		return name
	}
	name = strings.TrimRight(name[:min(len(name), longest)], "-")
	sum := sha256.Sum256([]byte(source))
	return strings.TrimPrefix(fmt.Sprintf("%s-%x", name, sum[:4]), "-")
}
