package btrfs

import (
	"encoding/binary"
	"math"
	"testing"
)

// The search goes on at the least key above the last one.
func TestSearchStartAfter(t *testing.T) {
	type key struct {
		objectID uint64
		typ      uint32
		offset   uint64
	}
	for name, tc := range map[string]struct {
		last, next key
		more       bool
	}{
		"offset":   {key{256, 132, 7}, key{256, 132, 8}, true},
		"type":     {key{256, 132, math.MaxUint64}, key{256, 133, 0}, true},
		"objectid": {key{256, 255, math.MaxUint64}, key{257, 0, 0}, true},
		"last":     {key{math.MaxUint64, 255, math.MaxUint64}, key{math.MaxUint64, 255, math.MaxUint64}, false},
	} {
		var k searchKey
		more := k.startAfter(searchHeader{objectID: tc.last.objectID, typ: tc.last.typ, offset: tc.last.offset})
		if got := (key{k.minObjectID, k.minType, k.minOffset}); got != tc.next || more != tc.more {
			t.Errorf("%s: after %+v comes %+v, %v", name, tc.last, got, more)
		}
	}
}

// Root items that an old kernel has made or updated have no UUID that could be trusted.
func TestDecodeOldRootItem(t *testing.T) {
	item := make([]byte, rootItemSize)
	le := binary.LittleEndian
	le.PutUint64(item[rootItemGeneration:], 9)
	le.PutUint64(item[rootItemGenerationV2:], 9)
	le.PutUint64(item[rootItemFlags:], rootReadOnly)
	le.PutUint32(item[rootItemRefs:], 1)
	item[rootItemUUID] = 1
	if s, live := decodeRootItem(item); !live || !s.ReadOnly || s.Generation != 9 || s.UUID.IsZero() {
		t.Errorf("today's: %+v, %v", s, live)
	}
	if s, live := decodeRootItem(item[:rootItemGenerationV2]); !live || !s.ReadOnly || s.Generation != 9 || !s.UUID.IsZero() {
		t.Errorf("short: %+v, %v", s, live)
	}
	le.PutUint64(item[rootItemGeneration:], 10)
	if s, live := decodeRootItem(item); !live || s.Generation != 10 || !s.UUID.IsZero() {
		t.Errorf("updated by an old kernel: %+v, %v", s, live)
	}
	le.PutUint32(item[rootItemRefs:], 0)
	if s, live := decodeRootItem(item); live {
		t.Errorf("deleted: %+v", s)
	}
	if s, live := decodeRootItem(nil); live {
		t.Errorf("empty: %+v", s)
	}
}

func TestDecodeRootBackref(t *testing.T) {
	data := append(make([]byte, rootRefSize), "name"...)
	binary.LittleEndian.PutUint64(data, 300)
	data[rootRefNameLen] = 4
	var s Subvolume
	if !decodeRootBackref(&s, item{offset: 5, data: data}) || s.ParentID != 5 || s.DirID != 300 || s.Name != "name" {
		t.Errorf("%+v", s)
	}
	for n := range data {
		if decodeRootBackref(&s, item{data: data[:n]}) {
			t.Errorf("%d bytes are enough", n)
		}
	}
}
