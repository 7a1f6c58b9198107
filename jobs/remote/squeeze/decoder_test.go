package squeeze

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func block(k kind, length int, data []byte) []byte {
	b := make([]byte, headerSize, headerSize+len(data))
	putHeader(b, k, length)
	return append(b, data...)
}

// bomb is a compressed block of so many zero bytes.
func bomb(t testing.TB, size int, o ...zstd.EOption) []byte {
	z, err := zstd.NewWriter(nil, o...)
	if err != nil {
		t.Fatal(err)
	}
	b := z.EncodeAll(make([]byte, size), nil)
	return block(zipped, len(b), b)
}

// claim is a zstd frame whose header says that a size follows: RFC 8878 section 3.1.1.1, a single segment with a size of eight bytes.
func claim(size uint64) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0}
	for i := range 8 {
		b = append(b, byte(size>>(8*i)))
	}
	return append(b, 0x03|1<<1, 0, 0, 'x') // one last block
}

func TestHostileInput(t *testing.T) {
	window := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa0, 0x01, 0, 0} // a window of 1 GiB, an empty raw block
	for name, hostile := range map[string][]byte{
		"an unknown kind":        block(0, 5, []byte("12345")),
		"another unknown kind":   block(99, 5, []byte("12345")),
		"text":                   []byte("bash: btrkeep: command not found\n"),
		"a raw block too long":   block(raw, maxBlock+1, make([]byte, maxBlock+1)),
		"a zstd block too long":  block(zipped, 1<<24-1, make([]byte, 1<<20)),
		"an empty raw block":     block(raw, 0, nil),
		"an empty zstd block":    block(zipped, 0, nil),
		"an end with a length":   block(end, 1, []byte("x")),
		"no zstd":                block(zipped, 5, []byte("12345")),
		"a frame of nothing":     bomb(t, 0, zstd.WithZeroFrames(true)),
		"a frame one byte long":  bomb(t, maxBlock+1),
		"a frame of 256 MiB":     bomb(t, 256<<20),
		"one that says nothing":  bomb(t, 64<<20, zstd.WithSingleSegment(false), zstd.WithWindowSize(1<<20)),
		"a size of 16 exabytes":  block(zipped, len(claim(1<<64-1)), claim(1<<64-1)),
		"a size of a gigabyte":   block(zipped, len(claim(1<<30)), claim(1<<30)),
		"a window of a gigabyte": block(zipped, len(window), window),
		"two frames":             twice(bomb(t, maxBlock)),
		"a skippable frame":      block(zipped, 12, []byte{0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4}),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			n, err := io.Copy(io.Discard, NewDecoder(bytes.NewReader(hostile)))
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("got %v after %d bytes", err, n)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
				t.Errorf("%d bytes of memory were taken", used)
			}
		})
	}
}

// twice is a block with its frame in it twice.
func twice(b []byte) []byte {
	return block(zipped, 2*len(b[headerSize:]), append(b[headerSize:], b[headerSize:]...))
}

// FuzzDecoder looks for input that makes the decoder panic, go on without end or make much of little, and for any that it takes and that does not come to the same once more.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte{}, 1)
	f.Add(wire(f, bytes.NewReader(text(800)), Options{}, 1000), 100)
	f.Add(wire(f, bytes.NewReader(noise(300)), Options{}, 1000), 7)
	f.Add(append(block(raw, 3, []byte("abc")), bomb(f, 1000)...), 2)
	f.Add(bomb(f, maxBlock+1), 1<<16)
	f.Fuzz(func(t *testing.T, form []byte, size int) {
		if len(form) > 1<<10 {
			return // enough for twenty blocks of a MiB
		}
		size = min(max(size, 1), 1<<16)
		var got bytes.Buffer
		_, err := io.CopyBuffer(struct{ io.Writer }{&got}, struct{ io.Reader }{NewDecoder(&pieces{data: form, sizes: []int{size}, err: io.EOF})}, make([]byte, 64<<10))
		if most := len(form) / (headerSize + 1) * maxBlock; got.Len() > most {
			t.Fatalf("%d bytes came of %d", got.Len(), len(form))
		}
		switch {
		case err == nil:
			again, err := io.ReadAll(NewDecoder(bytes.NewReader(wire(t, bytes.NewReader(got.Bytes()), Options{}, 1<<20))))
			if err != nil || !bytes.Equal(again, got.Bytes()) {
				t.Fatalf("once more, %d bytes became %d: %v", got.Len(), len(again), err)
			}
		case err != io.ErrUnexpectedEOF && !errors.Is(err, ErrCorrupt):
			t.Fatalf("an error of another kind: %v", err)
		}
	})
}
