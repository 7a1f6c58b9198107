package fingerprint

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// drawLayer draws the records of a fingerprint; of a delta if it is one.
func drawLayer(t *rapid.T, delta bool) []record {
	var all []record
	inode := uint64(255)
	for range rapid.IntRange(0, 8).Draw(t, "inodes") {
		inode += rapid.Uint64Range(1, 3).Draw(t, "step")
		if delta && rapid.IntRange(0, 3).Draw(t, "gone") == 0 {
			all = append(all, record{inode: inode, kind: isGone})
			continue
		}
		a := &attributes{
			mode: rapid.SampledFrom([]uint32{unix.S_IFREG, unix.S_IFREG, unix.S_IFDIR}).Draw(t, "type") | 0o600,
			uid:  rapid.Uint32().Draw(t, "uid"), sec: rapid.Int64().Draw(t, "sec"), dir: rapid.Uint64().Draw(t, "dir"),
			name: rapid.StringN(0, 50, 255).Draw(t, "name"),
		}
		a.size = rapid.Uint64Range(0, 12*chunkSize).Draw(t, "size")
		a.xattrs[0] = rapid.Byte().Draw(t, "xattrs")
		a.content[15] = rapid.Byte().Draw(t, "content")
		fresh := delta && a.is(unix.S_IFREG) && rapid.IntRange(0, 3).Draw(t, "fresh") == 0
		all = append(all, record{inode: inode, kind: isInode, attributes: a, fresh: fresh})
		for index := uint64(1); index <= a.chunks(); index++ {
			switch rapid.IntRange(0, 3).Draw(t, "chunk") {
			case 0:
				all = append(all, record{inode: inode, index: index, kind: isChunk, count: 1, sum: sum{rapid.Byte().Draw(t, "sum")}})
			case 1:
				if delta {
					r := record{inode: inode, index: index, kind: isZeros, count: rapid.Uint64Range(1, a.chunks()-index+1).Draw(t, "count")}
					all = append(all, r)
					index = r.last()
				}
			}
		}
	}
	return all
}

func encode(records []record) (b []byte) {
	var e encoder
	for _, r := range records {
		b = e.append(b, r)
	}
	return b
}

func decode(b []byte) (records []record, err error) {
	d := decoder{in: bufio.NewReader(bytes.NewReader(b))}
	for {
		r, err := d.next()
		if err == io.EOF {
			return records, nil
		}
		if err != nil {
			return records, err
		}
		records = append(records, r)
	}
}

var compareRecords = cmp.AllowUnexported(record{}, attributes{})

func TestEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawLayer(t, true)
		got, err := decode(encode(want))
		if diff := cmp.Diff(want, got, compareRecords); diff != "" || err != nil {
			t.Fatal(err, diff)
		}
	})
}

// model is what a fingerprint says, without regard for the cost.
type model map[uint64]map[uint64]record // by inode and index

func (m model) apply(layer []record) {
	for _, r := range layer {
		switch r.kind {
		case isGone:
			delete(m, r.inode)
		case isInode:
			if m[r.inode] == nil || r.fresh {
				m[r.inode] = map[uint64]record{}
			}
			r.fresh = false
			m[r.inode][0] = r
			for index := range m[r.inode] {
				if index > r.attributes.chunks() {
					delete(m[r.inode], index)
				}
			}
		case isChunk:
			m[r.inode][r.index] = r
		case isZeros:
			for index := r.index; index <= r.last(); index++ {
				delete(m[r.inode], index)
			}
		}
	}
}

func (m model) records() (all []record) {
	for _, of := range m {
		for _, r := range of {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b record) int {
		if a.before(b.inode, b.index) {
			return -1
		}
		return 1
	})
	return all
}

// A chain says what its fingerprints come to when one is applied after the other.
func TestMerge(t *testing.T) {
	dir := testdisk.New(t, testdisk.Options{InMemory: true}).Path
	rapid.Check(t, func(t *rapid.T) {
		want := model{}
		var c chain
		defer func() { c.close() }()
		for n := range rapid.IntRange(1, 5).Draw(t, "layers") {
			layer := drawLayer(t, n > 0)
			want.apply(layer)
			id := btrfs.UUID{byte(n + 1)}
			h := header{Backup: id, Depth: uint32(n)}
			if n > 0 {
				h.Base = btrfs.UUID{9}
			}
			path := filepath.Join(dir, id.String())
			w, err := create(path, h)
			check(t, err)
			for _, r := range layer {
				check(t, w.write(r))
			}
			_, err = w.commit()
			check(t, err)
			r, err := open(path, id)
			check(t, err)
			c = append(chain{r}, c...)
		}
		check(t, c.check())
		m, err := merge(c)
		check(t, err)
		var got []record
		for {
			r, err := m.next()
			if err == io.EOF {
				break
			}
			check(t, err)
			got = append(got, r)
		}
		if diff := cmp.Diff(want.records(), got, compareRecords); diff != "" {
			t.Fatal(diff)
		}
	})
}

func check(t rapid.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Of whatever bytes, records come in good order, or an error.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add(encode([]record{
		{inode: 256, kind: isInode, attributes: &attributes{mode: unix.S_IFDIR, content: sum{1}}},
		{inode: 257, kind: isInode, fresh: true, attributes: &attributes{mode: unix.S_IFREG, size: 5 << 20, name: "file", xattrs: sum{1}}},
		{inode: 257, index: 2, kind: isChunk, sum: sum{3}},
		{inode: 257, index: 3, kind: isZeros, count: 2},
		{inode: 300, kind: isGone},
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		records, err := decode(b)
		last := record{}
		for _, r := range records {
			if r.inode < last.inode || r.inode == last.inode && r.index <= last.last() || r.last() < r.index {
				t.Fatalf("%+v after %+v", r, last)
			}
			last = r
		}
		if err != nil {
			return
		}
		again, err := decode(encode(records))
		if diff := cmp.Diff(records, again, compareRecords); diff != "" || err != nil {
			t.Fatal(err, diff)
		}
	})
}

// Of whatever file, also one with good checksums, the reader makes records or ErrDamaged.
func FuzzOpen(f *testing.F) {
	id := btrfs.UUID{1}
	f.Add([]byte{}, true)
	f.Add(encode([]record{{inode: 256, kind: isInode, attributes: &attributes{mode: unix.S_IFDIR}}}), true)
	f.Add(make([]byte, bodyStart), false)
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if sealed {
			h := header{Magic: magic(), Version: version, Backup: id, BodyLength: uint64(len(b)), BodySum: sha256.Sum256(b)}
			b = append(h.encode(), b...)
		}
		path := filepath.Join(t.TempDir(), "f")
		check(t, os.WriteFile(path, b, 0o600))
		r, err := open(path, id)
		if err == nil {
			defer r.file.Close()
			err = r.check()
		}
		if err == nil {
			var m *merged
			if m, err = merge(chain{r}); err == nil {
				_, err = m.root()
			}
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
	})
}
