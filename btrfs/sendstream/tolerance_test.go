package sendstream

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// known tells which differences between what btrfs receive makes of streams and what Receiver makes of them are wanted. In all of these it is Receiver
// that is like the source, which its manifest is held against.
type known struct {
	t             rapid.TB
	progs, native string // the subvolumes that are compared

	// What the streams up to now say.
	acl        bool            // the root has had a default ACL
	properties map[string]bool // that the root has had
	ends       map[int64]bool  // of compressed data that lies in an inode

	inherited map[string]bool // the paths of what has inherited a property with btrfs receive
}

// stream takes note of one more.
func (k *known) stream(stream []byte) {
	each(k.t, stream, func(c *Command) {
		switch {
		case c.Cmd == CmdSetXattr && c.Path() == "" && c.Text(AttrXattrName) == xattrACLDefault:
			k.acl = true
		case c.Cmd == CmdSetXattr && c.Path() == "" && c.Text(AttrXattrName) == xattrCompression:
			k.properties[string(c.Bytes(AttrXattrData))] = true
		case c.Cmd == CmdEncodedWrite && c.Uint(AttrFileOffset) == 0 && c.Uint(AttrUnencodedFileLen) < sector:
			k.ends[int64(c.Uint(AttrUnencodedFileLen))] = true
		}
	})
}

const sector = 4096

// each gives the commands of a stream.
func each(t rapid.TB, stream []byte, use func(c *Command)) {
	d := NewDecoder(bytes.NewReader(stream))
	for {
		c, err := d.Next()
		if err == io.EOF {
			return
		}
		ok(t, err)
		use(c)
	}
}

// difference reports whether one is known.
func (k *known) difference(diff string) bool {
	path, what := cutPath(k.t, diff)
	what, values, _ := strings.Cut(what, ": ")
	switch what {
	case "mtime":
		// btrfs receive changes the time of the root directory with each file that it makes there under a temporary name.
		return path == "."
	case "xattrs":
		return k.xattrs(path)
	case "content":
		var at int64
		n, _ := fmt.Sscanf(values, "differs at byte %d", &at)
		return n == 1 && at < sector && k.content(path)
	case "extents":
		// What has inherited a property is compressed.
		return k.inherited[path]
	}
	return false
}

// cutPath takes the path off a difference, or off a line of a manifest.
func cutPath(t rapid.TB, line string) (path, rest string) {
	quoted, err := strconv.QuotedPrefix(line)
	ok(t, err)
	path, err = strconv.Unquote(quoted)
	ok(t, err)
	return path, strings.TrimPrefix(line[len(quoted):], ": ")
}

// xattrs reports whether all that a path has more with btrfs receive is what it has inherited from the root: what btrfs receive makes there has the
// root's default ACL, and its property, whether or not it had one at the source.
func (k *known) xattrs(path string) bool {
	native := xattrsOf(k.t, k.native, path)
	for name, value := range xattrsOf(k.t, k.progs, path) {
		is, has := native[name]
		delete(native, name)
		switch {
		case has && is == value:
		case !has && (name == xattrACLAccess || name == xattrACLDefault) && k.acl:
		case !has && name == xattrCompression && k.properties[value]:
			k.inherited[path] = true
		default:
			return false
		}
	}
	return len(native) == 0
}

// content reports whether all that differs is zeros with Receiver, from the end of compressed data in the inode to the end of the sector. Linux 6.18 does
// not send these; see clearSector.
func (k *known) content(path string) bool {
	progs, native := contentOf(k.t, k.progs, path), contentOf(k.t, k.native, path)
	first := min(len(native), sector)
	if len(progs) != len(native) || !bytes.Equal(progs[first:], native[first:]) {
		return false
	}
	for end := range k.ends {
		if end < int64(first) && bytes.Equal(progs[:end], native[:end]) && len(bytes.Trim(native[end:first], "\x00")) == 0 {
			return true
		}
	}
	return false
}

// contentOf reads a file of a tree, whose path may be too long for the kernel.
func contentOf(t rapid.TB, tree, path string) []byte {
	root, err := os.OpenRoot(tree)
	ok(t, err)
	defer root.Close()
	content, err := root.ReadFile(path)
	ok(t, err)
	return content
}

// xattrsOf gives names and values of the xattrs that a path of a tree has.
func xattrsOf(t rapid.TB, tree, path string) map[string]string {
	root, err := os.OpenRoot(tree)
	ok(t, err)
	defer root.Close()
	dir, err := root.Open(filepath.Dir(path))
	ok(t, err)
	defer dir.Close()
	path = filepath.Join(fdPath(int(dir.Fd())), filepath.Base(path))
	buf := make([]byte, 64<<10) // XATTR_LIST_MAX, XATTR_SIZE_MAX
	n, err := unix.Llistxattr(path, buf)
	ok(t, err)
	found := map[string]string{}
	for _, name := range strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 }) {
		n, err := unix.Lgetxattr(path, name, buf)
		ok(t, err)
		found[name] = string(buf[:n])
	}
	return found
}

// manifest holds what Receiver made against the manifest of the source.
func (k *known) manifest(want []string) {
	t := k.t
	t.Helper()
	got, err := testdisk.Manifest(k.native)
	ok(t, err)
	name := filepath.Base(k.native)
	lines := map[string]string{}
	for _, line := range want {
		path, rest := cutPath(t, line)
		lines[path] = rest
	}
	for _, line := range got {
		path, is := cutPath(t, line)
		was, found := lines[path]
		delete(lines, path)
		switch {
		case !found:
			t.Errorf("%s: the source has no %q: %s", name, path, is)
		case was != is && !k.short(was, is):
			t.Errorf("%s: %q: %s\nat the source: %s", name, path, is, was)
		}
	}
	for path, was := range lines {
		t.Errorf("%s: %q is missing: %s", name, path, was)
	}
}

// short reports whether all that differs is that a file is shorter than at the source, as a compressed one is that lay in the inode and was lengthened by
// fallocate(2) within the first sector: Linux 6.18 sends it without its new length if its data is sent compressed.
func (k *known) short(was, is string) bool {
	size := func(line string) (size int64, rest string) {
		var mode, uid, gid int
		if n, _ := fmt.Sscanf(line, "mode %o owner %d:%d size %d ", &mode, &uid, &gid, &size); n != 4 {
			return 0, ""
		}
		return size, strings.Replace(line, fmt.Sprintf(" size %d ", size), " ", 1)
	}
	wasSize, wasRest := size(was)
	isSize, isRest := size(is)
	return k.ends[isSize] && isSize < wasSize && wasSize <= sector && isRest == wasRest
}
