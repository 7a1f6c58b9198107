package sendstream

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/btrkeep/btrkeep/btrfs"
)

// scene is a tree that a test makes and changes. Paths are below its root.
type scene struct {
	t    rapid.TB
	root string
}

func (s scene) at(path string) string { return filepath.Join(s.root, path) }

func (s scene) mkdir(paths ...string) {
	for _, path := range paths {
		ok(s.t, os.MkdirAll(s.at(path), 0o755))
	}
}

// file makes files of noise, which is neither compressed nor kept in the inode, as long as they are longer than 2 KiB.
func (s scene) file(size int, paths ...string) {
	for n, path := range paths {
		data := make([]byte, size)
		_, err := rand.NewChaCha8([32]byte{byte(n), byte(size)}).Read(data)
		ok(s.t, err)
		ok(s.t, os.WriteFile(s.at(path), data, 0o644))
	}
}

func (s scene) text(path, text string) { ok(s.t, os.WriteFile(s.at(path), []byte(text), 0o644)) }

// move is rename(2), which replaces empty directories; os.Rename does not.
func (s scene) move(from, to string) { ok(s.t, unix.Rename(s.at(from), s.at(to))) }
func (s scene) swap(a, b string)     { ok(s.t, exchange(s.at(a), s.at(b))) }
func (s scene) link(old, name string) {
	ok(s.t, os.Link(s.at(old), s.at(name)))
}

func (s scene) remove(paths ...string) {
	for _, path := range paths {
		ok(s.t, os.RemoveAll(s.at(path)))
	}
}

func (s scene) truncate(path string, size int64) { ok(s.t, os.Truncate(s.at(path), size)) }

func (s scene) write(path string, offset int64, text string) {
	f, err := os.OpenFile(s.at(path), os.O_WRONLY, 0)
	ok(s.t, err)
	_, err = f.WriteAt([]byte(text), offset)
	ok(s.t, err)
	ok(s.t, f.Close())
}

func (s scene) fallocate(path string, mode uint32, offset, length int64) {
	f, err := os.OpenFile(s.at(path), os.O_WRONLY, 0)
	ok(s.t, err)
	ok(s.t, unix.Fallocate(int(f.Fd()), mode, offset, length))
	ok(s.t, f.Close())
}

func (s scene) punch(path string, offset, length int64) {
	s.fallocate(path, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, length)
}

// clone shares a range; length 0 is up to the end.
func (s scene) clone(from string, offset, length uint64, to string, at uint64) {
	src, err := os.Open(s.at(from))
	ok(s.t, err)
	dst, err := os.OpenFile(s.at(to), os.O_RDWR|os.O_CREATE, 0o644)
	ok(s.t, err)
	ok(s.t, unix.IoctlFileCloneRange(int(dst.Fd()), &unix.FileCloneRange{Src_fd: int64(src.Fd()), Src_offset: offset, Src_length: length, Dest_offset: at}))
	ok(s.t, src.Close())
	ok(s.t, dst.Close())
}

func (s scene) xattr(path, name string, value []byte) {
	ok(s.t, unix.Lsetxattr(s.at(path), name, value, 0))
}

func (s scene) chown(path string, id int) { ok(s.t, os.Lchown(s.at(path), id, id)) }

func (s scene) node(path string, mode uint32, major, minor uint32) {
	ok(s.t, unix.Mknod(s.at(path), mode, int(unix.Mkdev(major, minor))))
}

func (s scene) flags(path string, flags int) { ok(s.t, setFlags(s.at(path), flags)) }

// sync writes everything out, so that what follows meets extents on the disk.
func (s scene) sync() { ok(s.t, btrfs.Sync(s.root)) }

// nested is the path of directories in each other, called prefix1 and so on.
func nested(prefix string, from, to int) string {
	var names []string
	step := 1
	if to < from {
		step = -1
	}
	for n := from; n != to+step; n += step {
		names = append(names, fmt.Sprintf("%s%d", prefix, n))
	}
	return filepath.Join(names...)
}

// netRaw is a vfs_cap_data of revision 2 that allows CAP_NET_RAW.
var netRaw = append([]byte{1, 0, 0, 2, 0, 0x20}, make([]byte, 14)...)

const xattrCapability = "security.capability"
