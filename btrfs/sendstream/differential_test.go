package sendstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/btrkeep/btrkeep/btrfs"
)

// Whatever a tree holds and whatever becomes of it, Receiver makes the same of its streams as btrfs receive, in all that stat, listxattr, FIEMAP and
// the contents show: in full and incremental, with protocols 1 and 2, with compressed data of each kind.
//
// The streams of a case that fails are put into testdata/kept, the smallest last, where TestKeptStreams finds them ever after.
func TestReceiveLikeBtrfsProgs(t *testing.T) {
	hundreds := 3
	switch {
	case os.Getenv("BTRKEEP_LONG") != "":
		hundreds = 27 // of which a quarter is not compressed at the source
	case testing.Short():
		hundreds = 1
	}
	d := differential{twins: newTwins(t), said: map[string]int{}, commands: map[Cmd]int{}}
	began := time.Now()
	for n := range hundreds {
		t.Run(fmt.Sprint(n), func(t *testing.T) { rapid.Check(t, d.check) })
		if t.Failed() {
			return
		}
	}
	t.Logf("%d cases, %d streams, %d chains that both refused, in %v", d.cases, d.streams, d.refused, time.Since(began).Round(time.Second))
	for said, n := range d.said {
		t.Logf("refused %d times: %s", n, said)
	}
	for cmd := CmdSubvol; cmd <= maxCmdV2; cmd++ {
		t.Logf("%s: %d", cmd, d.commands[cmd])
		if d.commands[cmd] == 0 && cmd != CmdUpdateExtent && cmd != CmdFallocate { // for want of data; from Linux 6.17 on
			t.Errorf("there was no %s", cmd)
		}
	}
}

type differential struct {
	*twins
	cases, streams, refused int
	said                    map[string]int
	commands                map[Cmd]int
}

func (d *differential) check(r *rapid.T) {
	d.cases++
	d.compress(r, rapid.SampledFrom([]string{"zstd", "zlib", "lzo", "no"}).Draw(r, "compression"))
	source := "source"
	ok(r, btrfs.Create(d.source, source))
	made := []string{source}
	defer func() {
		for _, name := range made {
			remove(r, d.source, name)
		}
	}()
	var snapshots []snapshotOf
	for n := range rapid.IntRange(2, 3).Draw(r, "snapshots") {
		root := filepath.Join(d.source, source)
		for range rapid.IntRange(1, 40).Draw(r, "changes") {
			shape(r, root)
		}
		s := snapshotOf{name: fmt.Sprintf("s%d", n), parent: n - 1}
		if n > 1 {
			s.parent = n - 1 - rapid.IntRange(0, 1).Draw(r, "parent")
		}
		ok(r, btrfs.Snapshot(root, d.source, s.name, true))
		snapshots, made = append(snapshots, s), append(made, s.name)
		next := fmt.Sprintf("source%d", n)
		switch rapid.IntRange(0, 4).Draw(r, "go on") {
		case 0, 1, 2:
			continue // in the same
		case 3: // in a snapshot, where the inode numbers of what was deleted last are given out again
			ok(r, btrfs.Snapshot(root, d.source, next, false))
		case 4: // in another, whose inode numbers mean other files
			ok(r, btrfs.Create(d.source, next))
		}
		source, made = next, append(made, next)
	}
	for _, how := range sendings {
		chain, err := d.send(r, snapshots, how)
		if errors.Is(err, unix.ENAMETOOLONG) { // paths can be as long as 4096 bytes in a stream, and longer in a tree
			d.note(err.Error())
			continue
		}
		ok(r, err)
		d.transfer(r, chain, how)
	}
}

func (d *differential) transfer(r *rapid.T, chain []transfer, how sending) {
	defer func() {
		if r.Failed() {
			keep(r, "failed-"+how.name, chain)
		}
	}()
	for _, c := range chain {
		d.count(r, c.stream)
	}
	accepted, said := d.apply(r, chain)
	if accepted < len(chain) {
		d.refused++
		d.note(said)
	}
}

func (d *differential) count(r *rapid.T, stream []byte) {
	d.streams++
	in := NewDecoder(bytes.NewReader(stream))
	for {
		c, err := in.Next()
		if err == io.EOF {
			return
		}
		ok(r, err)
		d.commands[c.Cmd]++
	}
}

// compress makes the source's disk compress what is written from now on.
func (w *twins) compress(t rapid.TB, algorithm string) {
	option := "nodev,compress-force=" + algorithm
	if algorithm == "no" {
		option = "nodev,compress=no"
	}
	if w.mount != option {
		w.disk.Remount(option)
		w.mount = option
	}
}

func (d *differential) note(said string) {
	if i := strings.LastIndex(said, ": "); i >= 0 {
		said = strings.Fields(said)[0] + " …" + said[i:]
	}
	d.said[said]++
}

// keep writes the streams of a chain, and what their sources hold, to where TestKeptStreams finds them.
func keep(t rapid.TB, name string, chain []transfer) {
	dir := filepath.Join("testdata", "kept", name)
	ok(t, os.RemoveAll(dir))
	ok(t, os.MkdirAll(dir, 0o755))
	for n, c := range chain {
		file := filepath.Join(dir, fmt.Sprint(n))
		ok(t, os.WriteFile(file+".stream", c.stream, 0o644))
		ok(t, os.WriteFile(file+".manifest", []byte(strings.Join(c.wanted(t), "\n")+"\n"), 0o644))
	}
}

// What once went wrong, as streams: the kernels that made them may send other ones by now. With -update, TestReceiveNasty puts its shorter ones there.
func TestKeptStreams(t *testing.T) {
	w := newTwins(t)
	dirs, err := filepath.Glob("testdata/kept/*")
	ok(t, err)
	if len(dirs) == 0 {
		t.Fatal("nothing in testdata/kept")
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
