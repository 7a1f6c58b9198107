package sendstream

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Quote makes a path or name from a stream fit for a terminal and for one line: as it is if it is plain, else as a Go string literal. A stream is
// outside input, and so is any file name: both may hold control sequences, newlines and characters that turn the direction of text.
func Quote(s string) string {
	plain := s != "" && strings.TrimSpace(s) == s && !strings.Contains(s, "→") // which stands between two names
	for _, r := range s {
		plain = plain && unicode.IsPrint(r) && r != '"' && r != '\\'
	}
	if plain && utf8.ValidString(s) {
		return s
	}
	return strconv.Quote(s)
}

// String is the time in UTC by RFC 3339; as seconds and nanoseconds what that cannot write.
func (t Timespec) String() string {
	at := time.Unix(t.Sec, int64(t.Nsec)).UTC()
	const longest = 1 << 40 // seconds, far more than the year 9999
	if t.Sec < -longest || t.Sec > longest || at.Year() < 0 || at.Year() > 9999 || t.Nsec >= 1e9 {
		return fmt.Sprintf("%d s %d ns", t.Sec, t.Nsec)
	}
	return at.Format(time.RFC3339Nano)
}

// Get gives the value of an attribute in the type that suits it: uint64, btrfs.UUID, Timespec, string for paths, names and link targets, and []byte for
// data, the values of xattrs and what is binary of fs-verity, valid until the next command is read. It is nil for an attribute that is not there.
func (c *Command) Get(a Attr) any {
	switch {
	case !c.have.has(a):
		return nil
	case a == AttrUUID || a == AttrCloneUUID:
		return c.UUID(a)
	case a == AttrData || a == AttrXattrData || a == AttrVeritySaltData || a == AttrVeritySigData:
		return c.Bytes(a)
	case attributes[a].size == timespecSize:
		return c.Time(a)
	case attributes[a].size == anySize:
		return c.Text(a)
	}
	return c.Uint(a)
}

// String is the command on one line that is fit for a terminal: its name, its path, then what else it says as name=value.
func (c *Command) String() string {
	var b strings.Builder
	b.WriteString(c.Cmd.String())
	if c.Has(AttrPath) {
		b.WriteByte(' ')
		b.WriteString(quotePath(c.Path()))
	}
	for a := range c.Attrs() {
		if a != AttrPath {
			fmt.Fprintf(&b, " %s=%s", a, c.word(a))
		}
	}
	return b.String()
}

// quotePath writes the root of the subvolume, whose path is empty, as a dot.
func quotePath(path string) string {
	if path == "" {
		return "."
	}
	return quoteWord(path)
}

// quoteWord is Quote for what stands among other words on a line.
func quoteWord(s string) string {
	if strings.ContainsAny(s, " =") {
		return strconv.Quote(s)
	}
	return Quote(s)
}

// maxShown is how much of the value of an xattr is shown.
const maxShown = 64

func (c *Command) word(a Attr) string {
	switch v := c.Get(a).(type) {
	case string:
		return quoteWord(v)
	case []byte:
		switch {
		case a == AttrData:
			return fmt.Sprintf("(%d bytes)", len(v))
		case len(v) > maxShown:
			return fmt.Sprintf("%q… (%d bytes)", v[:maxShown], len(v))
		}
		return strconv.Quote(string(v))
	case uint64:
		switch a {
		case AttrMode:
			return fmt.Sprintf("%#o", v)
		case AttrFileattr, AttrFallocateMode:
			return fmt.Sprintf("%#x", v)
		case AttrRdev:
			return fmt.Sprintf("%d:%d", unix.Major(v), unix.Minor(v))
		}
		return strconv.FormatUint(v, 10)
	default:
		return fmt.Sprint(v)
	}
}
