package sendstream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
)

// TROUBLE 3: a stream that is cut anywhere is an error, and its END is not passed on.
func TestTapCutAnywhere(t *testing.T) {
	for _, c := range corpora(t) {
		for n := range c.stream {
			out, sum, err := tapped(&Tap{Name: "renamed"}, bytes.NewReader(c.stream[:n]))
			if !errors.Is(err, ErrCorrupt) || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%s cut at %d: %v", c.name, n, err)
			}
			if sum.Ended || bytes.HasSuffix(out, endBytes) {
				t.Fatalf("%s cut at %d: END was passed on", c.name, n)
			}
		}
	}
}

// A stream with any byte changed is an error.
func TestTapBitFlips(t *testing.T) {
	for _, c := range corpora(t) {
		flipped := bytes.Clone(c.stream)
		for n := range flipped {
			bit := byte(1) << (n % 8)
			flipped[n] ^= bit
			out, _, err := tapped(&Tap{}, bytes.NewReader(flipped))
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("%s, byte %d: %v", c.name, n, err)
			}
			if bytes.HasSuffix(out, endBytes) {
				t.Fatalf("%s, byte %d: END was passed on", c.name, n)
			}
			if !bytes.HasPrefix(c.stream, out) {
				t.Fatalf("%s, byte %d: it was passed on", c.name, n)
			}
			flipped[n] ^= bit
		}
	}
}

// row is a stream by hand.
type row struct {
	name     string
	commands []handmade
}

// malformed gives streams that are refused for what they say, whatever is there.
func malformed() []row {
	long := strings.Repeat("x/", 2047) + "xx" // 4096 bytes
	rows := []row{
		{"no subvolume", []handmade{mkfile("f"), end}},
		{"nothing", []handmade{end}},
		{"two subvolumes", []handmade{subvol, subvol, end}},
		{"snapshot later", []handmade{subvol, mkfile("f"), snapshot, end}},
		{"after END", []handmade{subvol, end, end}},
		{"command 0", []handmade{subvol, command(0), end}},
		{"protocol 3", []handmade{subvol, command(26, path("f")), end}},
		{"unknown", []handmade{subvol, command(9999), end}},
		{"path missing", []handmade{subvol, command(CmdUnlink), end}},
		{"size short", []handmade{subvol, command(CmdTruncate, path("f"), Value{AttrSize, make([]byte, 7)}), end}},
		{"size long", []handmade{subvol, command(CmdTruncate, path("f"), Value{AttrSize, make([]byte, 9)}), end}},
		{"twice", []handmade{subvol, command(CmdUnlink, path("f"), path("g")), end}},
		{"attribute 0", []handmade{subvol, command(CmdUnlink, path("f"), Value{}), end}},
		{"attribute 77", []handmade{subvol, command(CmdUnlink, path("f"), Value{77, nil}), end}},
		{"xattr name", []handmade{subvol, command(CmdRemoveXattr, path("f"), Text(AttrXattrName, "user.a\x00b")), end}},
		{"no xattr name", []handmade{subvol, command(CmdRemoveXattr, path("f"), Text(AttrXattrName, "")), end}},
	}
	for _, p := range []string{
		"/etc/passwd", "/", "..", "../x", "a/../../x", "a/..", ".", "./a", "a/.", "a//b", "a/", "a\x00b", "\x00", long, strings.Repeat("n", 256),
	} {
		bad, good := Text(AttrPath, p), path("good")
		rows = append(rows,
			row{"mkfile " + p, []handmade{subvol, command(CmdMkfile, bad, Uint(AttrIno, 1)), end}},
			row{"chmod " + p, []handmade{subvol, command(CmdChmod, bad, Uint(AttrMode, 0)), end}},
			row{"rename from " + p, []handmade{subvol, command(CmdRename, bad, Text(AttrPathTo, "x")), end}},
			row{"rename to " + p, []handmade{subvol, command(CmdRename, good, Text(AttrPathTo, p)), end}},
			row{"link to " + p, []handmade{subvol, command(CmdLink, good, Text(AttrPathLink, p)), end}},
			row{"clone of " + p, []handmade{subvol, command(CmdClone, good, Uint(AttrFileOffset, 0), Uint(AttrCloneLen, 1), UUID(AttrCloneUUID, testUUID),
				Uint(AttrCloneCtransid, 1), Text(AttrClonePath, p), Uint(AttrCloneOffset, 0)), end}},
			row{"not needed " + p, []handmade{subvol, command(CmdUnlink, good, Text(AttrPathTo, p)), end}},
			row{"subvolume " + p, []handmade{command(CmdSubvol, bad, UUID(AttrUUID, testUUID), Uint(AttrCtransid, 7)), end}},
		)
	}
	for _, cmd := range []Cmd{CmdMkdir, CmdUnlink, CmdRmdir, CmdTruncate} { // on the subvolume itself
		rows = append(rows, row{cmd.String(), []handmade{subvol, command(cmd, path(""), Uint(AttrIno, 1), Uint(AttrSize, 0)), end}})
	}
	return append(rows,
		row{"subvolume in a directory", []handmade{command(CmdSubvol, path("a/b"), UUID(AttrUUID, testUUID), Uint(AttrCtransid, 7)), end}},
		row{"symlink to NUL", []handmade{subvol, command(CmdSymlink, path("l"), Uint(AttrIno, 1), Text(AttrPathLink, "a\x00b")), end}})
}

