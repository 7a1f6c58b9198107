package sendstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/btrkeep/btrkeep/btrfs"
)

const keptDir = "testdata/kept"

// What once went wrong, as streams: the kernels that made them may send other ones by now. With -update, TestReceiveNasty puts its shorter ones there.
func TestKeptStreams(t *testing.T) {
	w := newTwins(t)
	dirs, err := filepath.Glob(keptDir + "/*")
	ok(t, err)
	if len(dirs) == 0 {
		t.Fatal("nothing in " + keptDir)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			chain := kept(t, dir)
			if accepted, said := w.apply(t, chain); accepted < len(chain) {
				t.Errorf("refused: %s", said)
			}
		})
	}
}

// keep writes the streams of a chain, and what their sources hold, into a directory.
func keep(t rapid.TB, dir string, chain []transfer) {
	t.Helper()
	ok(t, os.RemoveAll(dir))
	ok(t, os.MkdirAll(dir, 0o755))
	for n, c := range chain {
		file := filepath.Join(dir, fmt.Sprint(n))
		ok(t, os.WriteFile(file+".stream", c.stream, 0o644))
		ok(t, os.WriteFile(file+".manifest", []byte(strings.Join(c.wanted(t), "\n")+"\n"), 0o644))
	}
}

// kept reads a chain of streams.
func kept(t testing.TB, dir string) []transfer {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.stream"))
	ok(t, err)
	var chain []transfer
	for _, file := range files {
		stream, err := os.ReadFile(file)
		ok(t, err)
		first, err := NewDecoder(bytes.NewReader(stream)).Next()
		ok(t, err)
		manifest, err := os.ReadFile(strings.TrimSuffix(file, ".stream") + ".manifest")
		ok(t, err)
		chain = append(chain, transfer{name: first.Path(), stream: stream, manifest: strings.Split(strings.TrimSpace(string(manifest)), "\n")})
	}
	return chain
}

// keeper keeps chains that go wrong.
type keeper struct {
	dir string
	now map[string]string // by the way of sending, the last directory: what fails shrinks, and only its smallest is for keeping
}

// watch keeps the chain if what is done with it fails or panics. No other run has put one into the same place, unless it was the same.
func (k *keeper) watch(t rapid.TB, how string, chain []transfer, do func()) {
	done := false
	defer func() {
		if done && !t.Failed() {
			return
		}
		sum := sha256.New()
		for _, c := range chain {
			sum.Write(c.stream)
		}
		dir := filepath.Join(k.dir, fmt.Sprintf("failed-%s-%.4x", how, sum.Sum(nil)))
		keep(t, dir, chain)
		if was := k.now[how]; was != "" && was != dir {
			ok(t, os.RemoveAll(was))
		}
		if k.now == nil {
			k.now = map[string]string{}
		}
		k.now[how] = dir
	}()
	do()
	done = true
}

// outcome is a test within the test.
type outcome struct {
	rapid.TB
	failed bool
	said   string
}

func (o *outcome) Failed() bool { return o.failed }
func (o *outcome) Errorf(format string, args ...any) {
	o.failed, o.said = true, o.said+fmt.Sprintf(format, args...)+"\n"
}

// What goes wrong is kept, and found as it was: beside what went wrong in another run, in place of what it was shrunk from.
func TestKeep(t *testing.T) {
	w := newTwins(t)
	ok(t, btrfs.Create(w.source, "source"))
	s := scene{t, filepath.Join(w.source, "source")}
	s.file(5000, "f", "new\nline")
	ok(t, btrfs.Snapshot(s.root, w.source, "first", true))
	s.write("f", 3, "changed")
	ok(t, btrfs.Snapshot(s.root, w.source, "second", true))
	chain, err := w.send(t, []snapshotOf{{"first", -1}, {"second", 0}}, sendings[1])
	ok(t, err)

	base := t.TempDir()
	dirs := func() []string {
		found, err := filepath.Glob(base + "/*")
		ok(t, err)
		return found
	}
	want := func(what string, dir string, chain []transfer) {
		t.Helper()
		var wanted []transfer
		for _, c := range chain {
			wanted = append(wanted, transfer{name: c.name, stream: c.stream, manifest: c.wanted(t)})
		}
		if diff := cmp.Diff(wanted, kept(t, dir), cmp.AllowUnexported(transfer{})); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	run := keeper{dir: base}
	run.watch(&outcome{TB: t}, "v2", chain, func() {})
	if len(dirs()) > 0 {
		t.Fatalf("kept without a reason: %q", dirs())
	}
	fails := &outcome{TB: t}
	run.watch(fails, "v2", chain, func() { fails.Errorf("") })
	first := dirs()
	if len(first) != 1 {
		t.Fatalf("failed: %q", first)
	}
	want("failed", first[0], chain)
	// A panic is not the end of what is kept.
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was taken away")
			}
		}()
		other := keeper{dir: base}
		other.watch(&outcome{TB: t}, "v2", chain[:1], func() { panic("receiver") })
	}()
	second := dirs()
	if len(second) != 2 {
		t.Fatalf("failed in another run: %q", second)
	}
	for _, dir := range second {
		if dir == first[0] {
			want("failed before", dir, chain)
		} else {
			want("panicked", dir, chain[:1])
		}
	}
	smaller := []transfer{{name: "third", stream: chain[0].stream[:1000], source: chain[0].source}}
	run.watch(fails, "v2", smaller, func() {})
	run.watch(fails, "v1", chain, func() {})
	if got := dirs(); len(got) != 3 || exists(first[0]) {
		t.Fatalf("shrunk, and failed in another way: %q", got)
	}

	// Received, it is what the source had, which one other byte is not.
	good := second[0]
	if good == first[0] {
		good = second[1]
	}
	w.apply(t, kept(t, good))
	bad := kept(t, good)
	bad[0].stream = bytes.Clone(bad[0].stream)
	at := bytes.Index(bad[0].stream, chainData(t, bad[0].stream))
	bad[0].stream[at] ^= 1
	bad[0].stream = withChecksums(bad[0].stream)
	result := &outcome{TB: t}
	w.apply(result, bad)
	if !strings.Contains(result.said, `"./f": mode 100644`) || !strings.Contains(result.said, "at the source: mode 100644") {
		t.Errorf("another byte: %q", result.said)
	}
}

// chainData is the data of the first write of a stream.
func chainData(t rapid.TB, stream []byte) (data []byte) {
	each(t, stream, func(c *Command) {
		if c.Cmd == CmdWrite && data == nil {
			data = bytes.Clone(c.Bytes(AttrData))
		}
	})
	return data
}

// receiveHere is Receive in the goroutine of the test, where a panic is the test's.
func receiveHere(dir, name string, stream []byte) error {
	return Receiver{}.run(context.Background(), dir, name, bytes.NewReader(stream), func(s *session) error { return s.checkpoints(nil, Position{}) })
}
