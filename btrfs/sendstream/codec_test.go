package sendstream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/btrkeep/btrkeep/btrfs"
)

func TestEndOnTheWire(t *testing.T) {
	got := streamOf(t, 1, end)
	want := append([]byte("btrfs-stream\x00\x01\x00\x00\x00"), 0, 0, 0, 0, 0x15, 0, 0x50, 0x6c, 0xc9, 0x9d)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Whatever is encoded is decoded as it was, however it comes in.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		version := rapid.IntRange(1, MaxVersion).Draw(r, "version")
		sent := []handmade{subvol}
		for range rapid.IntRange(0, 30).Draw(r, "commands") {
			sent = append(sent, drawCommand(r, version))
		}
		sent = append(sent, end)
		raw := streamOf(t, version, sent...)
		d := NewDecoder(&trickle{raw, rapid.IntRange(1, 9000).Draw(r, "bytes at a time")})
		for i, want := range sent {
			got, err := d.Next()
			if err != nil {
				r.Fatal(err)
			}
			if got.Cmd != want.cmd {
				r.Fatalf("command %d: %s, want %s", i+1, got.Cmd, want.cmd)
			}
			if diff := cmp.Diff(byAttr(want.values), collect(got)); diff != "" {
				r.Fatalf("command %d (%s): %s", i+1, got.Cmd, diff)
			}
		}
		if _, err := d.Next(); err != io.EOF {
			r.Fatalf("after END: %v", err)
		}
		if got := d.Offset(); got != int64(len(raw)) {
			r.Errorf("offset %d of %d", got, len(raw))
		}
	})
}

// Each attribute is encoded in the size that the decoder wants, and its value comes out as it went in, the lowest and the highest.
func TestEveryAttribute(t *testing.T) {
	for a := AttrUUID; a <= maxAttrV3; a++ {
		var values []any
		switch size := attributes[a].size; {
		case a == AttrUUID || a == AttrCloneUUID:
			values = []any{btrfs.UUID{}, btrfs.UUID(testUUID)}
		case size == timespecSize:
			values = []any{Timespec{}, Timespec{-1 << 63, 1<<32 - 1}, Timespec{1<<63 - 1, 1}}
		case size == anySize:
			values = []any{"x", strings.Repeat("x", 255)}
		default:
			values = []any{uint64(0), uint64(1), ^uint64(0) >> (64 - 8*size)}
		}
		for _, want := range values {
			var v Value
			switch want := want.(type) {
			case btrfs.UUID:
				v = UUID(a, want)
			case Timespec:
				v = Time(a, want)
			case string:
				v = Text(a, want)
			case uint64:
				v = Uint(a, want)
			}
			with := slices.DeleteFunc([]Value{path("f"), Uint(AttrMode, 0)}, func(v Value) bool { return v.Attr == a })
			d := NewDecoder(bytes.NewReader(streamOf(t, MaxVersion, subvol, command(CmdChmod, append(with, v)...), end)))
			_, err := d.Next()
			ok(t, err)
			c, err := d.Next()
			if err != nil {
				t.Errorf("%s %v: %v", a, want, err)
				continue
			}
			got := c.Get(a)
			if b, isBytes := got.([]byte); isBytes {
				got = string(b)
			}
			if got != want {
				t.Errorf("%s: %v, want %v", a, got, want)
			}
		}
	}
}

// drawCommand draws a command with all that it needs and perhaps more.
func drawCommand(r *rapid.T, version int) handmade {
	cmds := []Cmd{}
	for c := CmdMkfile; c <= maxCmd(version); c++ {
		if c != CmdEnd {
			cmds = append(cmds, c)
		}
	}
	cmd := rapid.SampledFrom(cmds).Draw(r, "command")
	var values []Value
	for a := AttrUUID; a <= maxAttr(version); a++ {
		more := a != AttrData && rapid.IntRange(0, 20).Draw(r, "more") == 0
		if a != AttrData && (more || commands[cmd].need.has(a)) {
			values = append(values, Value{a, drawValue(r, a)})
		}
	}
	values = rapid.Permutation(values).Draw(r, "order")
	if commands[cmd].need.has(AttrData) {
		values = append(values, Value{AttrData, drawValue(r, AttrData)})
	}
	return handmade{cmd, values}
}

func drawValue(r *rapid.T, a Attr) []byte {
	switch size := attributes[a].size; {
	case size != anySize:
		return rapid.SliceOfN(rapid.Byte(), size, size).Draw(r, a.String())
	case a == AttrPath || a == AttrPathTo || a == AttrPathLink || a == AttrClonePath || a == AttrXattrName:
		return []byte(rapid.StringMatching(`[a-z\n "\\-]{1,9}(/[a-z.]{3,250}){0,3}`).Draw(r, a.String()))[:1]
	}
	return rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(r, a.String())
}

