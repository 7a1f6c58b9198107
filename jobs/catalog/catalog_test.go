package catalog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mailru/easyjson"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

func TestMain(m *testing.M) { testdisk.Main(m) }

func newDir(t *testing.T) string { return testdisk.New(t, testdisk.Options{InMemory: true}).Path }

func TestCatalog(t *testing.T) {
	dir := newDir(t)
	if c, err := Read(dir); err != nil || len(c) != 0 {
		t.Fatalf("a missing catalog: %v %v", c, err)
	}
	entry := func(n byte) Entry {
		return Entry{UUID: btrfs.UUID{n}, Name: "s", Taken: time.Date(2026, 11, int(n), 0, 0, 0, 0, time.UTC), Ctransid: uint64(n)}
	}
	if err := Add(dir, entry(1), entry(2)); err != nil {
		t.Fatal(err)
	}
	// A power cut tore a line: the others count, and so does what comes behind.
	f, err := os.OpenFile(filepath.Join(dir, File), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"uuid":"0300`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := Add(dir, entry(4)); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := Catalog{{1}: entry(1), {2}: entry(2), {4}: entry(4)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := Forget(dir, func(id btrfs.UUID) bool { return id == btrfs.UUID{2} }); err != nil {
		t.Fatal(err)
	}
	delete(want, btrfs.UUID{2})
	if got, err = Read(dir); err != nil || !cmp.Equal(want, got) {
		t.Errorf("%v %v", err, cmp.Diff(want, got))
	}
}

// A pin is set in the entry that there is, and stays with it whatever else is written.
func TestPin(t *testing.T) {
	dir := newDir(t)
	if known, err := Pin(dir, btrfs.UUID{1}, "reason"); known || err != nil {
		t.Errorf("in a missing catalog: %v %v", known, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, File)); err == nil {
		t.Error("it is not missing any more")
	}
	one := Entry{UUID: btrfs.UUID{1}, Name: "one", Ctransid: 7, Source: "machine:/home", Volume: btrfs.UUID{9}}
	half := Entry{UUID: btrfs.UUID{2}, Name: "half", Checkpoint: &sendstream.Checkpoint{}}
	if err := Add(dir, one, half); err != nil {
		t.Fatal(err)
	}
	content := func() string {
		b, err := os.ReadFile(filepath.Join(dir, File))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	before := content()
	for _, id := range []btrfs.UUID{{2}, {3}} {
		if known, err := Pin(dir, id, "reason"); known || err != nil {
			t.Errorf("%v: %v %v", id, known, err)
		}
	}
	if content() != before {
		t.Errorf("written: %s", content())
	}
	const reason = `before the "upgrade" – 1 < 2`
	for range 2 {
		if known, err := Pin(dir, one.UUID, reason); !known || err != nil {
			t.Fatalf("%v %v", known, err)
		}
	}
	one.Pinned = reason
	next := Entry{UUID: btrfs.UUID{4}, Name: "next", Checkpoint: half.Checkpoint}
	if err := Replace(dir, half.UUID, next); err != nil {
		t.Fatal(err)
	}
	if err := Forget(dir, func(id btrfs.UUID) bool { return id == next.UUID }); err != nil {
		t.Fatal(err)
	}
	if c, err := Read(dir); err != nil || !cmp.Equal(c, Catalog{one.UUID: one}) {
		t.Errorf("%v %v", err, cmp.Diff(Catalog{one.UUID: one}, c))
	}
	if known, err := Pin(dir, one.UUID, ""); !known || err != nil {
		t.Fatalf("%v %v", known, err)
	}
	if c, err := Read(dir); err != nil || c[one.UUID].Pinned != "" {
		t.Errorf("unpinned: %v %+v", err, c)
	}
}

func TestCatalogIsNoLink(t *testing.T) {
	dir := newDir(t)
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(dir, File)); err != nil {
		t.Fatal(err)
	}
	if err := Add(dir, Entry{UUID: btrfs.UUID{1}}); err == nil {
		t.Error("wrote through a symbolic link")
	}
	if b, _ := os.ReadFile(victim); string(b) != "precious" {
		t.Errorf("%q", b)
	}
}

