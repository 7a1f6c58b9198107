package testdisk

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// OddNames are legal names that break careless programs.
func OddNames() []string {
	return []string{
		"with space", " leading and trailing ", "-rf", "--", ".hidden", "...", "~", "#", "0", "no",
		"new\nline", "tab\there", "carriage\rreturn", "bell\x07", "esc\x1b[31m", "\x01",
		`back\slash`, `quote"and'`, "`tick`", "$(touch pwned)", "${HOME}", "; true", "a|b&c", "*?[x]", "%s%n", "@+:,=",
		"ümläut", "日本語", "e\u0301", "\u00e9", "\u202eevil", "🗄", "invalid\xff\xfeutf8",
		"o257-1-0", strings.Repeat("n", 255), strings.Repeat("é", 127) + "x",
	}
}

func (g *grower) names(dir string) {
	g.mkdir(dir)
	for i, name := range OddNames() {
		g.file(filepath.Join(dir, name), int64(i))
		sub := g.mkdir(filepath.Join(dir, "in", name))
		g.file(filepath.Join(sub, name), 1)
		g.do(os.Symlink(name, filepath.Join(sub, "link")))
	}
}

// contents makes every way in which a file's extents can lie.
func (g *grower) contents(dir string) {
	g.mkdir(dir)
	for _, size := range []int64{0, 1, 2048, 4095, 4096, 4097, 1 << 20, 3<<20 + 17} {
		g.file(filepath.Join(dir, fmt.Sprintf("size%d", size)), size)
	}
	hole := func(name string, size int64, data ...int64) {
		path := g.file(filepath.Join(dir, name), 0)
		g.do(os.Truncate(path, size))
		for _, offset := range data {
			g.write(path, offset, 4096)
		}
	}
	hole("hole-only", 8<<20)
	hole("hole-large", 256<<20, 128<<20)
	hole("hole-start", 64<<10, 60<<10)
	hole("hole-end", 64<<10+5, 0)
	hole("hole-middle", 256<<10, 0, 128<<10, 252<<10)
	hole("hole-unaligned", 64<<10, 5000, 40001)
	hole("hole-inline", 4096+100, 4000)

	punched := g.file(filepath.Join(dir, "punched"), 256<<10)
	g.fallocate(punched, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 64<<10, 64<<10)
	inside := g.file(filepath.Join(dir, "preallocated"), 4096)
	g.fallocate(inside, 0, 0, 1<<20)
	g.write(inside, 512<<10, 4096)
	beyond := g.file(filepath.Join(dir, "preallocated-beyond-end"), 10000)
	g.fallocate(beyond, unix.FALLOC_FL_KEEP_SIZE, 0, 1<<20)

	g.reflink(filepath.Join(dir, "size1048576"), filepath.Join(dir, "reflink"))
	g.reflink(filepath.Join(dir, "size1048576"), filepath.Join(dir, "reflink-changed"))
	g.write(filepath.Join(dir, "reflink-changed"), 100<<10, 8192)
}

func (g *grower) write(path string, offset, n int64) {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		g.do(err)
		return
	}
	_, err = file.WriteAt(g.bytes(n), offset)
	g.do(err)
	g.do(file.Close())
}

func (g *grower) fallocate(path string, mode uint32, offset, n int64) {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		g.do(err)
		return
	}
	g.do(os.NewSyscallError("fallocate", unix.Fallocate(int(file.Fd()), mode, offset, n)))
	g.do(file.Close())
}

// reflink makes a copy that shares its blocks with from.
func (g *grower) reflink(from, to string) {
	source, err := os.Open(from)
	if err != nil {
		g.do(err)
		return
	}
	defer source.Close()
	target, err := os.Create(to)
	if err != nil {
		g.do(err)
		return
	}
	g.do(os.NewSyscallError("FICLONE", unix.IoctlFileClone(int(target.Fd()), int(source.Fd()))))
	g.do(target.Close())
}

// kinds makes everything that is not a regular file, and hard links.
func (g *grower) kinds(dir string) {
	in := func(name string) string { return filepath.Join(dir, name) }
	g.mkdir(in("empty"))
	g.mkdir(in("other"))
	g.do(os.Symlink("empty", in("link")))
	g.do(os.Symlink("/nowhere/at all", in("link-dangling")))
	g.do(os.Symlink("link-loop", in("link-loop")))
	g.do(os.Symlink(strings.Repeat("../x/", 700), in("link-long")))
	g.mknod(in("fifo"), unix.S_IFIFO|0o640, 0)
	g.mknod(in("socket"), unix.S_IFSOCK|0o755, 0)
	g.mknod(in("null"), unix.S_IFCHR|0o666, unix.Mkdev(1, 3))
	g.mknod(in("block"), unix.S_IFBLK|0o660, unix.Mkdev(259, 70000))
	g.mknod(in("whiteout"), unix.S_IFCHR, 0)

	file := g.file(in("hard"), 5000)
	for _, name := range []string{"hard2", "other/hard3", "empty-not", "other/" + strings.Repeat("l", 255)} {
		g.do(os.Link(file, in(name)))
	}
	g.do(os.Link(in("link-dangling"), in("link-dangling2")))
	g.do(os.Link(in("fifo"), in("other/fifo2")))
	// More names than fit into one inode item, so that extended refs are used.
	many := g.file(in("many"), 1)
	for i := range 150 {
		g.do(os.Link(many, in("other/"+strings.Repeat("m", 200)+string(rune('A'+i%26))+string(rune('a'+i/26)))))
	}
}

