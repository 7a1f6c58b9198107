package sendstream

import (
	"os"

	"golang.org/x/sys/unix"
)

// nastyMetadata are about what else files have.
var nastyMetadata = map[string]change{
	"xattr with empty value": {
		func(s scene) {
			s.mkdir("d")
			s.file(10, "f", "g")
			s.xattr("f", "user.was", nil)
			s.xattr("d", "user.filled", []byte("x"))
		},
		func(s scene) {
			s.xattr("f", "user.was", []byte("now"))
			s.xattr("g", "user.is", nil)
			s.xattr("d", "user.filled", nil)
			s.xattr(".", "user.root", nil)
		},
		[]string{
			`full: set_xattr f xattr_name=user.was xattr_data=""`, `set_xattr \. xattr_name=user.root xattr_data=""`,
			`set_xattr d xattr_name=user.filled xattr_data=""`, `set_xattr f xattr_name=user.was xattr_data="now"`,
			`set_xattr g xattr_name=user.is xattr_data=""`,
		},
	},
	"chown clears capabilities": {
		func(s scene) {
			s.file(5000, "a", "b", "c")
			s.xattr("a", xattrCapability, netRaw)
			s.xattr("c", xattrCapability, netRaw)
		},
		func(s scene) {
			s.chown("a", 1000)
			s.xattr("a", xattrCapability, netRaw) // again, as it was: in the stream it must come after the chown
			s.chown("b", 1000)
			s.xattr("b", xattrCapability, netRaw)
			s.chown("c", 1000) // without
			s.file(5000, "new")
			s.chown("new", 1001)
			s.xattr("new", xattrCapability, netRaw)
			ok(s.t, os.Chmod(s.at("new"), 0o755|os.ModeSetuid))
		},
		[]string{
			"chown a uid=1000", "set_xattr a xattr_name=security.capability", "remove_xattr c xattr_name=security.capability",
			"chown c uid=1000", "chown new uid=1001", "chmod new mode=04755", "set_xattr new xattr_name=security.capability",
		},
	},
	"write clears capabilities and set-user-ID": {
		func(s scene) {
			s.file(5000, "a")
			ok(s.t, unix.Chmod(s.at("a"), 0o6755))
			s.xattr("a", xattrCapability, netRaw)
		},
		func(s scene) {
			s.write("a", 100, "x")
			ok(s.t, unix.Chmod(s.at("a"), 0o6755))
			s.xattr("a", xattrCapability, netRaw)
		},
		[]string{"write a file_offset=0", "!chmod a", "set_xattr a xattr_name=security.capability"},
	},
	"immutable and append-only": {
		func(s scene) {
			s.mkdir("d")
			s.file(5000, "i", "a", "d/f", "later")
			s.flags("i", flagImmutable)
			s.flags("a", flagAppend)
			s.flags("d", flagImmutable)
		},
		func(s scene) {
			for _, path := range []string{"i", "a", "d"} {
				s.flags(path, 0)
			}
			s.write("i", 0, "changed")
			s.truncate("a", 10)
			s.move("d/f", "d/g")
			s.flags("i", flagImmutable|flagAppend)
			s.flags("d", flagAppend)
			s.flags("later", flagImmutable|flagNoDump)
		},
		[]string{
			"v2 compressed: fileattr d fileattr=0x80", "write i file_offset=0", "v2 compressed: fileattr i fileattr=0xc0",
			"truncate a size=10", "link d/g path_link=d/f", "v2 compressed: fileattr later fileattr=0x140",
		},
	},
	"compression property of the root": {
		func(s scene) {
			s.mkdir("dir/old")
			s.file(10, "before", "dir/before")
			s.xattr(".", xattrCompression, []byte("lzo"))
			s.file(10, "heir")
			s.mkdir("heirs")
			s.file(10, "heirs/f", "dir/f")
			s.node("fifo", unix.S_IFIFO|0o600, 0, 0)
			ok(s.t, os.Symlink("heir", s.at("link")))
		},
		func(s scene) { s.file(10, "dir/second", "heirs/second", "second"); s.move("before", "dir/moved") },
		[]string{
			`full: set_xattr \. xattr_name=btrfs.compression`, "full: rename o… path_to=before", "full: !set_xattr before",
			"full: set_xattr heir xattr_name=btrfs.compression", "full: mkfifo", "link dir/moved path_link=before", "rename o… path_to=second",
			"set_xattr second xattr_name=btrfs.compression",
		},
	},
	"default ACL of the root": {
		func(s scene) {
			s.mkdir("old")
			s.file(10, "none")
			s.xattr(".", xattrACLDefault, defaultACL)
			s.file(10, "heir")
			s.mkdir("dir")
		},
		func(s scene) { s.file(10, "dir/second", "old/none"); s.move("none", "dir/none") },
		[]string{
			`full: set_xattr \. xattr_name=system.posix_acl_default`, "full: rename o… path_to=none", "full: !set_xattr none",
			"full: set_xattr heir xattr_name=system.posix_acl_access", "link dir/none path_link=none", "rename o… path_to=old/none",
			"!set_xattr old/none",
		},
	},
	"device nodes": {
		func(s scene) {
			s.node("null", unix.S_IFCHR|0o666, 1, 3)
			s.node("block", unix.S_IFBLK|0o600, 259, 70_000)
			s.node("fifo", unix.S_IFIFO|0o600, 0, 0)
		},
		func(s scene) {
			s.remove("null")
			s.node("null", unix.S_IFCHR|0o600, 4095, 1<<20-1)
			s.move("block", "moved")
			s.swap("fifo", "moved")
			s.node("socket", unix.S_IFSOCK|0o600, 0, 0)
			s.node("whiteout", unix.S_IFCHR, 0, 0)
			s.link("fifo", "linked")
		},
		[]string{
			"full: mknod o… .*mode=020644 rdev=1:3", "full: mknod o… .*mode=060600 rdev=259:70000", "full: mkfifo o…",
			"rename fifo path_to=o…", "link fifo path_link=block", "mknod o… .*mode=020600 rdev=4095:1048575", "mksock o…",
			"mknod o… .*mode=020000 rdev=0:0",
		},
	},
}
