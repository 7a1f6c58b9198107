package sendstream

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// memoryLimit is what a receiver may need, whatever comes.
const memoryLimit = 32 << 20

// hostile is a stream that tries to make its receiver run out of memory. It is made as it is read, so that it needs none itself.
type hostile struct {
	name       string
	stream     func() io.Reader
	decompress bool
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// encode is streamOf for what cannot fail.
func encode(commands ...handmade) []byte {
	var b bytes.Buffer
	e := Encoder{dst: &b, version: 2}
	b.Write(appendHeader(nil, 2))
	for _, c := range commands {
		if err := e.Encode(c.cmd, c.values...); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

// claims gives streams that claim more than they hold. Each is an error.
func claims() []hostile {
	var all []hostile
	head := encode(subvol, mkfile("f"))
	for _, claim := range []uint32{1 << 20, MaxCommand - 1, MaxCommand, MaxCommand + 1, 1 << 31, 1<<32 - 1} {
		raw := binary.LittleEndian.AppendUint32(bytes.Clone(head), claim)
		raw = append(raw, byte(CmdWrite), 0, 1, 2, 3, 4) // with a wrong checksum
		all = append(all,
			hostile{name: fmt.Sprintf("%d bytes claimed, none sent", claim), stream: func() io.Reader { return bytes.NewReader(raw) }},
			hostile{name: fmt.Sprintf("%d bytes claimed and sent", claim), stream: func() io.Reader {
				return io.MultiReader(bytes.NewReader(raw), io.LimitReader(zeros{}, min(int64(claim), 64<<20)))
			}})
	}
	all = append(all, hostile{name: "zeros without end", stream: func() io.Reader {
		return io.MultiReader(bytes.NewReader(head), io.LimitReader(zeros{}, 256<<20))
	}})
	for name, data := range bombs() {
		for _, size := range []uint64{maxUnencoded, maxUnencoded + 1, 1 << 30, 1 << 40, 1<<64 - 1} {
			stream := encode(subvol, mkfile("f"), encodedWriteOf(name, size, data), mkfile("f"), end) // the second mkfile fails in any case
			all = append(all, hostile{fmt.Sprintf("%s bomb as %d bytes", name, size), func() io.Reader { return bytes.NewReader(stream) }, true})
			all = append(all, hostile{fmt.Sprintf("%s bomb as %d bytes, stored", name, size), func() io.Reader { return bytes.NewReader(stream) }, false})
		}
	}
	return all
}

func encodedWriteOf(compression string, size uint64, data []byte) handmade {
	number := map[string]uint64{"zlib": compressionZlib, "zstd": compressionZstd, "zstd window": compressionZstd, "lzo": compressionLZO4K}[compression]
	return command(CmdEncodedWrite, path("f"), Uint(AttrFileOffset, 0), Uint(AttrUnencodedFileLen, size), Uint(AttrUnencodedLen, size),
		Uint(AttrUnencodedOffset, 0), Uint(AttrCompression, number), Value{AttrData, data})
}

// bombs are some KiB that become very much.
func bombs() map[string][]byte {
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, _ = io.CopyN(w, zeros{}, 100<<20)
	w.Close()
	var zs bytes.Buffer
	e, err := zstd.NewWriter(&zs, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err)
	}
	_, _ = io.CopyN(e, zeros{}, 512<<20)
	e.Close()
	// A frame header that asks for a window of nearly 4 TiB, and one block of 128 KiB of one byte.
	window := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 0x03, 0x00, 0x10, 'x'}
	// A segment that repeats one byte for very long.
	segment := append(append([]byte{18, 'x', 0x20}, make([]byte, 4000)...), 1, 0, 0, 17, 0, 0)
	lzo := binary.LittleEndian.AppendUint32(nil, uint32(8+len(segment)))
	lzo = append(binary.LittleEndian.AppendUint32(lzo, uint32(len(segment))), segment...)
	return map[string][]byte{"zlib": z.Bytes(), "zstd": zs.Bytes(), "zstd window": window, "lzo": lzo}
}

// longest is a well-formed stream with a command of the greatest length allowed.
func longest() io.Reader {
	const attributes = 4 + 1 + 12 + 2 // path f, file offset, data without a length
	head := binary.LittleEndian.AppendUint32(nil, MaxCommand)
	head = append(head, byte(CmdWrite), 0, 0, 0, 0, 0)
	head = append(head, byte(AttrPath), 0, 1, 0, 'f', byte(AttrFileOffset), 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(AttrData), 0)
	crc := crc32.Update(^uint32(0), castagnoli, head)
	block := make([]byte, 4096)
	for left := MaxCommand - attributes; left > 0; left -= len(block) {
		crc = crc32.Update(crc, castagnoli, block[:min(left, len(block))])
	}
	binary.LittleEndian.PutUint32(head[crcOffset:], ^crc)
	tail := encode(end)[headerSize:]
	return io.MultiReader(bytes.NewReader(encode(subvol, mkfile("f"))), bytes.NewReader(head), io.LimitReader(zeros{}, MaxCommand-attributes), bytes.NewReader(tail))
}

// late is a stream that is a good one for some checkpoints, and then goes on like another, of which the beginning is left out.
func late(other io.Reader) io.Reader {
	_, _ = io.CopyN(io.Discard, other, int64(len(encode(subvol))))
	data, n := make([]byte, 100<<10), 0
	good := readerFunc(func(p []byte) (int, error) {
		if n == 60 {
			return 0, io.EOF
		}
		n++
		name := fmt.Sprint("good", n)
		return copy(p, encode(mkfile(name), write(name, 0, data))[headerSize:]), nil
	})
	return io.MultiReader(bytes.NewReader(encode(subvol)), bufio.NewReaderSize(good, 2*len(data)), other)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// manySubvolumes are as many as a destination of years has.
const manySubvolumes = 2000

const hostileDir = "BTRKEEP_TEST_HOSTILE_DIR"

// Hostile streams need no more memory than others.
//
// Measured is the greatest resident set that a process of its own has had, VmHWM of proc(5), since that is what makes a machine run out of memory: statistics of
// the Go heap leave out what is mapped and not yet given back. The test binary itself is part of it.
func TestReceiverMemory(t *testing.T) {
	dir := testdisk.New(t, testdisk.Options{InMemory: true}).Path
	for _, name := range []string{"nothing", "claims", "malformed", "longest", "checkpoints", "parent"} {
		t.Run(name, func(t *testing.T) {
			if name == "parent" {
				for n := range manySubvolumes {
					ok(t, btrfs.Create(dir, fmt.Sprintf("a backup of some name that is not too short, number %d", n)))
				}
			}
			child := exec.Command(os.Args[0], "-test.run=^TestHostileChild$/^"+name+"$", "-test.v")
			child.Env = append(os.Environ(), hostileDir+"="+dir)
			out, err := child.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			_, text, _ := strings.Cut(string(out), "VmHWM: ")
			text, _, found := strings.Cut(text, "\n")
			peak, err := strconv.Atoi(text)
			if !found || err != nil {
				t.Fatalf("no measurement: %s", out)
			}
			t.Logf("%.1f MiB", float64(peak)/(1<<20))
			if peak > memoryLimit {
				t.Errorf("%d bytes were needed", peak)
			}
		})
	}
}

// TestHostileChild is the other process of TestReceiverMemory.
func TestHostileChild(t *testing.T) {
	dir := os.Getenv(hostileDir)
	if dir == "" {
		return
	}
	receive := func(t *testing.T, name string, r Receiver, stream io.Reader, good bool) {
		t.Helper()
		if err := r.Receive(context.Background(), dir, "received", stream); (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
		remove(t, dir, "received")
	}
	for name, run := range map[string]func(t *testing.T){
		"nothing": func(t *testing.T) { receive(t, "nothing", Receiver{}, bytes.NewReader(encode(subvol, end)), true) },
		"claims": func(t *testing.T) {
			for _, h := range claims() {
				receive(t, h.name, Receiver{Decompress: h.decompress}, h.stream(), false)
			}
		},
		"malformed": func(t *testing.T) {
			ok(t, os.MkdirAll(filepath.Join(dir, "outside"), 0o700))
			for _, row := range append(malformed(), escapes(filepath.Join(dir, "outside"))...) {
				receive(t, row.name, Receiver{}, bytes.NewReader(encode(row.commands...)), false)
			}
		},
		"longest": func(t *testing.T) { receive(t, "longest", Receiver{}, longest(), true) },
		"checkpoints": func(t *testing.T) {
			saved := 0
			often := Checkpoints{Bytes: 2 << 20, Time: time.Hour, Save: func(Position) error {
				saved++
				remove(t, dir, "kept")
				return btrfs.Snapshot(filepath.Join(dir, "received"), dir, "kept", true)
			}}
			for _, h := range claims() {
				before := saved
				receive(t, h.name, Receiver{Decompress: h.decompress, Checkpoints: &often}, late(h.stream()), false)
				if saved < before+2 {
					t.Errorf("%s: %d checkpoints", h.name, saved-before)
				}
			}
			receive(t, "longest", Receiver{Checkpoints: &often}, late(longest()), true)
			remove(t, dir, "kept")
		},
		"parent": func(t *testing.T) { // all that are there are looked at
			for _, confined := range []bool{false, true} {
				err := Receiver{Confined: confined}.Receive(context.Background(), dir, "received", bytes.NewReader(encode(snapshot, end)))
				if !errors.Is(err, btrfs.ErrParentMissing) {
					t.Error(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t)
			status, err := os.ReadFile("/proc/self/status")
			ok(t, err)
			_, text, _ := strings.Cut(string(status), "VmHWM:")
			kib, err := strconv.Atoi(strings.Fields(text)[0])
			ok(t, err)
			fmt.Printf("VmHWM: %d\n", kib<<10)
		})
	}
}
