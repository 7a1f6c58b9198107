package diff_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream/diff"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// brief is a change on one line, without times and times alone.
func brief(c diff.Change) string {
	s := fmt.Sprintf("%s %s", c.Kind, c.Path)
	if c.From != "" && c.From != c.Path {
		s += " from " + c.From
	}
	if c.Type != diff.File {
		s += " " + string(c.Type)
	}
	if c.Written > 0 {
		s += fmt.Sprintf(" +%d", c.Written)
	}
	if c.Cloned > 0 {
		s += fmt.Sprintf(" cloned %d", c.Cloned)
	}
	for _, m := range c.Metadata {
		if m != "time" || c.Kind == diff.Metadata {
			s += " " + m
		}
	}
	if c.Replaced {
		s += " replaced"
	}
	if c.Link != "" {
		s += " = " + c.Link
	}
	return s
}

// What people do to files, and what diff makes of it. Lines of directories whose entries have changed are left out.
func TestBetween(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{MountOptions: "noatime"}).Path
	four := strings.Repeat("4096", 1024)
	type step func(at func(string) string) error
	write := func(name, text string) step {
		return func(at func(string) string) error { return os.WriteFile(at(name), []byte(text), 0o600) }
	}
	mkdir := func(name string) step { return func(at func(string) string) error { return os.Mkdir(at(name), 0o700) } }
	mv := func(from, to string) step {
		return func(at func(string) string) error { return os.Rename(at(from), at(to)) }
	}
	rm := func(name string) step { return func(at func(string) string) error { return os.RemoveAll(at(name)) } }
	ln := func(from, to string) step {
		return func(at func(string) string) error { return os.Link(at(from), at(to)) }
	}
	swap := func(a, b string) step {
		return func(at func(string) string) error {
			return unix.Renameat2(unix.AT_FDCWD, at(a), unix.AT_FDCWD, at(b), unix.RENAME_EXCHANGE)
		}
	}
	for i, c := range []struct {
		name          string
		before, after []step
		want          []string
	}{
		{"nothing", []step{write("f", "x")}, nil, nil},
		{"added and deleted", []step{write("old", four)}, []step{rm("old"), mkdir("d"), write("d/new", four)},
			[]string{"added d directory", "added d/new +4096", "deleted old"}},
		{"written into", []step{write("f", four+four+four)}, []step{func(at func(string) string) error {
			f, err := os.OpenFile(at("f"), os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("x"), 5000)
			return errors.Join(err, f.Close())
		}}, []string{"modified f +4096"}},
		{"truncated", []step{write("f", four+four)}, []step{func(at func(string) string) error { return os.Truncate(at("f"), 4096) }},
			[]string{"modified f"}},
		{"saved by an editor", []step{write("f", "old")}, []step{write(".f.tmp", four), mv(".f.tmp", "f")}, []string{"modified f +4096 replaced"}},
		{"rotated", []step{write("log", four)}, []step{mv("log", "log.1"), write("log", "new")}, []string{"added log +3", "renamed log.1 from log"}},
		{"put in the place of another", []step{write("a", "a"), write("b", "b")}, []step{mv("a", "b")}, []string{"deleted b", "renamed b from a"}},
		{"renamed and modified", []step{write("a", "a")}, []step{mv("a", "b"), write("b", four)}, []string{"renamed b from a +4096"}},
		{"two names swapped", []step{write("a", "a"), write("b", "b")}, []step{swap("a", "b")}, []string{"renamed a from b", "renamed b from a"}},
		{"three in a circle", []step{mkdir("a"), mkdir("b"), mkdir("c")}, []step{swap("a", "b"), swap("b", "c")},
			[]string{"renamed a from b directory", "renamed b from c directory", "renamed c from a directory"}},
		{"directory renamed, file in it modified", []step{mkdir("d"), write("d/f", "f"), write("d/g", "g")}, []step{mv("d", "e"), write("e/f", four)},
			[]string{"renamed e from d directory", "modified e/f from d/f +4096"}},
		{"parent and child change places", []step{mkdir("a"), mkdir("a/b"), write("a/b/f", "f")}, []step{mv("a/b", "c"), mv("a", "c/d")},
			[]string{"renamed c from a/b directory", "renamed c/d from a directory"}},
		{"saved from a deleted directory", []step{mkdir("d"), write("d/f", "f"), write("d/g", "g")}, []step{mv("d/f", "f"), rm("d")},
			[]string{"deleted d directory", "deleted d/g", "renamed f from d/f"}},
		{"directory deleted and made again", []step{mkdir("d"), write("d/f", "f"), write("d/g", "g")}, []step{rm("d"), mkdir("d"), write("d/f", four)},
			[]string{"modified d/f +4096 replaced", "deleted d/g"}},
		{"file to directory", []step{write("x", "x")}, []step{rm("x"), mkdir("x"), write("x/y", "y")}, []string{"deleted x", "added x directory", "added x/y +1"}},
		{"directory to file", []step{mkdir("x"), write("x/y", "y")}, []step{rm("x"), write("x", "x")}, []string{"deleted x directory", "added x +1", "deleted x/y"}},
		{"one name more", []step{write("a", "a")}, []step{ln("a", "b")}, []string{"added b = a"}},
		{"one name less", []step{write("a", "a"), ln("a", "b")}, []step{rm("a")}, []string{"deleted a"}},
		{"another of several names", []step{write("a", "a"), ln("a", "b")}, []step{ln("a", "c"), rm("b")}, []string{"renamed c from b"}},
		{"modified under all its names", []step{mkdir("d"), write("a", "a"), ln("a", "b"), ln("a", "d/c")}, []step{mv("d", "e"), write("b", four)},
			[]string{"modified a +4096", "modified b +4096", "renamed e from d directory", "modified e/c from d/c +4096"}},
		{"new with two names", nil, []step{write("b", four), ln("b", "a")}, []string{"added a +4096", "added b = a"}},
		{"metadata", []step{write("f", "f"), mkdir("d")}, []step{
			func(at func(string) string) error { return os.Chmod(at("f"), 0o755) },
			func(at func(string) string) error { return os.Chown(at("f"), 1, 2) },
			func(at func(string) string) error { return touch(at("d")) },
		}, []string{"metadata d directory time", "metadata f mode owner"}},
		{"mode of a directory and what is in it", []step{mkdir("d")}, []step{write("d/f", "f"), func(at func(string) string) error { return os.Chmod(at("d"), 0o755) }},
			[]string{"metadata d directory mode", "added d/f +1"}},
		{"capabilities stay", []step{write("f", "f"), func(at func(string) string) error {
			return unix.Lsetxattr(at("f"), "security.capability", capability, 0)
		}}, []step{func(at func(string) string) error { return os.Chmod(at("f"), 0o755) }}, []string{"metadata f mode"}},
		{"reflink", []step{write("a", four+four)}, []step{func(at func(string) string) error { return reflink(at("a"), at("b")) }}, []string{"added b cloned 8192"}},
		{"names as the kernel's own", []step{write("o257-1-0", "x"), mkdir("a"), mkdir("b")}, []step{swap("a", "b"), mv("o257-1-0", "o258-1-0")},
			[]string{"renamed a from b directory", "renamed b from a directory", "renamed o258-1-0 from o257-1-0"}},
		{"links", []step{func(at func(string) string) error { return os.Symlink("a", at("l")) }},
			[]step{rm("l"), func(at func(string) string) error { return os.Symlink("b", at("l")) }}, []string{"modified l symlink replaced"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, disk, fmt.Sprintf("home%d", i))
			defer l.close(t)
			for _, s := range c.before {
				ok(t, s(l.at))
			}
			older := l.snapshot(t)
			for _, s := range c.after {
				ok(t, s(l.at))
			}
			result, err := diff.Between(context.Background(), older, l.snapshot(t))
			ok(t, err)
			var got []string
			for _, c := range result.Changes {
				if !c.Implied {
					got = append(got, brief(c))
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("want (-) and got (+):\n%s", d)
			}
			wantScanned(t, l.snapshots[0], l.snapshots[1])
			wantScanned(t, l.snapshots[1], l.snapshots[0])
		})
	}
}