func collect(c *Command) map[Attr][]byte {
	m := map[Attr][]byte{}
	for a, v := range c.Attrs() {
		m[a] = append([]byte{}, v...)
	}
	return m
}

func byAttr(values []Value) map[Attr][]byte {
	m := map[Attr][]byte{}
	for _, v := range values {
		m[v.Attr] = append([]byte{}, v.Bytes...)
	}
	return m
}

// The streams of real kernels come out of the encoder as they went into the decoder.
func TestRecodeKernelStreams(t *testing.T) {
	for _, c := range corpora(t) {
		d := NewDecoder(bytes.NewReader(c.stream))
		version, err := d.Version()
		ok(t, err)
		var again bytes.Buffer
		e, err := NewEncoder(&again, version)
		ok(t, err)
		for {
			command, err := d.Next()
			if err == io.EOF {
				break
			}
			ok(t, err)
			ok(t, e.Encode(command.Cmd, inOrder(command)...))
		}
		if !bytes.Equal(again.Bytes(), c.stream) {
			t.Errorf("%s is not the same after decoding and encoding", c.name)
		}
	}
}

// inOrder gives a command's values in the order that they had.
func inOrder(c *Command) []Value {
	var values []Value
	for pos := 0; pos < len(c.payload); {
		a := Attr(binary.LittleEndian.Uint16(c.payload[pos:]))
		values = append(values, Value{a, c.Bytes(a)})
		pos = int(c.at[a].to)
	}
	return values
}

func TestValues(t *testing.T) {
	raw := streamOf(t, 2, snapshot,
		command(CmdUtimes, path(""), Time(AttrAtime, Timespec{-5, 999}), Time(AttrMtime, Timespec{1 << 40, 1}), Time(AttrCtime, Timespec{})),
		command(CmdFallocate, path("a/b"), Uint(AttrFallocateMode, 3), Uint(AttrFileOffset, 1<<40), Uint(AttrSize, 5)))
	d := NewDecoder(bytes.NewReader(raw))
	c, err := d.Next()
	ok(t, err)
	if c.UUID(AttrCloneUUID) != parentUUID || c.Uint(AttrCloneCtransid) != 66 || c.Path() != "sent" {
		t.Error(c.UUID(AttrCloneUUID), c.Uint(AttrCloneCtransid), c.Path())
	}
	c, err = d.Next()
	ok(t, err)
	if got := c.Time(AttrAtime); got != (Timespec{-5, 999}) {
		t.Error(got)
	}
	if c.Has(AttrOtime) || c.Time(AttrOtime) != (Timespec{}) || c.Uint(AttrOtime) != 0 || c.Bytes(AttrOtime) != nil {
		t.Error("otime is not there")
	}
	c, err = d.Next()
	ok(t, err)
	if c.Uint(AttrFallocateMode) != 3 || c.Uint(AttrFileOffset) != 1<<40 || c.Path() != "a/b" {
		t.Error(c.Uint(AttrFallocateMode), c.Uint(AttrFileOffset), c.Path())
	}
}

func TestEncoderRefuses(t *testing.T) {
	if _, err := NewEncoder(io.Discard, 4); !errors.Is(err, ErrVersion) {
		t.Errorf("version 4: %v", err)
	}
	e, err := NewEncoder(io.Discard, 2)
	ok(t, err)
	for name, err := range map[string]error{
		"is not last":  e.Encode(CmdWrite, Value{AttrData, nil}, path("x")),
		"is too long":  e.Encode(CmdSetXattr, Value{AttrXattrData, make([]byte, 65536)}),
		"are too long": e.Encode(CmdWrite, Value{AttrData, make([]byte, MaxCommand)}),
	} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNames(t *testing.T) {
	for c := CmdSubvol; c <= maxCmdV3; c++ {
		if strings.HasPrefix(c.String(), "command") {
			t.Errorf("%d has no name", c)
		}
	}
	for a := AttrUUID; a <= maxAttrV3; a++ {
		if strings.HasPrefix(a.String(), "attribute") {
			t.Errorf("%d has no name", a)
		}
	}
	// The last of each protocol, as send.h numbers them.
	got := []int{int(maxCmdV1), int(maxCmdV2), int(maxCmdV3), int(maxAttrV1), int(maxAttrV2), int(maxAttrV3)}
	if diff := cmp.Diff([]int{22, 25, 26, 24, 31, 35}, got); diff != "" {
		t.Error(diff)
	}
	if Cmd(99).String() != "command 99" || Attr(99).String() != "attribute 99" {
		t.Error(Cmd(99), Attr(99))
	}
}