func (g *grower) mknod(path string, mode uint32, device uint64) {
	if err := unix.Mknod(path, mode, int(device)); err != nil {
		g.do(&os.PathError{Op: "mknod", Path: path, Err: err})
	}
}

// attributes makes modes, owners, xattrs, capabilities and ACLs.
func (g *grower) attributes(dir string) {
	in := func(name string) string { return filepath.Join(g.mkdir(dir), name) }
	for _, mode := range []uint32{0, 0o400, 0o777, 0o4755, 0o2755, 0o6711, 0o1644, 0o7777} {
		name := fmt.Sprintf("mode%04o", mode)
		g.do(unix.Chmod(g.file(in(name), 10), mode))
		g.do(unix.Chmod(g.mkdir(in(name+"-dir")), mode))
	}
	for _, owner := range []int{1000, 65534, 4_000_000_000} {
		name := fmt.Sprintf("owner%d", owner)
		path := g.file(in(name), 10)
		g.do(os.Chown(path, owner, owner+1))
		g.do(unix.Chmod(path, 0o6755)) // after chown, which takes these bits away
		g.do(os.Symlink("x", in(name+"-link")))
		g.do(os.Lchown(in(name+"-link"), owner, owner+1))
	}

	plain := g.file(in("xattr"), 100)
	g.xattr(plain, "user.empty", nil)
	g.xattr(plain, "user.binary", []byte("a\x00b\xff"))
	g.xattr(plain, "user."+strings.Repeat("n", 250), []byte("long name"))
	g.xattr(plain, "user.large", g.bytes(3000))
	g.xattr(plain, "trusted.btrkeep", []byte("t"))
	g.xattr(g.mkdir(in("xattr-dir")), "user.dir", []byte("d"))
	g.do(os.Symlink("x", in("xattr-link")))
	g.xattr(in("xattr-link"), "trusted.link", []byte("l"))

	capable := g.file(in("capability"), 100)
	g.do(os.Chown(capable, 1000, 1000)) // takes capabilities away, as above
	g.xattr(capable, "security.capability", capability(unix.CAP_NET_RAW))

	list := acl(0o6, 1000, 0o4, 0o4, 0o4, 0)
	g.xattr(g.file(in("acl"), 100), "system.posix_acl_access", list)
	g.xattr(g.mkdir(in("acl-dir")), "system.posix_acl_default", list)
}

func (g *grower) xattr(path, name string, value []byte) {
	if err := unix.Lsetxattr(path, name, value, 0); err != nil {
		g.do(&os.PathError{Op: "setxattr " + name, Path: path, Err: err})
	}
}

// capability is a vfs_cap_data of version 2 with one permitted, effective
// capability. See capability.h.
func capability(number uint) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0x02000001)
	b = binary.LittleEndian.AppendUint32(b, 1<<number)
	return append(b, make([]byte, 12)...)
}

// acl is a POSIX ACL with one named user, as posix_acl_xattr.h lays it out.
func acl(owner uint16, user uint32, userPerm, group, mask, other uint16) []byte {
	const nobody = ^uint32(0)
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, owner, nobody}, {2, userPerm, user}, {4, group, nobody}, {0x10, mask, nobody}, {0x20, other, nobody}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

func (g *grower) times(dir string) {
	g.mkdir(dir)
	for _, at := range []time.Time{
		time.Date(1901, 12, 14, 0, 0, 0, 1, time.UTC),
		time.Date(1969, 12, 31, 23, 59, 58, 123456789, time.UTC),
		time.Unix(0, 0), time.Unix(0, 1),
		time.Unix(1e9, 999999999),
		time.Unix(1<<31, 5),
		time.Date(2400, 1, 1, 0, 0, 0, 7, time.UTC),
	} {
		path := filepath.Join(dir, at.UTC().Format("2006-01-02.000000000"))
		g.touch(g.file(path, 3), at)
		g.do(os.Symlink("x", path+"-link"))
		g.touch(path+"-link", at)
	}
	g.touch(dir, epoch)
}
