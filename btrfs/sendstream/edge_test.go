package sendstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// New files in a directory with a default ACL have the ACL that they had at the source: none. btrfs receive gives them the
// default one where that directory is the root.
func TestReceiverDoesNotInherit(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{}).Path
	target := testdisk.New(t, testdisk.Options{}).Path
	source := filepath.Join(disk, "source")
	run(t, "btrfs", "subvolume", "create", source)
	for _, dir := range []string{source, filepath.Join(source, "dir")} {
		corpusTree(t, dir)
		ok(t, os.Remove(filepath.Join(dir, "dir/text")))
		// Made before the ACL, so that it has none.
		ok(t, os.Mkdir(filepath.Join(dir, "olddir/sub"), 0o755))
		ok(t, unix.Setxattr(dir, xattrACLDefault, defaultACL, 0))
		ok(t, os.WriteFile(filepath.Join(dir, "heir"), nil, 0o640))
		ok(t, os.Mkdir(filepath.Join(dir, "heirs"), 0o750))
	}
	ok(t, unix.Setxattr(filepath.Join(source, "olddir"), xattrCompression, []byte("zlib"), 0))
	ok(t, os.Rename(filepath.Join(source, "empty"), filepath.Join(source, "olddir/empty")))
	first := takeSnapshot(t, source, "first")
	full := send(t, first)
	wantSent(t, []string{
		`set_xattr \. xattr_name=system.posix_acl_default`, "rename o… path_to=dir$", "set_xattr dir xattr_name=system.posix_acl_default",
		"set_xattr olddir xattr_name=btrfs.compression", "rename o… path_to=cloned", "!set_xattr cloned", "rename o… path_to=olddir/sub", "!set_xattr olddir/sub",
		"rename o… path_to=dir/cloned", "!set_xattr dir/cloned", "set_xattr dir/heir xattr_name=system.posix_acl_access",
	}, "v1", full)
	ok(t, receive(target, "first", full))
	wantBackup(t, first, filepath.Join(target, "first"))

	ok(t, unix.Removexattr(source, xattrACLDefault))
	for _, dir := range []string{source, filepath.Join(source, "dir")} {
		corpusTree(t, filepath.Join(dir, "olddir"))
	}
	second := takeSnapshot(t, source, "second")
	changed := send(t, "-p", first, second)
	wantSent(t, []string{
		`remove_xattr \. xattr_name=system.posix_acl_default`, "rename o… path_to=olddir/lzo", `set_xattr olddir/lzo xattr_name=btrfs.compression xattr_data="lzo"`,
		"rename o… path_to=dir/olddir/cloned", "!set_xattr dir/olddir/cloned",
	}, "v1", changed)
	ok(t, receive(target, "second", changed))
	wantBackup(t, second, filepath.Join(target, "second"))
}

// Files are complete whatever the umask is.
func TestReceiverIgnoresUmask(t *testing.T) {
	target := testdisk.New(t, testdisk.Options{}).Path
	first, _, full, _ := chain(t)
	was := syscall.Umask(0o777)
	err := receive(target, "a", full)
	syscall.Umask(was)
	ok(t, err)
	wantBackup(t, first, filepath.Join(target, "a"))
}

