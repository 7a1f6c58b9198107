package sendstream

import (
	"bytes"
	"io"
	"math"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestQuote(t *testing.T) {
	for name, want := range map[string]string{
		"plain":                 "plain",
		"dir/with space/ümlaut": "dir/with space/ümlaut",
		"":                      `""`,
		" edge":                 `" edge"`,
		"esc\x1b[31m":           `"esc\x1b[31m"`,
		"\u009b31m":             `"\u009b31m"`,
		"new\nline":             `"new\nline"`,
		"\u202eevil":            `"\u202eevil"`,
		"bad\xff":               `"bad\xff"`,
		"a → b":                 `"a → b"`,
		`quote"`:                `"quote\""`,
		`back\x1b`:              `"back\\x1b"`,
		"replaced\ufffd":        "replaced\ufffd",
	} {
		if got := Quote(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

// Whatever a stream says, its text is one line that a terminal shows as it is, and different names look different.
func TestCommandTextIsSafe(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a, b := string(rapid.SliceOf(rapid.Byte()).Draw(r, "a")), rapid.String().Draw(r, "b")
		if a != b && Quote(a) == Quote(b) {
			r.Errorf("%q and %q look the same", a, b)
		}
		var stream bytes.Buffer
		e, err := NewEncoder(&stream, 2)
		ok(r, err)
		ok(r, e.Encode(subvol.cmd, subvol.values...))
		path := strings.NewReplacer("/", "", "\x00", "").Replace("x" + a)[:1] + "y" + strings.NewReplacer("/", "", "\x00", "").Replace(b)
		if len(path) > nameMax {
			return
		}
		ok(r, e.Encode(CmdSetXattr, Text(AttrPath, path), Text(AttrXattrName, path), Text(AttrXattrData, a)))
		ok(r, e.Encode(CmdUtimes, Text(AttrPath, ""), Time(AttrAtime, Timespec{math.MinInt64, math.MaxUint32}), Time(AttrMtime, Timespec{-1, 5}),
			Time(AttrCtime, Timespec{math.MaxInt64, 0})))
		ok(r, e.Encode(CmdEnd))
		d := NewDecoder(&stream)
		for {
			c, err := d.Next()
			if err == io.EOF {
				break
			}
			ok(r, err)
			text := c.String()
			if !utf8.ValidString(text) || strings.ContainsFunc(text, func(x rune) bool { return !unicode.IsPrint(x) }) {
				r.Errorf("not safe: %q", text)
			}
		}
	})
}

func TestCommandText(t *testing.T) {
	stream := streamOf(t, 2, snapshot,
		command(CmdMknod, path("null"), Uint(AttrIno, 258), Uint(AttrMode, 0o20666), Uint(AttrRdev, 1<<8|3)),
		command(CmdSymlink, path("l"), Uint(AttrIno, 259), Text(AttrPathLink, "../a\nb")),
		command(CmdRename, path("a"), Text(AttrPathTo, "b c")),
		command(CmdSetXattr, path("f"), Text(AttrXattrName, "user.x"), Text(AttrXattrData, strings.Repeat("\x00", 100))),
		command(CmdFallocate, path("f"), Uint(AttrFallocateMode, 3), Uint(AttrFileOffset, 0), Uint(AttrSize, 4096)),
		command(CmdUtimes, path(""), Time(AttrAtime, Timespec{0, 1}), Time(AttrMtime, Timespec{-1, 0}), Time(AttrCtime, Timespec{1 << 60, 7})),
		command(CmdChmod, path("f"), Uint(AttrMode, 0o4755)),
		write("f", 131072, make([]byte, 5)), end)
	var got []string
	for d := NewDecoder(bytes.NewReader(stream)); ; {
		c, err := d.Next()
		if err == io.EOF {
			break
		}
		ok(t, err)
		got = append(got, c.String())
	}
	want := []string{
		"snapshot sent uuid=01020304-0000-0000-0000-000000000000 ctransid=77 clone_uuid=09080706-0000-0000-0000-000000000000 clone_ctransid=66",
		"mknod null ino=258 mode=020666 rdev=1:3",
		`symlink l ino=259 path_link="../a\nb"`,
		`rename a path_to="b c"`,
		`set_xattr f xattr_name=user.x xattr_data="` + strings.Repeat(`\x00`, 64) + `"… (100 bytes)`,
		"fallocate f size=4096 file_offset=0 fallocate_mode=0x3",
		"utimes . ctime=1152921504606846976 s 7 ns mtime=1969-12-31T23:59:59Z atime=1970-01-01T00:00:00.000000001Z",
		"chmod f mode=04755",
		"write f file_offset=131072 data=(5 bytes)",
		"end",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
