package sendstream

import (
	"bytes"
	"compress/zlib"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// Extents that kernels have compressed, with their padding.
func TestDecompressKernelExtents(t *testing.T) {
	seen := map[uint64]int{}
	for _, c := range corpora(t) {
		d := NewDecoder(bytes.NewReader(c.stream))
		var e encoded
		for command, err := d.Next(); err == nil; command, err = d.Next() {
			if command.Cmd != CmdEncodedWrite {
				continue
			}
			args := encodedIOArgs{
				length: command.Uint(AttrUnencodedFileLen), unencodedLen: command.Uint(AttrUnencodedLen),
				unencodedOffset: command.Uint(AttrUnencodedOffset), compression: uint32(command.Uint(AttrCompression)),
			}
			got, err := e.plain(&args, command.Bytes(AttrData))
			ok(t, err)
			if command.Path() != "dir/text" && command.Path() != "zlib" && command.Path() != "lzo" {
				continue
			}
			seen[command.Uint(AttrCompression)]++
			if !strings.HasPrefix(corpusText, string(got)) {
				t.Errorf("%s, %s: not the text that was written", c.name, command.Path())
			}
		}
	}
	for _, compression := range []uint64{compressionZlib, compressionZstd, compressionLZO4K} {
		if seen[compression] == 0 {
			t.Errorf("no extent with compression %d", compression)
		}
	}
}

// Where the compressed data ends early the rest is zeros, whatever was there before; where it goes on it is cut.
func TestDecompressOtherLengths(t *testing.T) {
	text := []byte("some text that is long enough to be worth it, some text that is long enough to be worth it")
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, err := w.Write(text)
	ok(t, err)
	ok(t, w.Close())
	zs, err := zstd.NewWriter(nil)
	ok(t, err)
	literals := append([]byte{byte(len(text) + 17)}, text...)
	segment := append(literals, 17, 0, 0)
	lzo := append([]byte{byte(len(segment) + 8), 0, 0, 0, byte(len(segment)), 0, 0, 0}, segment...)
	for compression, data := range map[uint32][]byte{
		compressionNone: text, compressionZlib: z.Bytes(), compressionZstd: zs.EncodeAll(text, nil), compressionLZO4K: lzo,
	} {
		var e encoded
		for _, n := range []int{4096, len(text), 20} {
			if compression == compressionLZO4K && n < len(text) {
				continue // a segment is a sector: it cannot be longer than there is room
			}
			if compression != compressionNone {
				data = append(bytes.Clone(data), make([]byte, 100)...) // to the end of the sector
			}
			for i := range e.buf {
				e.buf[i] = 0xff
			}
			args := encodedIOArgs{length: uint64(n), unencodedLen: uint64(n), compression: compression}
			got, err := e.plain(&args, data)
			ok(t, err)
			want := make([]byte, n)
			copy(want, text)
			if compression == compressionNone && n > len(text) {
				want = append(bytes.Clone(text), make([]byte, n-len(text))...)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("compression %d, %d bytes: %q", compression, n, got)
			}
		}
	}
}

// Behind an extent that ends inside a sector of a longer file there are zeros, not what was there before.
func TestReceiverClearsTheSector(t *testing.T) {
	dir := testdisk.New(t, testdisk.Options{InMemory: true}).Path
	old, data := bytes.Repeat([]byte("x"), 10_000), bytes.Repeat([]byte("d"), 2000)
	encodedWrite := func(offset uint64) handmade {
		return command(CmdEncodedWrite, path("f"), Uint(AttrFileOffset, offset), Uint(AttrUnencodedFileLen, 2000), Uint(AttrUnencodedLen, 2000),
			Uint(AttrUnencodedOffset, 0), Uint(AttrCompression, compressionNone), Value{AttrData, data})
	}
	for _, at := range []int{0, 4096, 8192, 9000, 12288} {
		for _, decompress := range []bool{false, true} {
			raw := streamOf(t, 2, subvol, mkfile("f"), write("f", 0, old), encodedWrite(uint64(at)), end)
			ok(t, Receiver{Decompress: decompress}.Receive(t.Context(), dir, "received", bytes.NewReader(raw)))
			got, err := os.ReadFile(filepath.Join(dir, "received/f"))
			ok(t, err)
			want := append(bytes.Clone(old), make([]byte, max(0, at+2000-len(old)))...)
			copy(want[at:], data)
			clear(want[at+2000 : min(len(want), (at+2000+4095)/4096*4096)])
			if !bytes.Equal(got, want) {
				t.Errorf("at %d: not as it should be", at)
			}
			remove(t, dir, "received")
		}
	}
}

func TestDecompressRefuses(t *testing.T) {
	for name, args := range map[string]encodedIOArgs{
		"unknown":    {length: 1, unencodedLen: 1, compression: 8},
		"long":       {length: 1, unencodedLen: maxUnencoded + 1},
		"offset":     {length: 1, unencodedLen: 10, unencodedOffset: 11},
		"length":     {length: 6, unencodedLen: 10, unencodedOffset: 5},
		"overflow":   {length: 1<<64 - 1, unencodedLen: 10, unencodedOffset: 5},
		"bad zlib":   {length: 1, unencodedLen: 1, compression: compressionZlib},
		"bad zstd":   {length: 1, unencodedLen: 1, compression: compressionZstd},
		"bad lzo":    {length: 1, unencodedLen: 1, compression: compressionLZO4K},
		"bad lzo64k": {length: 1, unencodedLen: 1, compression: compressionLZO64K},
	} {
		var e encoded
		if _, err := e.plain(&args, []byte("not compressed in any way")); err == nil || name != "unknown" && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDecompress: no input makes a decoder panic or write beyond its room.
func FuzzDecompress(f *testing.F) {
	for _, c := range corpora(f) {
		d := NewDecoder(bytes.NewReader(c.stream))
		for command, err := d.Next(); err == nil; command, err = d.Next() {
			if command.Cmd == CmdEncodedWrite {
				f.Add(uint32(command.Uint(AttrCompression)), int(command.Uint(AttrUnencodedLen)), command.Bytes(AttrData))
			}
		}
	}
	f.Fuzz(func(t *testing.T, compression uint32, size int, data []byte) {
		if size < 0 || size > maxUnencoded {
			return
		}
		room := bytes.Repeat([]byte{0xaa}, size+64)
		var d decoders
		n, err := d.decode(compression%9, room[:size], data)
		if err == nil && n > size {
			t.Errorf("%d bytes in %d", n, size)
		}
		if !bytes.Equal(room[size:], bytes.Repeat([]byte{0xaa}, 64)) {
			t.Error("wrote beyond its room")
		}
	})
}