// Nothing that is written to a catalog is written to the log of the file system: that would name the subvolumes that were deleted from its directory, and the kernel may be unable
// to replay that after a power cut.
func TestNoLog(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{})
	dir := disk.Path
	logRoot := func() uint64 {
		t.Helper()
		f, err := os.Open(disk.Image)
		must(t, err)
		defer f.Close()
		var b [8]byte
		_, err = f.ReadAt(b[:], 64<<10+0x60) // log_root of struct btrfs_super_block
		must(t, err)
		return binary.LittleEndian.Uint64(b[:])
	}
	subvolume := func(name string) Entry {
		must(t, btrfs.Create(dir, name))
		info, err := btrfs.Info(filepath.Join(dir, name))
		must(t, err)
		return Entry{UUID: info.UUID, Name: name}
	}
	gone := func(e Entry) {
		must(t, btrfs.Delete(dir, e.Name, e.UUID))
	}
	one, two, three, four := subvolume("one"), subvolume("two"), subvolume("three"), subvolume("four")
	check := func(what string) {
		t.Helper()
		if at := logRoot(); at != 0 {
			t.Errorf("%s: there is a log at %d", what, at)
		}
	}
	must(t, Add(dir, one, two))
	check("Add")
	gone(one)
	must(t, Forget(dir, func(id btrfs.UUID) bool { return id == one.UUID }))
	check("Forget")
	must(t, Add(dir, three))
	check("Add to one that was renamed")
	gone(two)
	must(t, Replace(dir, two.UUID, four))
	check("Replace")
	_, err := Pin(dir, three.UUID, "reason")
	must(t, err)
	check("Pin")

	// A log does show there: so the check can fail.
	f, err := os.Create(filepath.Join(dir, "file"))
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
	if logRoot() == 0 {
		t.Error("an fsync has left no log")
	}
}

// What is promised to be durable is there after a power cut, however it is stored: within the tree, in extents, compressed.
func TestDurable(t *testing.T) {
	for _, options := range []string{"", "compress-force=zstd", "max_inline=0"} {
		for _, n := range []int{1, 12, 2000} {
			disk := testdisk.NewFaulty(t, testdisk.Options{MountOptions: options})
			dir := disk.Path
			want := Catalog{}
			for i := range n {
				e := Entry{UUID: btrfs.UUID{1, byte(i), byte(i >> 8)}, Name: fmt.Sprint("name ", i)}
				want[e.UUID] = e
			}
			must(t, Add(dir, slices.Collect(maps.Values(want))...))
			must(t, btrfs.Commit(dir))
			cut := func(what string) {
				t.Helper()
				image := filepath.Join(t.TempDir(), "image")
				disk.PowerCut(image, 1, 0)
				if got, err := Read(testdisk.MountImage(t, image).Path); err != nil || !cmp.Equal(want, got) {
					t.Errorf("%q, %d entries, %s: %v\n%s", options, n, what, err, cmp.Diff(want, got))
				}
			}
			cut("Add")
			e := Entry{UUID: btrfs.UUID{2}, Name: "another"}
			want[e.UUID] = e
			must(t, Replace(dir, btrfs.UUID{}, e))
			cut("Replace")
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What reads the catalog is generated from Entry and is not what writes it: every field comes back, and what encoding/json refuses of a line that was cut is refused.
func TestEveryFieldIsRead(t *testing.T) {
	var e Entry
	fill(t, reflect.ValueOf(&e).Elem())
	line := bytes.TrimSpace(encode([]Entry{e}))
	var got Entry
	if err := easyjson.Unmarshal(line, &got); err != nil || !cmp.Equal(e, got) {
		t.Fatalf("%v %s (go generate ./jobs/catalog)", err, cmp.Diff(e, got))
	}
	for n := range line {
		var by, std Entry
		if err := easyjson.Unmarshal(line[:n], &by); err == nil && json.Unmarshal(line[:n], &std) != nil {
			t.Errorf("cut to %q it is read", line[:n])
		}
	}
	for _, text := range []string{`{"uuid":"0300"}`, `{"uuid":7}`, string(line) + "x", string(line) + string(line), "null", "[]", "{}x"} {
		var e Entry
		if err := easyjson.Unmarshal([]byte(text), &e); err == nil && !e.UUID.IsZero() {
			t.Errorf("%q is read as %+v", text, e)
		}
	}
}

// fill sets every field to something that is not its zero value.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Date(2026, 11, 28, 1, 2, 3, 4, time.UTC)))
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(t, v.Index(i))
		}
	case v.Kind() == reflect.Slice:
		v.SetBytes([]byte{1, 2})
	case v.Kind() == reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case v.CanUint():
		v.SetUint(7)
	case v.CanInt():
		v.SetInt(7)
	case v.Kind() == reflect.String:
		v.SetString("a \"<ü>\" \n b")
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	default:
		t.Fatalf("a %s", v.Type())
	}
}
