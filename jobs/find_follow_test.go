package jobs_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/jobs"
)

// follow gives the events of a path in a line each, snapshots by their number from 1.
func (w *world) follow(names []string, path string, o jobs.FollowOptions) []string {
	w.t.Helper()
	log, err := w.runner.Follow(context.Background(), w.placed(), path, o)
	must(w.t, err)
	number := func(name string) int { return slices.Index(names, name) + 1 }
	lines := []string{}
	for _, e := range log.Events {
		line := fmt.Sprintf("%d>%d %s", number(e.Older), number(e.Snapshot), e.Change)
		if e.Change == jobs.ChangeChanged && e.Type == e.OldType {
			line += fmt.Sprintf(" %d>%d", e.OldSize, e.Size)
		}
		if e.OldType != "" && e.OldType != e.Type {
			line += " " + e.OldType + ">" + e.Type
		}
		if e.Written > 0 {
			line += fmt.Sprintf(" written %d", e.Written)
		}
		if len(e.Metadata) > 0 {
			line += " " + strings.Join(e.Metadata, ",")
		}
		if e.Replaced {
			line += " replaced"
		}
		if e.From != "" {
			line += fmt.Sprintf(" from %q", e.From)
		}
		if e.To != "" {
			line += fmt.Sprintf(" to %q", e.To)
		}
		if !e.Compared {
			line += " ~"
		}
		lines = append(lines, line)
	}
	return lines
}

func TestFollow(t *testing.T) {
	w := newWorld(t, 1)
	move := func(from, to string) func() { return func() { must(t, os.Rename(w.at(from), w.at(to))) } }
	// Large enough not to lie in the metadata, whose extents nobody counts.
	text := func(blocks int) string { return strings.Repeat("0123456789abcdef", 256*blocks) }
	names := w.runs(
		func() { w.write("a/b/keep", "") },   // 1
		func() { w.write("a/b/f", text(4)) }, // 2
		func() { w.write("a/b/f", text(8)) }, // 3
		nil,                                  // 4
		func() { must(t, os.Chmod(w.at("a/b/f"), 0o600)) }, // 5
		func() { // 6: as editors save
			w.write("a/b/.f", text(9))
			must(t, os.Chmod(w.at("a/b/.f"), 0o600))
			must(t, os.Rename(w.at("a/b/.f"), w.at("a/b/f")))
		},
		move("a", "z\xff"),                   // 7: a directory above it
		move("z\xff", "a"),                   // 8
		move("a/b/f", "a/other"),             // 9
		func() { w.write("a/b/f", text(1)) }, // 10
		func() { must(t, os.Rename(w.at("a/other"), w.at("a/b/f"))) },      // 11: over it
		func() { must(t, os.Remove(w.at("a/b/f"))) },                       // 12
		func() { must(t, os.Mkdir(w.at("a/b/f"), 0o755)) },                 // 13
		func() { must(t, os.Remove(w.at("a/b/f"))); w.write("a/b/f", "") }, // 14
	)
	want := []string{
		"13>14 changed directory>file",
		"12>13 new",
		"11>12 deleted",
		"10>11 changed 4096>36864 mode from \"a/other\"",
		"9>10 new written 4096",
		"8>9 renamed to \"a/other\"",
		"7>8 renamed from \"z\\xff/b/f\"",
		"6>7 renamed to \"z\\xff/b/f\"",
		"5>6 changed 32768>36864 written 36864 replaced",
		"4>5 metadata mode ~",
		"2>3 changed 16384>32768 written 32768",
		"1>2 new written 16384",
	}
	if diff := cmp.Diff(want, w.follow(names, "a/b/f", jobs.FollowOptions{MaxTime: time.Minute})); diff != "" {
		t.Error(diff)
	}
	// Without their snapshots the backups say the same.
	for _, s := range w.listing().Snapshots[:13] {
		must(t, btrfs.Delete(w.job.SnapshotDir, s.Name, s.UUID))
	}
	if diff := cmp.Diff(want, w.follow(names, w.at("a/b/f"), jobs.FollowOptions{MaxTime: time.Minute})); diff != "" {
		t.Error(diff)
	}
	// Without comparing, or without the time for it, what the files say of themselves.
	plain := []string{
		"13>14 changed directory>file ~",
		"12>13 new ~",
		"11>12 deleted ~",
		"10>11 changed 4096>36864 mode ~",
		"9>10 new ~",
		"8>9 deleted ~",
		"7>8 new ~",
		"6>7 deleted ~",
		"5>6 changed 32768>36864 ~",
		"4>5 metadata mode ~",
		"2>3 changed 16384>32768 ~",
		"1>2 new ~",
	}
	for _, o := range []jobs.FollowOptions{{}, {MaxTime: time.Nanosecond}} {
		if diff := cmp.Diff(plain, w.follow(names, "a/b/f", o)); diff != "" {
			t.Errorf("%+v: %s", o, diff)
		}
	}
	if log, err := w.runner.Follow(context.Background(), w.placed(), "a/b/f", jobs.FollowOptions{MaxTime: time.Nanosecond}); err != nil || log.Uncompared != len(want)-1 {
		t.Errorf("%+v, %v", log, err)
	}
}

// A backup that was received whole has no file in common with the one before: no comparison, which would say that everything was replaced.
func TestFollowUnrelatedBackups(t *testing.T) {
	w := newWorld(t, 1)
	names := w.runs(func() { w.write("f", "1") })
	l := w.listing()
	must(t, btrfs.Delete(w.job.SnapshotDir, l.Snapshots[0].Name, l.Snapshots[0].UUID))
	names = append(names, w.runs(func() { w.write("f", "22") })...) // there is no parent any more
	if r := w.listing().Snapshots; len(r) != 1 {
		t.Fatalf("%+v", r)
	}
	if diff := cmp.Diff([]string{"1>2 changed 1>2 ~", "0>1 first ~"}, w.follow(names, "f", jobs.FollowOptions{MaxTime: time.Minute})); diff != "" {
		t.Error(diff)
	}
}

// Every name is followed as it is, however it looks.
func TestFollowHostileNames(t *testing.T) {
	w := newWorld(t, 0)
	hostile := []string{"*", "[x]", "-n", "new\nline", "\xff"}
	names := w.runs(func() {
		for _, n := range hostile {
			w.write(n, "1")
		}
	}, func() {
		for _, n := range hostile {
			must(t, unix.Rename(w.at(n), w.at(n+"2")))
		}
	})
	for _, n := range hostile {
		want := []string{fmt.Sprintf("1>2 renamed to %q", n+"2"), "0>1 first ~"}
		if diff := cmp.Diff(want, w.follow(names, n, jobs.FollowOptions{MaxTime: time.Minute})); diff != "" {
			t.Errorf("%q: %s", n, diff)
		}
	}
}