// An inode number that is used again after a remount is another file.
func TestInodeNumberUsedAgain(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{MountOptions: "noatime"})
	l := newLab(t, disk.Path, "home")
	ok(t, os.WriteFile(l.at("old"), []byte("old"), 0o600))
	was := inode(t, l.at("old"))
	older := l.snapshot(t)
	ok(t, os.Remove(l.at("old")))
	disk.Unmount()
	disk.Mount("noatime")
	ok(t, os.WriteFile(l.at("new"), []byte("new"), 0o600))
	if inode(t, l.at("new")) != was {
		t.Fatal("the number was not used again: the test is no test")
	}
	result, err := diff.Between(context.Background(), older, l.snapshot(t))
	ok(t, err)
	var got []string
	for _, c := range result.Changes {
		got = append(got, brief(c))
	}
	if d := cmp.Diff([]string{"metadata  directory time", "added new +3", "deleted old"}, got); d != "" {
		t.Error(d)
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	ok(t, unix.Stat(path, &st))
	return st.Ino
}

func TestBetweenRefuses(t *testing.T) {
	disk, other := testdisk.New(t, testdisk.Options{}).Path, testdisk.New(t, testdisk.Options{}).Path
	l, far := newLab(t, disk, "home"), newLab(t, other, "home")
	a, b, elsewhere := l.snapshot(t), l.snapshot(t), far.snapshot(t)
	plain := filepath.Join(disk, "plain")
	ok(t, os.Mkdir(plain, 0o700))
	for _, c := range []struct {
		older, newer string
		want         error
	}{
		{l.source, a, diff.ErrWritable},
		{a, l.source, diff.ErrWritable},
		{a, elsewhere, diff.ErrFileSystems},
		{a, plain, btrfs.ErrNotSubvolume},
		{t.TempDir(), a, btrfs.ErrNotBtrfs},
		{filepath.Join(disk, "missing"), a, os.ErrNotExist},
		{a, b, nil},
		{a, a, nil},
	} {
		result, err := diff.Between(context.Background(), c.older, c.newer)
		if !errors.Is(err, c.want) || len(result.Changes) > 0 {
			t.Errorf("%s, %s: %v, want %v; %+v", c.older, c.newer, err, c.want, result)
		}
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := diff.Between(cancelled, a, b); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// What a send would weigh is known before, full and incremental, in both protocols.
func TestSize(t *testing.T) {
	l := newLab(t, testdisk.New(t, testdisk.Options{MountOptions: "noatime"}).Path, "home")
	testdisk.Tree(t, l.source, testdisk.Spec{Seed: 2, Files: 50, MaxSize: 1 << 16})
	l.snapshot(t)
	ok(t, testdisk.Mutate(l.source, 3, 200))
	l.snapshot(t)
	parent, err := btrfs.Info(l.snapshots[0])
	ok(t, err)
	for _, version := range []int{1, 2} {
		for _, send := range []btrfs.Send{
			{Subvolume: l.snapshots[0], Version: version},
			{Subvolume: l.snapshots[1], Version: version},
			{Subvolume: l.snapshots[1], Version: version, Parent: parent.ID},
		} {
			size, err := diff.Size(context.Background(), send)
			ok(t, err)
			sent := weigh(t, send)
			t.Logf("protocol %d, parent %d: %d bytes expected, %d sent", version, send.Parent, size, sent)
			if off := 100 * float64(size-sent) / float64(sent); off < -1 || off > 1 {
				t.Errorf("off by %.1f %%", off)
			}
		}
	}
}

func weigh(t *testing.T, send btrfs.Send) int64 {
	t.Helper()
	stream, err := send.Start(context.Background())
	ok(t, err)
	var bytes int64
	for buf := make([]byte, 1<<20); ; {
		n, err := stream.Read(buf)
		bytes += int64(n)
		if err != nil {
			break
		}
	}
	ok(t, stream.Close())
	return bytes
}
