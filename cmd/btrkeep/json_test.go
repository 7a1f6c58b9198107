package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// What scripts of users rely on from the first day. A line here may be added and never changed.
var promised = map[string][]string{
	"list": {
		"[].job string", "[].source string",
		"[].snapshots[].name string", "[].snapshots[].path string", "[].snapshots[].uuid string", "[].snapshots[].created string",
		"[].snapshots[].pinned bool", "[].snapshots[].common_with[] string",
		"[].destinations[].name string", "[].destinations[].url string", "[].destinations[].state string",
		"[].destinations[].backups[].name string", "[].destinations[].backups[].path string", "[].destinations[].backups[].uuid string",
		"[].destinations[].backups[].received_uuid string", "[].destinations[].backups[].created string",
		"[].destinations[].backups[].complete bool", "[].destinations[].backups[].pinned bool",
	},
	"history": {
		"[].job string", "[].started string", "[].ended string", "[].result string", "[].snapshot string", "[].error string",
		"[].transfers[].destination string", "[].transfers[].snapshot string", "[].transfers[].parent string", "[].transfers[].bytes number",
		"[].transfers[].resumed_bytes number", "[].transfers[].seconds number", "[].transfers[].result string", "[].transfers[].error string",
		"[].pruned[].where string", "[].pruned[].name string", "[].pruned[].reason string",
	},
}

const shapelyJobs = `
[jobs.good]
source   = "$SRC/home"
schedule = "@daily"
keep     = { last = 1 }
[jobs.good.destinations.away]
url           = "$DST2/home"
require_mount = "$DST2"
max_age       = "1d"
[jobs.good.destinations.here]
url = "$DST1/home"
[jobs.poor]
source      = "$SRC/missing"
destination = "$DST1/poor"
`

// The fields that the commands print with --json, and their types. With -update what has come is added to the golden files; what was
// promised must be there all the same.
func TestJSON(t *testing.T) {
	t.Parallel()
	away := testdisk.New(t, disk)
	m := newMachine(t, 1)
	m.dests = append(m.dests, away.Path)
	m.configure(shapelyJobs)
	away.Unmount()
	for range 3 {
		m.write("file", "content")
		m.btrkeep("run", "good")
	}
	time.Sleep(time.Second) // so that a backup has an age
	commands := []struct {
		name   string
		status int
		args   []string
	}{
		{"plan", 1, []string{"plan"}},
		{"run", 1, []string{"run"}},
		{"list", 1, []string{"list"}},
		{"history", 0, []string{"history"}},
		{"status", 1, []string{"status"}},
		{"check", 1, []string{"check"}},
		{"prune", 1, []string{"prune"}},
		{"version", 0, []string{"version"}},
		{"import", 0, []string{"import", "btrfs-backup", "@daily btrfs-backup.py /home /mnt/backup > /dev/null"}},
		{"backup", 0, []string{"backup", m.home(), filepath.Join(m.dests[0], "other")}},
	}
	for _, c := range commands {
		t.Run(c.name, func(t *testing.T) {
			r := m.btrkeep(append(c.args, "--json")...)
			if r.status != c.status {
				t.Errorf("want exit status %d: %s", c.status, r)
			}
			var v any
			if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
				t.Fatalf("%v: %s", err, r)
			}
			fields := map[string]bool{}
			shape("", v, fields)
			for _, field := range promised[c.name] {
				if !fields[field] {
					t.Errorf("promised and missing: %s", field)
				}
			}
			golden(t, filepath.Join("json", c.name), strings.Join(slices.Sorted(maps.Keys(fields)), "\n")+"\n")
		})
	}
}

// shape collects the paths of all values in v with their types.
func shape(path string, v any, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if strings.HasPrefix(path, ".next") { // the names are those of jobs
				name = "JOB"
			}
			shape(path+"."+name, value, into)
		}
	case []any:
		if len(v) == 0 {
			into[path+"[]"] = true
		}
		for _, value := range v {
			shape(path+"[]", value, into)
		}
	default:
		kind := map[string]string{"string": "string", "float64": "number", "bool": "bool"}[fmt.Sprintf("%T", v)]
		into[path+" "+kind] = true
	}
}

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-) and now (+); if it is meant, run the test with -update:\n%s", path, diff)
	}
}
