package sendstream

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// Names that come and go, trade places and are used again, directories that change places with what is in them: the kernel then sends
// temporary names, detours and old paths. Both receivers must end with the same, which is the source.
func TestReceiveShuffledNames(t *testing.T) {
	l := newLab(t, "")
	number, refused := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		number++
		source := filepath.Join(l.source, fmt.Sprintf("source%d", number))
		run(t, "btrfs", "subvolume", "create", source)
		var made []string
		defer func() {
			for _, name := range made {
				for _, dir := range []string{l.source, l.progs, l.native} {
					if path := filepath.Join(dir, name); exists(path) {
						run(t, "btrfs", "subvolume", "delete", path)
					}
				}
			}
			run(t, "btrfs", "subvolume", "delete", source)
		}()
		for step := range 3 {
			for range rapid.IntRange(1, 25).Draw(r, "changes") {
				shuffle(r, source)
			}
			name := fmt.Sprintf("%d-%d", number, step)
			takeSnapshot(t, source, name)
			args := []string{"--proto", rapid.SampledFrom([]string{"1", "2"}).Draw(r, "protocol")}
			if step > 0 {
				args = append(args, "-p", filepath.Join(l.source, made[step-1]))
			}
			made = append(made, name)
			if err := l.apply(r, Receiver{}, name, args...); err != nil {
				refused++ // a fault of this kernel's send
				return
			}
			wantBackup(r, filepath.Join(l.source, name), filepath.Join(l.native, name))
		}
	})
	t.Logf("%d sequences; of %d, btrfs receive did not like the stream", number, refused)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// shuffle makes one change among few names. What cannot be done is left.
func shuffle(r *rapid.T, root string) {
	names := []string{"a", "b", "c", "a/a", "a/b", "b/a", "b/b", "c/a", "a/a/a", "a/b/c", "b/a/c", "c/a/b"}
	name := func() string { return filepath.Join(root, rapid.SampledFrom(names).Draw(r, "name")) }
	var err error
	switch from, to := name(), name(); rapid.IntRange(0, 15).Draw(r, "change") {
	case 0, 1:
		err = os.Mkdir(from, 0o755)
	case 2, 3:
		err = os.WriteFile(from, []byte(to), 0o644)
	case 4:
		err = os.WriteFile(from, make([]byte, 20_000), 0o600)
	case 5, 6, 7:
		err = os.Rename(from, to)
	case 8, 9:
		err = unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE)
	case 10:
		err = os.Remove(from)
	case 11:
		err = os.RemoveAll(from)
	case 12:
		err = os.Link(from, to)
	case 13:
		err = os.Symlink(to, from)
	case 14:
		err = unix.Setxattr(from, "system.posix_acl_default", defaultACL, 0)
	case 15:
		err = unix.Setxattr(from, "btrfs.compression", []byte("zstd"), 0)
	}
	harmless := []error{
		unix.ENOENT, unix.EEXIST, unix.ENOTDIR, unix.EISDIR, unix.ENOTEMPTY, unix.EINVAL, unix.EPERM, unix.ELOOP, unix.EACCES, unix.EOPNOTSUPP,
	}
	if err != nil && !slices.ContainsFunc(harmless, func(h error) bool { return errors.Is(err, h) }) {
		r.Fatal(err)
	}
}

// defaultACL lets user 1000 read, in the form of posix_acl_xattr.h.
var defaultACL = []byte{
	2, 0, 0, 0,
	1, 0, 6, 0, 255, 255, 255, 255,
	2, 0, 4, 0, 232, 3, 0, 0,
	4, 0, 4, 0, 255, 255, 255, 255,
	16, 0, 4, 0, 255, 255, 255, 255,
	32, 0, 0, 0, 255, 255, 255, 255,
}
