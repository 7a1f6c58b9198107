package main_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
)

// The fields that find and log print as JSON are as they were, and strange names are neither lost in it nor dangerous to look at.
func TestFindJSON(t *testing.T) {
	t.Parallel()
	m := newMachine(t, 1)
	m.configure("[jobs.home]\nsource = \"$SRC/home\"\ndestination = \"$DST1/home\"\n")
	at := func(name string) string { return filepath.Join(m.home(), name) }
	m.write(odd, "1")
	m.write("-dash", "1")
	must(t, os.Symlink(odd, at(odd+"link")))
	m.mustRun()
	must(t, os.Rename(at(odd), at(odd+"2")))
	// A time that no date can be written for.
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, at("-dash"), []unix.Timespec{{Sec: 1 << 39}, {Sec: 1 << 39}}, 0))
	must(t, btrfs.Sync(m.home()))
	m.mustRun()
	for _, args := range [][]string{{"find", "home", "*"}, {"find", "--all", "home", "--", "-dash"}, {"log", "home", odd}, {"log", "home", odd + "2"}, {"log", "home", "--", "-dash"}} {
		wantTame(t, m.must(args...).stdout)
	}
	fields := func(name string, args ...string) (raw [][]byte) {
		t.Helper()
		r := m.must(args...)
		wantTame(t, r.stdout)
		shapes := map[string]bool{}
		shape("", decode[any](t, r), shapes)
		golden(t, filepath.Join("json", name), strings.Join(slices.Sorted(maps.Keys(shapes)), "\n")+"\n")
		var found struct {
			Paths []struct {
				PathBase64 []byte `json:"path_base64"`
			}
			Events []struct {
				ToBase64 []byte `json:"to_base64"`
			}
		}
		must(t, json.Unmarshal([]byte(r.stdout), &found))
		for _, p := range found.Paths {
			raw = append(raw, p.PathBase64)
		}
		for _, e := range found.Events {
			raw = append(raw, e.ToBase64)
		}
		return raw
	}
	contains := func(raw [][]byte, name string) {
		t.Helper()
		if !slices.ContainsFunc(raw, func(b []byte) bool { return string(b) == name }) {
			t.Errorf("%q is lost: %q", name, raw)
		}
	}
	raw := fields("find", "find", "--json", "home", "*")
	contains(raw, odd)
	contains(raw, odd+"2")
	contains(raw, odd+"link")
	contains(fields("log", "log", "--json", "home", odd), odd+"2")
}
