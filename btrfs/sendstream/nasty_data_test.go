package sendstream

import (
	"strings"

	"golang.org/x/sys/unix"
)

// nastyData are about what files hold and how it lies on the disk.
var nastyData = map[string]change{
	"hole at the end of a file": {
		func(s scene) { s.file(200_000, "punched", "cut", "grown", "replaced"); s.text("small", "x") },
		func(s scene) {
			s.punch("punched", 100_000, 1<<20)
			s.truncate("cut", 50_000)
			s.truncate("cut", 200_000)
			s.truncate("grown", 1<<30)
			s.truncate("small", 8192)
			s.remove("replaced")
			s.text("replaced", "x")
			s.truncate("replaced", 1<<20)
		},
		[]string{
			"v2 compressed: fallocate punched size=97600 file_offset=102400 fallocate_mode=0x3",
			`v1: write cut file_offset=151552 data=\(48448 bytes\)`, "v2 compressed: fallocate cut size=146752 file_offset=53248",
			"truncate grown size=1073741824", "truncate small size=8192", "truncate replaced size=1048576",
		},
	},
	"hole in a file": {
		func(s scene) {
			s.file(400_000, "f", "g")
			s.text("text", strings.Repeat("how well this compresses\n", 20_000))
		},
		func(s scene) {
			s.punch("f", 4096, 8192)
			s.punch("f", 100_001, 100_001)
			s.punch("g", 0, 1<<20)
			s.punch("text", 131072, 200_000)
		},
		[]string{
			`v1: write f file_offset=4096 data=\(8192 bytes\)`, "v2 compressed: fallocate f size=8192 file_offset=4096 fallocate_mode=0x3",
			"v2 compressed: fallocate g size=400000 file_offset=0", "v2 compressed: fallocate text size=196608 file_offset=131072",
		},
	},
	"preallocated": {
		func(s scene) { s.file(10_000, "f", "g", "h"); s.fallocate("g", unix.FALLOC_FL_KEEP_SIZE, 0, 1<<20) },
		func(s scene) {
			s.fallocate("f", 0, 0, 1<<20)
			s.write("f", 500_000, "in the middle")
			s.write("g", 12_000, "behind the end")
			s.fallocate("h", unix.FALLOC_FL_ZERO_RANGE, 0, 5000)
		},
		[]string{
			"write f file_offset=12288", `write f file_offset=499712 data=\(4096 bytes\)`, "v2 compressed: fileattr f fileattr=0x10",
			`write g file_offset=8192 data=\(3822 bytes\)`, "write h file_offset=0",
		},
	},
	"small file lengthened in its first sector": {
		func(s scene) { s.text("a", strings.Repeat("a", 2048)); s.text("b", strings.Repeat("b", 100)); s.sync() },
		func(s scene) { s.truncate("a", 4096); s.truncate("b", 3000); s.write("b", 2999, "x") },
		[]string{
			`v1 v2: write a file_offset=0 data=\(4096 bytes\)`,
			`compressed: encoded_write a file_offset=0 unencoded_file_len=4096 .*data=\(\d\d bytes\)`,
			"compressed: encoded_write b file_offset=0 unencoded_file_len=3000 ",
		},
	},
	"small file lengthened by fallocate": { // see known.short
		func(s scene) { s.text("a", strings.Repeat("a", 2048)); s.text("b", strings.Repeat("b", 100)); s.sync() },
		func(s scene) { s.fallocate("a", 0, 2048, 2048); s.fallocate("b", 0, 0, 3000) },
		[]string{
			`v1 v2: write a file_offset=0 data=\(4096 bytes\)`, "compressed: encoded_write a file_offset=0 unencoded_file_len=2048 ",
			"compressed: encoded_write b file_offset=0 unencoded_file_len=100 ",
		},
	},
	"clone behind data in the inode": { // see clearSector
		func(s scene) { s.text("d", strings.Repeat("what was there before\n", 5000)); s.file(20_000, "f") },
		func(s scene) {
			s.text("d", strings.Repeat("d", 2000))
			s.sync()
			s.clone("f", 4096, 8192, "d", 8192)
		},
		[]string{
			`v1 v2: write d file_offset=0 data=\(4096 bytes\)`, "compressed: encoded_write d file_offset=0 unencoded_file_len=2000 ",
			"clone d file_offset=8192 .*clone_path=f clone_offset=4096 clone_len=8192",
		},
	},
	"clone from a truncated extent": {
		func(s scene) { s.file(131072, "f", "g", "h") },
		func(s scene) {
			s.clone("f", 0, 131072, "copy", 0)
			s.truncate("f", 50_001) // the extent goes on behind the end of the file that it is cloned from
			s.clone("g", 65536, 65536, "tail", 0)
			s.truncate("g", 70_000)
			s.clone("g", 65536, 0, "end", 0)
			s.truncate("h", 5000)
			s.clone("copy", 4096, 8192, "h", 8192)
		},
		[]string{
			"truncate f size=50001", "clone h file_offset=8192 .*clone_path=f clone_offset=4096 clone_len=8192",
			"clone copy file_offset=0 .*clone_path=f clone_offset=0 clone_len=131072", `write tail file_offset=0 data=\(4464 bytes\)`,
			"write tail file_offset=4464",
		},
	},
	"clone of a tail that is not a whole sector": { // Linux 6.18 writes what is no longer than one
		func(s scene) { s.file(100_001, "f", "g") },
		func(s scene) {
			s.clone("f", 90_112, 0, "tail", 0)
			s.truncate("g", 98_400)
			s.clone("g", 90_112, 0, "cut", 0)
		},
		[]string{
			"truncate tail size=0", "clone tail file_offset=0 .*clone_path=f clone_offset=90112 clone_len=9889", "truncate cut size=0",
			"clone cut file_offset=0 .*clone_path=g clone_offset=90112 clone_len=8288",
		},
	},
	"clones from files that move": {
		func(s scene) { s.mkdir("a", "b"); s.file(100_000, "a/f", "b/g") },
		func(s scene) {
			s.clone("a/f", 0, 0, "a/copy", 0)
			s.clone("b/g", 0, 8192, "b/part", 4096)
			s.swap("a", "b")
			s.move("b/f", "moved")
			s.remove("a/g")
			s.clone("moved", 8192, 8192, "moved", 0)
		},
		[]string{
			"rename b path_to=o…", "rename a path_to=b", "clone moved file_offset=0 .*clone_path=a/f clone_offset=8192 clone_len=8192",
			"unlink a/g", "clone b/copy file_offset=0 .*clone_path=a/f clone_offset=0 clone_len=100000", "clone a/part file_offset=4096",
		},
	},
	"flags that forbid copy-on-write": {
		func(s scene) {
			s.text("f", "")
			s.flags("f", flagNoCOW)
			s.write("f", 0, strings.Repeat("text ", 5000))
		},
		func(s scene) {
			s.write("f", 8192, "changed")
			s.text("g", "")
			s.flags("g", flagNoCOW)
			s.write("g", 0, strings.Repeat("text ", 5000))
		},
		[]string{`write f file_offset=8192 data=\(4096 bytes\)`, `write g file_offset=0 data=\(25000 bytes\)`},
	},
	"compression property": {
		func(s scene) {
			s.mkdir("d")
			s.xattr("d", xattrCompression, []byte("lzo"))
			s.text("d/f", strings.Repeat("text ", 5000))
		},
		func(s scene) {
			s.xattr("d", xattrCompression, []byte("zlib"))
			s.text("d/g", strings.Repeat("text ", 5000))
			s.move("d/f", "f")
		},
		[]string{
			"full: compressed: encoded_write d/f .*compression=3", `set_xattr d xattr_name=btrfs.compression xattr_data="zlib"`,
			`set_xattr d/g xattr_name=btrfs.compression xattr_data="zlib"`, "compressed: encoded_write d/g .*compression=1",
		},
	},
	"sparse": {
		func(s scene) {
			s.text("f", "x")
			s.truncate("f", 8<<30)
			s.write("f", 5<<30, "far")
			s.text("cut", "x")
			s.truncate("cut", 1<<40)
		},
		func(s scene) {
			s.write("f", 7<<30+1, "farther")
			s.text("g", "")
			s.truncate("g", 1<<40)
			s.truncate("cut", 1<<30)
		},
		[]string{
			"full: write f file_offset=5368709120", "full: truncate f size=8589934592", "full: truncate cut size=1099511627776",
			"write f file_offset=7516192768", "truncate cut size=1073741824", "truncate g size=1099511627776",
		},
	},
}
