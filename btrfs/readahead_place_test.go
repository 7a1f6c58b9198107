package btrfs

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// streamPart makes a command of a stream. Its checksum is nobody's business here.
func streamPart(cmd uint16, attrs ...[]byte) []byte {
	body := bytes.Join(attrs, nil)
	le := binary.LittleEndian
	part := le.AppendUint32(nil, uint32(len(body)))
	part = le.AppendUint16(part, cmd)
	return append(le.AppendUint32(part, 0), body...)
}

func streamAttr(typ uint16, value []byte) []byte {
	b := binary.LittleEndian.AppendUint16(nil, typ)
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(value))), value...)
}

func streamUint(typ uint16, v uint64) []byte {
	return streamAttr(typ, binary.LittleEndian.AppendUint64(nil, v))
}

// Wherever a stream is cut into parts, its place is known after each command that tells it.
func TestPlace(t *testing.T) {
	dir := t.TempDir()
	inode := map[string]uint64{}
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	root := int(d.Fd())
	for _, name := range []string{"a", "b"} {
		if inode[name], err = inodeBeneath(root, name); err != nil {
			t.Fatal(err)
		}
	}
	path := func(p string) []byte { return streamAttr(attrPath, []byte(p)) }
	data := append(binary.LittleEndian.AppendUint16(nil, attrData), make([]byte, 100_000)...) // as in version 2, without a length
	steps := []struct {
		part              []byte
		full, incremental position
	}{
		{make([]byte, streamHeaderSize), position{}, position{}},
		{streamPart(1, path("subvolume")), position{}, position{}},
		{streamPart(cmdMkfile, path("o300-7-0"), streamUint(attrIno, 300)), position{300, 0}, position{300, 0}},
		{streamPart(9, path("o300-7-0"), streamAttr(16, []byte("a"))), position{300, 0}, position{300, 0}},
		{streamPart(cmdWrite, path("a"), streamUint(attrFileOffset, 0), data), position{300, 0}, position{inode["a"], 0}},
		{streamPart(cmdWrite, path("a"), streamUint(attrFileOffset, 1<<40), data), position{300, 1 << 40}, position{inode["a"], 1 << 40}},
		{streamPart(cmdClone, streamUint(attrFileOffset, 9), path("b")), position{300, 9}, position{inode["b"], 9}},
		{streamPart(cmdEncodedWrite, path("absent"), streamUint(attrFileOffset, 77), data), position{300, 77}, position{inode["b"], 9}},
		{streamPart(cmdEncodedWrite, path("a"), streamUint(attrFileOffset, 5), data), position{300, 5}, position{inode["a"], 5}},
		{streamPart(cmdMkfile, path("o400-7-0"), streamUint(attrIno, 400)), position{400, 0}, position{400, 0}},
		{streamPart(cmdWrite, path("../a"), streamUint(attrFileOffset, 6), data), position{400, 6}, position{400, 0}},
		{streamPart(21), position{400, 6}, position{400, 0}},
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, full := range []bool{true, false} {
		for _, most := range []int{1, 7, 5000, 200_000} {
			p := newPlace(root, full)
			for i, step := range steps {
				for rest := step.part; len(rest) > 0; {
					n := min(len(rest), 1+random.IntN(most))
					p.passed(rest[:n])
					rest = rest[n:]
				}
				want := step.incremental
				if full {
					want = step.full
				}
				if got := p.position(); got != want {
					t.Errorf("full %t, parts of up to %d: at %+v after command %d, want %+v", full, most, got, i, want)
				}
			}
		}
	}
}

// It takes whatever comes, and memory for one path.
func FuzzPlace(f *testing.F) {
	f.Add(append(make([]byte, streamHeaderSize), streamPart(cmdWrite, streamAttr(attrPath, []byte("a")), streamUint(attrFileOffset, 1))...))
	f.Add(append(make([]byte, streamHeaderSize), 255, 255, 255, 255, 15, 0, 0, 0, 0, 0, 15, 0, 255, 255))
	f.Fuzz(func(t *testing.T, stream []byte) {
		p := newPlace(-1, len(stream)%2 == 0)
		for rest := stream; len(rest) > 0; {
			n := min(len(rest), 1+len(rest)/3)
			p.passed(rest[:n])
			rest = rest[n:]
			p.position()
		}
		if cap(p.head) > 2*placeSize {
			t.Errorf("%d bytes are kept", cap(p.head))
		}
	})
}

// Both ways to ask for what is in the cache tell the same.
func TestCachedPages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 300_000), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n, err := countResident(int(file.Fd()))
	if err != nil || n != uint64((300_000+os.Getpagesize()-1)/os.Getpagesize()) {
		t.Errorf("mincore: %d pages, %v", n, err)
	}
	if stat, err := cachedPages(int(file.Fd())); err == nil && stat != n {
		t.Errorf("cachestat: %d pages, mincore: %d", stat, n)
	}
	if !anyCached(int(file.Fd())) || !anyCached(-1) {
		t.Error("nothing is in the cache")
	}
}
