package sendstream

import (
	"bytes"
	"encoding/binary"
	"io"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// FuzzDecode: no input makes the decoder panic; what it accepts is encoded to something that says the same, in the same length.
func FuzzDecode(f *testing.F) {
	for _, c := range corpora(f) {
		f.Add(c.stream)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = withChecksums(raw)
		if err := decodeAll(bytes.NewReader(raw)); err != nil {
			return
		}
		if !bytes.HasPrefix(raw, []byte(magic)) {
			t.Error("accepted without a header")
		}
		again := encodeAgain(t, raw) // with the attributes of each command in another order
		if len(again) != len(raw) || !bytes.Equal(encodeAgain(t, again), again) {
			t.Errorf("%d bytes become %d, and others when encoded again", len(raw), len(again))
		}
		was, is := NewDecoder(bytes.NewReader(raw)), NewDecoder(bytes.NewReader(again))
		for a, err := was.Next(); err == nil; a, err = was.Next() {
			b, err := is.Next()
			ok(t, err)
			if a.Cmd != b.Cmd || !maps.EqualFunc(collect(a), collect(b), bytes.Equal) {
				t.Fatalf("%s became %s", a, b)
			}
		}
	})
}

// encodeAgain decodes a stream and encodes what it says.
func encodeAgain(t testing.TB, stream []byte) []byte {
	t.Helper()
	d := NewDecoder(bytes.NewReader(stream))
	version, err := d.Version()
	ok(t, err)
	var out bytes.Buffer
	e, err := NewEncoder(&out, version)
	ok(t, err)
	for {
		c, err := d.Next()
		if err == io.EOF {
			return out.Bytes()
		}
		ok(t, err)
		var values []Value
		for a, raw := range c.Attrs() {
			values = append(values, Value{a, raw})
		}
		ok(t, e.Encode(c.Cmd, values...))
	}
}

// FuzzTap: what a tap passes on with an END is the input, and the decoder accepts it.
func FuzzTap(f *testing.F) {
	for _, c := range corpora(f) {
		f.Add(c.stream, 4096, true)
		f.Add(c.stream, 7, false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, chunk int, fix bool) {
		if fix {
			raw = withChecksums(raw)
		}
		out, sum, err := tapped(&Tap{}, &trickle{raw, max(1, chunk)})
		if !bytes.HasPrefix(raw, out) || int64(len(out)) != sum.Bytes {
			t.Errorf("%d bytes passed on, %d counted, not a part of the input", len(out), sum.Bytes)
		}
		if err != nil && len(out) == len(raw) && len(raw) > 0 && sum.Ended {
			t.Errorf("all passed on and %v", err)
		}
		if err != nil {
			return
		}
		if err := decodeAll(bytes.NewReader(out)); err != nil {
			t.Errorf("passed on, but %v", err)
		}
		renamed, _, err := tapped(&Tap{Name: "renamed"}, bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if back, _, err := tapped(&Tap{Name: sum.Path}, bytes.NewReader(renamed)); err != nil || len(back) != len(raw) {
			t.Errorf("renamed and back: %d bytes of %d, %v", len(back), len(raw), err)
		}
	})
}

// FuzzReceive: no input makes a receiver change anything outside the new subvolume, or leave something that looks complete where it gave an error.
func FuzzReceive(f *testing.F) {
	disk := testdisk.New(f, testdisk.Options{InMemory: true, MountOptions: "nodev"}).Path
	outside, dir := filepath.Join(disk, "outside"), filepath.Join(disk, "dir")
	for _, path := range []string{outside, dir} {
		ok(f, os.Mkdir(path, 0o700))
	}
	ok(f, os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600))
	before, err := testdisk.Digest(outside)
	ok(f, err)
	f.Add(small(f))
	for _, row := range escapes("../../outside") {
		f.Add(encode(row.commands...))
	}
	for _, c := range corpora(f) {
		f.Add(c.stream)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		defer remove(t, dir, "received")
		err := receive(dir, "received", withChecksums(raw))
		if path := filepath.Join(dir, "received"); complete(path) != (err == nil) {
			t.Errorf("%v, and complete is %v", err, complete(path))
		}
		after, err := testdisk.Digest(outside)
		ok(t, err)
		if after != before {
			t.Error("something outside has changed")
		}
		entries, err := os.ReadDir(dir)
		ok(t, err)
		if len(entries) > 1 {
			t.Error(entries)
		}
	})
}

// withChecksums makes the checksums right, so that the fuzzer gets past them.
func withChecksums(raw []byte) []byte {
	raw = bytes.Clone(raw)
	for pos := headerSize; pos+commandHeaderSize <= len(raw); {
		size := commandHeaderSize + int(binary.LittleEndian.Uint32(raw[pos:]))
		if size > len(raw)-pos {
			break
		}
		binary.LittleEndian.PutUint32(raw[pos+crcOffset:], 0)
		binary.LittleEndian.PutUint32(raw[pos+crcOffset:], checksum(raw[pos:pos+size]))
		pos += size
	}
	return raw
}
