package main_test

import (
	"os"
	"strings"
	"testing"
)

// TROUBLE 44: a mistake anywhere in the configuration is an error before anything is deleted, of the jobs that are right too; no retention at all deletes nothing.
func TestConfigMistakesDeleteNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	const good = `
[jobs.home]
source      = "$SRC/home"
name_format = "20060102T150405.000000"
destination = "$DST1/home"
`
	m.configure(good)
	for _, text := range []string{"1", "2", "3"} {
		m.write("file", text)
		m.mustRun()
	}
	text, err := os.ReadFile(m.config)
	must(t, err)
	unset := m.list()
	if len(unset.snapshots()) != 3 || len(unset.backups(0)) != 3 {
		t.Errorf("without retention there are %v and %v", unset.snapshots(), unset.backups(0))
	}
	before := m.must("list", "--json").stdout
	for mistake, more := range map[string]string{
		"an unknown key":              "keeep = { last = 1 }\n",
		"a policy that keeps nothing": "keep = { last = 0, within = \"0s\" }\n",
		"a rule that does not exist":  "keep = { lasts = 1 }\n",
		"two retentions":              "keep = { last = 1 }\nkeep = { last = 2 }\n",
		"a target without its job":    "keep = { last = 1 }\n[destinations.usb]\nurl = \"$DST1/usb\"\n",
		"another job's mistake":       "keep = { last = 1 }\n[jobs.other]\nsource = \"$SRC/other\"\n",
		"the same target twice":       "keep = { last = 1 }\n[jobs.other]\nsource = \"$SRC/other\"\ndestination = \"$DST1/home\"\n",
	} {
		for _, command := range []string{"run", "prune", "daemon"} {
			m.configure(good + more)
			if r := m.btrkeep(command); r.status != 2 || !strings.Contains(r.stderr, m.config+":") {
				t.Errorf("%s, %s: %s", mistake, command, r)
			}
		}
		must(t, os.WriteFile(m.config, text, 0o600))
		if after := m.must("list", "--json").stdout; after != before {
			t.Errorf("%s: something has changed:\n%s\n%s", mistake, before, after)
		}
	}
}
