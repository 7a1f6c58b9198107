package main_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// disk is large enough for what these tests write, and small enough for images of power cuts to be copied.
var disk = testdisk.Options{Size: 256 << 20, MountOptions: "noatime", InMemory: true}

// machine is what one installation of btrkeep has: a source disk with the subvolume home, destination disks, and a configuration.
type machine struct {
	t       *testing.T
	dir     string // what is not on those disks: configuration, locks
	state   string
	config  string
	srcPath string
	dests   []string // mount points
	env     []string // of its processes, beside what all have
}

// newMachine makes a machine with n destination disks.
func newMachine(t *testing.T, n int) *machine {
	t.Helper()
	src := testdisk.New(t, disk)
	var dests []string
	for range n {
		dests = append(dests, testdisk.New(t, disk).Path)
	}
	m := machineOn(t, src.Path, dests...)
	must(t, btrfs.Create(src.Path, "home"))
	return m
}

// machineOn is a machine with disks that are mounted already.
func machineOn(t *testing.T, src string, dests ...string) *machine {
	t.Helper()
	// Not t.TempDir, which names the test: the path of a socket has to be short.
	dir, err := os.MkdirTemp("", "m")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &machine{t: t, dir: dir, state: filepath.Join(dir, "state"), config: filepath.Join(dir, "btrkeep.toml"), srcPath: src, dests: dests}
}

// configure writes the configuration. In it $SRC, $DST1, $DST2 … are the mount points and $DIR the machine's own directory.
func (m *machine) configure(text string) {
	m.t.Helper()
	head := fmt.Sprintf("state_dir = %q\nruntime_dir = %q\n", m.state, m.runtime())
	must(m.t, os.WriteFile(m.config, []byte(head+m.expand(text)), 0o600))
}

func (m *machine) expand(text string) string {
	pairs := []string{"$SRC", m.srcPath, "$DIR", m.dir}
	for i, path := range m.dests {
		pairs = append(pairs, fmt.Sprintf("$DST%d", i+1), path)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func (m *machine) runtime() string { return filepath.Join(m.dir, "run") }
func (m *machine) home() string    { return filepath.Join(m.srcPath, "home") }

// write puts a file into the source.
func (m *machine) write(name, content string) {
	m.t.Helper()
	must(m.t, os.WriteFile(filepath.Join(m.home(), name), []byte(content), 0o644))
}

// grow writes a file of random bytes into the source.
func (m *machine) grow(name string, seed uint64, size int) {
	m.t.Helper()
	b := make([]byte, size)
	rnd := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = rnd.Read(b) // never fails
	must(m.t, os.WriteFile(filepath.Join(m.home(), name), b, 0o644))
}

// mustRun is `btrkeep run` that has to end well.
func (m *machine) mustRun(args ...string) result {
	m.t.Helper()
	return m.must(append([]string{"run"}, args...)...)
}

// must is a command that has to end well.
func (m *machine) must(args ...string) result {
	m.t.Helper()
	r := m.btrkeep(args...)
	if r.status != 0 {
		m.t.Fatalf("btrkeep %s: %s", strings.Join(args, " "), r)
	}
	return r
}

// decode reads what a command with --json printed.
func decode[T any](t *testing.T, r result) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	return v
}

// listing is an element of `list --json`, as far as scripts of users rely on it.
type listing struct {
	Job       string
	Snapshots []struct {
		Name, Path, UUID string
		CommonWith       []string `json:"common_with"`
	}
	Destinations []struct {
		Name, URL, State string
		Backups          []backup
	}
}

type backup struct {
	Name, Path, UUID string
	ReceivedUUID     string `json:"received_uuid"`
	Created          time.Time
	Complete         bool
}

// list is the listing of the only job.
func (m *machine) list() listing {
	m.t.Helper()
	all := decode[[]listing](m.t, m.must("list", "--json"))
	if len(all) != 1 {
		m.t.Fatalf("%d jobs: %+v", len(all), all)
	}
	return all[0]
}

func (l listing) snapshots() []string {
	var names []string
	for _, s := range l.Snapshots {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}

// backups are the names of the complete backups at destination number i.
func (l listing) backups(i int) []string {
	var names []string
	for _, b := range l.Destinations[i].Backups {
		if b.Complete {
			names = append(names, b.Name)
		}
	}
	slices.Sort(names)
	return names
}

// snapshotPath is where the snapshot lies whose copy a backup is; empty if it is gone.
func (l listing) snapshotPath(b backup) string {
	for _, s := range l.Snapshots {
		if s.UUID == b.ReceivedUUID {
			return s.Path
		}
	}
	return ""
}

// record is a line of the history, as far as scripts of users rely on it.
type record struct {
	Job, Trigger, Result, Snapshot, Error string
	Started, Ended                        time.Time
	Transfers                             []transfer
	Pruned                                []pruned
}

type transfer struct {
	Destination, Snapshot, Parent, Result, Error string
	Bytes                                        int64
	Seconds                                      float64
}

type pruned struct{ Where, Name, Reason string }

// history is newest first.
func (m *machine) history() []record {
	m.t.Helper()
	return decode[[]record](m.t, m.must("history", "--json"))
}
