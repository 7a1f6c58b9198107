package sendstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// digestOf is the digest by the format alone, without the decoder: of whole commands.
func digestOf(stream []byte) []byte {
	le, h := binary.LittleEndian, sha256.New()
	h.Write(stream[:17])
	version := le.Uint32(stream[13:])
	for rest := stream[17:]; len(rest) > 0; {
		size := 10 + int(le.Uint32(rest))
		shown := size
		for at := 10; at < size; at += 4 + int(le.Uint16(rest[at+2:])) {
			if le.Uint16(rest[at:]) == 19 { // data, which is last
				shown = at + 4
				if version >= 2 {
					shown = at + 2
				}
				break
			}
		}
		h.Write(rest[:shown])
		rest = rest[size:]
	}
	return h.Sum(nil)
}

// positions are those between all commands of a stream.
func positions(t *testing.T, stream []byte) (all []Position) {
	t.Helper()
	dir := testdisk.New(t, testdisk.Options{}).Path
	r := Receiver{Checkpoints: &Checkpoints{Time: time.Nanosecond, Save: func(p Position) error {
		all = append(all, p)
		return nil
	}}}
	ok(t, r.Receive(context.Background(), dir, "received", bytes.NewReader(stream)))
	return all
}

// The same stream is skipped up to the byte, however it comes. One that differs before that in anything is found out; one that differs behind it is not.
func TestSkip(t *testing.T) {
	for version := 1; version <= 2; version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			stream := func(data, name string) []byte {
				return streamOf(t, version, subvol, mkfile("a"), write("a", 0, []byte(data)), mkfile(name), write(name, 4096, bytes.Repeat([]byte("x"), 5000)),
					command(CmdChmod, path("a"), Uint(AttrMode, 0o640)), mkfile("last"), end)
			}
			one := stream("some data", "b")
			all := positions(t, one)
			if len(all) < 4 {
				t.Fatalf("%d positions", len(all))
			}
			for _, p := range all {
				if want := digestOf(one[:p.Offset]); !bytes.Equal(want, p.Digest) {
					t.Fatalf("at %d: another digest than that of the bytes", p.Offset)
				}
				for _, in := range []io.Reader{bytes.NewReader(one), iotest.OneByteReader(bytes.NewReader(one)), iotest.DataErrReader(bytes.NewReader(one))} {
					ok(t, Skip(in, p))
					rest, err := io.ReadAll(in)
					if ok(t, err); !bytes.Equal(rest, one[p.Offset:]) {
						t.Fatalf("at %d: %d bytes are left, want %d", p.Offset, len(rest), int64(len(one))-p.Offset)
					}
				}
			}
			p := all[len(all)-2]
			for at := range one {
				changed := slices.Clone(one)
				changed[at] ^= 0x20
				err := Skip(bytes.NewReader(changed), p)
				found := errors.Is(err, ErrDiffers) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion)
				if before := int64(at) < p.Offset; before != found || !before && err != nil {
					t.Fatalf("byte %d, the place is %d: %v", at, p.Offset, err)
				}
			}
			// With checksums that are right.
			for what, other := range map[string][]byte{"data": stream("soma data", "b"), "a name": stream("some data", "c"), "order": streamOf(t, version, subvol, mkfile("b"), mkfile("a"), end), "nothing": nil} {
				if err := Skip(bytes.NewReader(other), p); !errors.Is(err, ErrDiffers) {
					t.Errorf("another in %s: %v", what, err)
				}
			}
			for _, wrong := range []Position{{Offset: p.Offset - 1, Commands: p.Commands, Digest: p.Digest}, {Offset: p.Offset, Commands: p.Commands + 1, Digest: p.Digest}, {Offset: p.Offset, Commands: p.Commands}} {
				if err := Skip(bytes.NewReader(one), wrong); !errors.Is(err, ErrDiffers) {
					t.Errorf("%+v: %v", wrong, err)
				}
			}
			for n := range p.Offset { // it ended before
				if err := Skip(bytes.NewReader(one[:n]), p); !errors.Is(err, ErrDiffers) || errors.Is(err, ErrCorrupt) {
					t.Fatalf("%d bytes of %d: %v", n, p.Offset, err)
				}
			}
			// A kernel that begins again in the middle, after a suspend, has not sent another stream.
			if err := Skip(io.MultiReader(bytes.NewReader(one[:p.Offset/2]), bytes.NewReader(one)), p); !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrDiffers) {
				t.Errorf("torn: %v", err)
			}
			torn := errors.New("torn off")
			if err := Skip(io.MultiReader(bytes.NewReader(one[:100]), iotest.ErrReader(torn)), p); !errors.Is(err, torn) || errors.Is(err, ErrDiffers) {
				t.Errorf("a reader that fails: %v", err)
			}
		})
	}
}
