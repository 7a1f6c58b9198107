package sendstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// twins is a source and two destinations that serve for many short cases: btrfs receive writes to one, Receiver to the other.
type twins struct {
	source, progs, native string
	disk                  *testdisk.Disk // the source's
	mount                 string         // its options
}

func newTwins(t testing.TB) *twins {
	t.Helper()
	// What is drawn may be any device: nobody shall open it.
	o := testdisk.Options{InMemory: true, MountOptions: "nodev"}
	disk := testdisk.New(t, o)
	return &twins{source: disk.Path, progs: testdisk.New(t, o).Path, native: testdisk.New(t, o).Path, disk: disk}
}

// sending is a way to send a chain of snapshots.
type sending struct {
	name       string
	version    int
	compressed bool
}

var sendings = []sending{{"v1", 1, false}, {"v2", 2, false}, {"compressed", 2, true}}

// transfer is the stream of one snapshot.
type transfer struct {
	name     string
	stream   []byte
	source   string   // path of the snapshot; "" if it is gone
	manifest []string // of the snapshot, if it is gone
}

// wanted is the manifest of the snapshot.
func (c transfer) wanted(t rapid.TB) []string {
	t.Helper()
	if c.source == "" {
		return c.manifest
	}
	manifest, err := testdisk.Manifest(c.source)
	ok(t, err)
	return manifest
}

// snapshotOf is a snapshot in a chain.
type snapshotOf struct {
	name   string
	parent int // index; -1 for none
}

// send makes the streams of a chain of snapshots. Each also clones from all before it.
func (w *twins) send(t rapid.TB, chain []snapshotOf, how sending) (out []transfer, err error) {
	t.Helper()
	var before []uint64
	for _, c := range chain {
		path := filepath.Join(w.source, c.name)
		request := btrfs.Send{Subvolume: path, Version: how.version, Compressed: how.compressed}
		if c.parent >= 0 {
			request.Parent, request.CloneSources = before[c.parent], before
		}
		s, err := request.Start(context.Background())
		ok(t, err)
		stream, err := io.ReadAll(s)
		if err := errors.Join(err, s.Close()); err != nil {
			return nil, err
		}
		out = append(out, transfer{name: c.name, stream: stream, source: path})
		info, err := btrfs.Info(path)
		ok(t, err)
		before = append(before, info.ID)
	}
	return out, nil
}

// apply has both receive a chain and demands that they make the same of it, which is the source. It gives how many streams both accepted;
// what btrfs receive says of the next one is a fault of the kernel that sent it. What was received is deleted.
func (w *twins) apply(t rapid.TB, chain []transfer) (accepted int, said string) {
	t.Helper()
	defer func() {
		for _, c := range chain {
			remove(t, w.progs, c.name)
			remove(t, w.native, c.name)
		}
	}()
	said = w.receive(chain)
	for accepted < len(chain) && complete(filepath.Join(w.progs, chain[accepted].name)) {
		accepted++
	}
	if accepted == len(chain) && said != "" {
		t.Errorf("btrfs receive: %s", said)
	}
	for n, c := range chain {
		err := receiveHere(w.native, c.name, c.stream)
		if err != nil && n < accepted {
			t.Fatal(err)
		}
		if err != nil {
			wantIncomplete(t, filepath.Join(w.native, c.name))
		}
		if n == accepted {
			// btrfs receive puts the path of the subvolume before those in the stream, which makes some too long that are not.
			if err == nil && !strings.Contains(said, "File name too long") {
				t.Fatalf("%s: accepted, but btrfs receive says %s", c.name, said)
			}
			break
		}
	}
	w.compare(t, chain[:accepted])
	return accepted, said
}

// receive runs btrfs receive on all streams at once, since starting it is what takes the time, and gives what it complains of.
func (w *twins) receive(chain []transfer) string {
	var all []io.Reader
	for _, c := range chain {
		all = append(all, bytes.NewReader(c.stream))
	}
	receive := exec.Command("btrfs", "receive", "-q", w.progs)
	receive.Stdin = io.MultiReader(all...)
	said, err := receive.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, said)
	}
	return ""
}

// compare holds what both have made of a chain against each other, and what Receiver has made of it against the source.
func (w *twins) compare(t rapid.TB, chain []transfer) {
	t.Helper()
	ok(t, btrfs.Sync(w.progs))
	ok(t, btrfs.Sync(w.native))
	k := known{t: t, properties: map[string]bool{}, ends: map[int64]bool{}}
	pair := testdisk.Twins{Known: k.difference}
	for _, c := range chain {
		progs, native := filepath.Join(w.progs, c.name), filepath.Join(w.native, c.name)
		k.progs, k.native, k.inherited = progs, native, map[string]bool{}
		k.stream(c.stream)
		diffs, err := pair.Compare(progs, native)
		ok(t, err)
		for _, diff := range diffs {
			t.Errorf("%s, by btrfs receive and by Receiver: %s", c.name, diff)
		}
		if c.source != "" {
			wantStamped(t, c.source, native)
		}
		begin, err := NewDecoder(bytes.NewReader(c.stream)).Next()
		ok(t, err)
		is, err := btrfs.Info(native)
		ok(t, err)
		if !is.ReadOnly || is.ReceivedUUID != begin.UUID(AttrUUID) || is.Stransid != begin.Uint(AttrCtransid) {
			t.Errorf("%+v is not what was received from %s", is, begin)
		}
		k.manifest(c.wanted(t))
	}
}

// complete reports whether a backup is at path.
func complete(path string) bool {
	s, err := btrfs.Info(path)
	return err == nil && s.ReadOnly && !s.ReceivedUUID.IsZero()
}

func wantIncomplete(t rapid.TB, path string) {
	t.Helper()
	if complete(path) {
		t.Errorf("%s looks like a backup", path)
	}
}

// remove deletes a subvolume if there is one.
func remove(t rapid.TB, dir, name string) {
	t.Helper()
	s, err := btrfs.Info(filepath.Join(dir, name))
	if os.IsNotExist(err) {
		return
	}
	ok(t, err)
	ok(t, btrfs.Delete(dir, name, s.UUID))
}