// A file made where the next command renames it to is the same as one that is renamed, whatever stands in the way.
func TestReceiverMakesFilesInPlace(t *testing.T) {
	target := testdisk.New(t, testdisk.Options{}).Path
	ino := Uint(AttrIno, 1)
	rename := func(from, to string) handmade { return command(CmdRename, path(from), Text(AttrPathTo, to)) }
	ok(t, receive(target, "a", streamOf(t, 1, subvol,
		command(CmdMkdir, path("o1"), ino), rename("o1", "dir"),
		mkfile("o2"), rename("o2", "dir/f"), write("dir/f", 0, []byte("first")),
		mkfile("o3"), rename("o3", "dir/f"), write("dir/f", 0, []byte("2nd")), // over it
		command(CmdSymlink, path("o4"), ino, Text(AttrPathLink, "f")), rename("o4", "dir/l"),
		mkfile("o5"), rename("o5", "o6"), rename("o6", "o7"), write("o7", 0, []byte("moved")),
		mkfile("o8"), write("o8", 0, []byte("a")), rename("o8", "o9"), write("o9", 1, []byte("b")), rename("dir", "dir2"), write("o9", 2, []byte("c")),
		write("dir2/f", 3, []byte("!")), rename("dir2/f", "dir2/g"), write("dir2/g", 4, []byte("?")), mkfile("dir2/f"), write("dir2/f", 0, []byte("new")),
		end)))
	for name, want := range map[string]string{"dir2/g": "2nd!?", "dir2/f": "new", "dir2/l": "new", "o7": "moved", "o9": "abc"} {
		got, err := os.ReadFile(filepath.Join(target, "a", name))
		ok(t, err)
		if string(got) != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	entries, err := os.ReadDir(filepath.Join(target, "a"))
	ok(t, err)
	if len(entries) != 3 {
		t.Error(entries)
	}
}

// What is kept open is the file or directory that has the path now, not one that had it before.
func TestReceiverFollowsNames(t *testing.T) {
	target := testdisk.New(t, testdisk.Options{}).Path
	mkdir := func(name string) handmade { return command(CmdMkdir, path(name), Uint(AttrIno, 1)) }
	rename := func(from, to string) handmade { return command(CmdRename, path(from), Text(AttrPathTo, to)) }
	link := func(name, to string) handmade { return command(CmdLink, path(name), Text(AttrPathLink, to)) }
	text := func(name, text string) handmade { return write(name, 0, []byte(text)) }
	acl := func(name string) handmade {
		return command(CmdSetXattr, path(name), Text(AttrXattrName, xattrACLDefault), Value{AttrXattrData, defaultACL})
	}
	for name, test := range map[string]struct {
		commands []handmade
		want     map[string]string
	}{
		"directory moved away": {
			[]handmade{mkdir("d"), mkfile("d/a"), rename("d", "e"), mkdir("d"), mkfile("d/b")},
			map[string]string{"e/a": "", "d/b": ""},
		},
		"directory below one moved away": {
			[]handmade{mkdir("d"), mkdir("d/d"), mkfile("d/d/a"), rename("d", "e"), mkdir("d"), mkdir("d/d"), mkfile("d/d/b")},
			map[string]string{"e/d/a": "", "d/d/b": ""},
		},
		"directory moved over one": {
			[]handmade{mkdir("d"), mkfile("d/a"), command(CmdUnlink, path("d/a")), mkdir("e"), rename("e", "d"), mkfile("d/b")},
			map[string]string{"d/b": ""},
		},
		"directory removed": {
			[]handmade{mkdir("d"), mkfile("d/a"), command(CmdUnlink, path("d/a")), command(CmdRmdir, path("d")), mkdir("d"), mkfile("d/b")},
			map[string]string{"d/b": ""},
		},
		"its directory moved": {
			[]handmade{mkfile("x"), mkdir("d"), mkfile("d/a"), text("d/a", "1"), rename("d", "e"), mkdir("d"), link("d/a", "x"), text("d/a", "2")},
			map[string]string{"e/a": "1", "d/a": "2", "x": "2"},
		},
		"moved over": {
			[]handmade{mkfile("x"), mkfile("a"), text("a", "1"), link("b", "a"), rename("x", "a"), text("a", "2")},
			map[string]string{"a": "2", "b": "1"},
		},
		"moved, and another in its place": {
			[]handmade{mkfile("x"), mkfile("a"), text("a", "1"), rename("a", "b"), link("a", "x"), text("a", "2")},
			map[string]string{"a": "2", "b": "1", "x": "2"},
		},
		"unlinked": {
			[]handmade{mkfile("x"), mkfile("a"), link("b", "a"), text("a", "1"), command(CmdUnlink, path("a")), link("a", "x"), text("a", "2")},
			map[string]string{"a": "2", "b": "1", "x": "2"},
		},
		"ACL later": {
			[]handmade{mkdir("d"), mkfile("d/a"), acl("d"), mkfile("o1"), rename("o1", "d/b"), mkfile("d/c"), mkfile("f"), acl(""), mkfile("g"), mkdir("h"), mkfile("h/i")},
			map[string]string{"d/a": "", "d/b": "", "d/c": "", "f": "", "g": "", "h/i": ""},
		},
	} {
		ok(t, receive(target, name, streamOf(t, 1, append(append([]handmade{subvol}, test.commands...), end)...)))
		for file, want := range test.want {
			file = filepath.Join(target, name, file)
			got, err := os.ReadFile(file)
			if err != nil || string(got) != want {
				t.Errorf("%s: %q, %v, want %q", file, got, err, want)
			}
			if _, err := unix.Getxattr(file, xattrACLAccess, nil); err != unix.ENODATA {
				t.Errorf("%s has an ACL: %v", file, err)
			}
		}
	}
	for name, commands := range map[string][]handmade{
		"made twice":       {mkfile("a"), mkfile("a")},
		"moved, then used": {mkdir("d"), mkfile("d/a"), rename("d", "e"), text("d/a", "1")},
		"gone, then used":  {mkfile("a"), command(CmdUnlink, path("a")), text("a", "1")},
	} {
		if err := receive(target, "bad", streamOf(t, 1, append(append([]handmade{subvol}, commands...), end)...)); err == nil {
			t.Errorf("%s: accepted", name)
		}
		s, err := btrfs.Info(filepath.Join(target, "bad"))
		ok(t, err)
		ok(t, btrfs.Delete(target, "bad", s.UUID))
	}
}

// More directories are used in turn than are kept open.
func TestReceiverManyDirectories(t *testing.T) {
	target := testdisk.New(t, testdisk.Options{}).Path
	commands := []handmade{subvol}
	dir := func(n int) string { return fmt.Sprintf("d%d", n) }
	for n := range 3 * openDirs {
		commands = append(commands, command(CmdMkdir, path(dir(n)), Uint(AttrIno, 1)))
	}
	for round := range 3 {
		for n := range 3 * openDirs {
			from, to := fmt.Sprintf("%s/%d", dir(n), round), fmt.Sprintf("%s/r%d", dir((n*7+1)%(3*openDirs)), n*3+round)
			commands = append(commands, mkfile(from), write(from, 0, []byte(from)), command(CmdRename, path(from), Text(AttrPathTo, to)),
				command(CmdLink, path(from), Text(AttrPathLink, to)), command(CmdUnlink, path(to)))
		}
	}
	before := openDescriptors(t)
	ok(t, receive(target, "a", streamOf(t, 1, append(commands, end)...)))
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors are open, %d were", after, before)
	}
	for n := range 3 * openDirs {
		for round := range 3 {
			name := fmt.Sprintf("%s/%d", dir(n), round)
			got, err := os.ReadFile(filepath.Join(target, "a", name))
			ok(t, err)
			if string(got) != name {
				t.Errorf("%s: %s", name, got)
			}
		}
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	ok(t, err)
	return len(entries)
}

func TestReceiverErrors(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{})
	dir := disk.Path
	raw := streamOf(t, 1, subvol, mkfile("f"), end)
	for _, name := range []string{"", ".", "..", "a/b", "a\x00", strings.Repeat("n", 256)} {
		if err := receive(dir, name, raw); err == nil {
			t.Errorf("name %q: accepted", name)
		}
	}
	if err := receive(filepath.Join(dir, "none"), "a", raw); !errors.Is(err, unix.ENOENT) {
		t.Error(err)
	}
	if err := receive(t.TempDir(), "a", raw); err == nil {
		t.Error("received on another file system")
	}
	ok(t, receive(dir, "a", raw))
	if err := receive(dir, "a", raw); !errors.Is(err, unix.EEXIST) {
		t.Errorf("taken name: %v", err)
	}
	ok(t, os.Mkdir(filepath.Join(dir, "dir"), 0o700))
	if err := receive(dir, "dir", raw); !errors.Is(err, unix.EEXIST) {
		t.Errorf("name of a directory: %v", err)
	}
	ok(t, os.Remove(filepath.Join(dir, "dir")))
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("enough")
	cancel(cause)
	if err := (Receiver{}).Receive(ctx, dir, "b", bytes.NewReader(raw)); !errors.Is(err, cause) {
		t.Errorf("cancelled: %v", err)
	}
	if err := (Receiver{}).Receive(context.Background(), dir, "b", io.MultiReader(bytes.NewReader(raw), errReader{cause})); !errors.Is(err, cause) {
		t.Errorf("an error after END: %v", err)
	}
	err := receive(dir, "c", streamOf(t, 1, subvol, mkfile("f"), write("g", 0, []byte("x")), end))
	if want := filepath.Join(dir, "c") + ": command 3: write: g: no such file or directory"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, want …%s", err, want)
	}
	disk.Remount("ro")
	if err := receive(dir, "d", raw); !errors.Is(err, unix.EROFS) {
		t.Errorf("read-only: %v", err)
	}
}

// A full disk is an error, and what is left is not a backup.
func TestReceiverDiskFull(t *testing.T) {
	dir := testdisk.New(t, testdisk.Options{Size: 120 << 20, Mixed: true}).Path
	commands := []handmade{subvol, mkfile("f")}
	data := make([]byte, 60<<10)
	for n := range 4000 {
		copy(data, fmt.Sprint(n))
		commands = append(commands, write("f", uint64(n*len(data)), data))
	}
	if err := receive(dir, "a", streamOf(t, 1, append(commands, end)...)); !errors.Is(err, unix.ENOSPC) {
		t.Error(err)
	}
	wantLeftover(t, dir, "a")
}