func TestHostileStreams(t *testing.T) {
	for _, row := range malformed() {
		for version := 1; version <= MaxVersion; version++ {
			raw := streamOf(t, version, row.commands...)
			out, _, err := tapped(&Tap{}, bytes.NewReader(raw))
			if !errors.Is(err, ErrCorrupt) || bytes.HasSuffix(out, endBytes) {
				t.Errorf("%s: tap: %v", row.name, err)
			}
			if err := decodeAll(bytes.NewReader(raw)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: decoder: %v", row.name, err)
			}
		}
	}
}

// decodeAll reads a whole stream; nil means that it is well-formed.
func decodeAll(src io.Reader) error {
	d := NewDecoder(src)
	for {
		c, err := d.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for range c.Attrs() {
		}
	}
}

func TestHarmlessStreams(t *testing.T) {
	for _, commands := range [][]handmade{
		{command(CmdSymlink, path("l"), Uint(AttrIno, 1), Text(AttrPathLink, "/../../etc//passwd"))},
		{mkfile("a..b"), mkfile("..."), mkfile("..a"), mkfile(".a"), mkfile(" "), mkfile("-"), mkfile("\n"), mkfile("\xff")},
		{mkfile(strings.Repeat("n", 255)), mkfile(strings.Repeat("x/", 2047) + "x")},
		{command(CmdChmod, path(""), Uint(AttrMode, 0o755))},
	} {
		raw := streamOf(t, 1, append(append([]handmade{subvol}, commands...), end)...)
		if _, _, err := tapped(&Tap{}, bytes.NewReader(raw)); err != nil {
			t.Error(err)
		}
	}
}

func TestBadHeaders(t *testing.T) {
	raw := streamOf(t, 1, subvol, end)
	for version, want := range map[byte]error{0: ErrVersion, 1: nil, 4: ErrVersion, 255: ErrVersion} {
		raw[len(magic)] = version
		if _, _, err := tapped(&Tap{}, bytes.NewReader(raw)); !errors.Is(err, want) {
			t.Errorf("version %d: %v", version, err)
		}
	}
	for _, text := range []string{"", "b", "btrfs-stream", "not found\n", "btrfs-stream2\x00\x00\x00"} {
		if _, _, err := tapped(&Tap{}, strings.NewReader(text)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAnythingAfterEnd(t *testing.T) {
	for _, c := range corpora(t) {
		for _, tail := range []string{"\x00", "x", string(endBytes), string(c.stream)} {
			for _, n := range []int{1 << 20, len(c.stream)} { // with the END, and after it
				out, sum, err := tapped(&Tap{}, &trickle{append(bytes.Clone(c.stream), tail...), n})
				if !errors.Is(err, ErrCorrupt) || sum.Ended || len(out) >= len(c.stream) {
					t.Errorf("%s and %d bytes: %v", c.name, len(tail), err)
				}
			}
		}
	}
}

// A claim of up to 4 GiB is refused, or costs only what comes.
func TestHugeClaims(t *testing.T) {
	head := streamOf(t, 2, subvol)
	for _, claim := range []uint32{MaxCommand, MaxCommand + 1, 1 << 31, 1<<32 - 1} {
		raw := binary.LittleEndian.AppendUint32(bytes.Clone(head), claim)
		raw = append(append(raw, byte(CmdWrite), 0, 0, 0, 0, 0), make([]byte, 100_000)...)
		before := allocated()
		_, err := (&Tap{}).Copy(context.Background(), io.Discard, bytes.NewReader(raw))
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d: %v", claim, err)
		}
		if got := allocated() - before; got > 2*windowSize {
			t.Errorf("%d claimed and 100,000 sent: %d bytes allocated", claim, got)
		}
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// The longest command allowed passes.
func TestLongestCommand(t *testing.T) {
	fixed := len(streamOf(t, 2, write("f", 0, nil))) - headerSize - commandHeaderSize
	raw := streamOf(t, 2, subvol, write("f", 0, make([]byte, MaxCommand-fixed)), end)
	out, _, err := tapped(&Tap{}, bytes.NewReader(raw))
	ok(t, err)
	if !bytes.Equal(out, raw) {
		t.Error("altered")
	}
}
