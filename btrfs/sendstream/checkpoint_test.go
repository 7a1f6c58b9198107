package sendstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// place is what a checkpoint kept in a test.
type place struct {
	name string
	at   Position
}

// keepSome receives a stream with checkpoints as often as can be, and keeps every nth.
func keepSome(t *testing.T, l lab, name string, stream []byte, nth int) (all []place) {
	t.Helper()
	c := Checkpoints{Time: time.Hour}
	count := 0
	c.Save = func(p Position) error {
		if count++; count%nth > 0 {
			return nil
		}
		k := place{fmt.Sprintf("%s-%d", name, len(all)), p}
		all = append(all, k)
		return btrfs.Snapshot(filepath.Join(l.native, name), l.native, k.name, true)
	}
	ok(t, Receiver{Checkpoints: &c}.Receive(context.Background(), l.native, name, bytes.NewReader(stream)))
	return all
}

func identityOf(t *testing.T, stream []byte) Identity {
	t.Helper()
	d := NewDecoder(bytes.NewReader(stream))
	version, err := d.Version()
	ok(t, err)
	c, err := d.Next()
	ok(t, err)
	return Identity{UUID: c.UUID(AttrUUID), Ctransid: c.Uint(AttrCtransid), Parent: c.UUID(AttrCloneUUID), Version: version}
}

// From wherever a receive was interrupted, going on gives the same subvolume as a receive that was not: in all that the file system shows, how its extents lie and which are shared included; also on
// top of one that was itself interrupted.
func TestResumeEverywhere(t *testing.T) {
	for _, version := range []string{"1", "2"} {
		t.Run("protocol "+version, func(t *testing.T) {
			w := newTwins(t) // Receiver writes to both
			w.compress(t, "zstd")
			ok(t, btrfs.Create(w.source, "live"))
			live := filepath.Join(w.source, "live")
			testdisk.Tree(t, live, testdisk.Spec{Seed: 3, Files: 15, MaxSize: 64 << 10})
			for round, args := range [][]string{{}, {"-p", filepath.Join(w.source, "0")}} {
				name := fmt.Sprint(round)
				ok(t, btrfs.Snapshot(live, w.source, name, true))
				args = append(args, "--proto", version)
				if version == "2" {
					args = append(args, "--compressed-data")
				}
				stream := send(t, append(args, filepath.Join(w.source, name))...)
				places := 0
				whole := Receiver{Checkpoints: &Checkpoints{Time: time.Hour, Save: func(Position) error { places++; return nil }}}
				ok(t, whole.Receive(context.Background(), w.progs, name, bytes.NewReader(stream)))
				if places < 8*17 {
					t.Fatalf("%d places in %d bytes", places, len(stream))
				}
				for n := 1; n <= places; n += 17 {
					w.goOn(t, name, stream, n)
					w.wantSameChain(t, round)
					drop(t, w.native, name)
				}
				w.goOn(t, name, stream, places/2) // on which the next is based
				ok(t, testdisk.Mutate(live, 9, 60))
			}
		})
	}
}

// A line that drops behind any command, the making of a file too, which looks at the next one: what came is kept up to there, and going on from it gives the same.
func TestInterruptedBehindEach(t *testing.T) {
	l := newLab(t, "")
	ok(t, btrfs.Create(l.source, "live"))
	live := filepath.Join(l.source, "live")
	ok(t, os.Mkdir(filepath.Join(live, "dir"), 0o750))
	ok(t, os.WriteFile(filepath.Join(live, "dir/file"), []byte("content"), 0o640))
	ok(t, os.Symlink("file", filepath.Join(live, "dir/link")))
	ok(t, unix.Mkfifo(filepath.Join(live, "fifo"), 0o600))
	ok(t, os.WriteFile(filepath.Join(live, "empty"), nil, 0o600))
	sent := takeSnapshot(t, live, "0")
	stream := send(t, sent)
	d := NewDecoder(bytes.NewReader(stream))
	made := map[Cmd]int{}
	for {
		c, err := d.Next()
		ok(t, err)
		if c.Cmd == CmdEnd {
			break
		}
		cmd, at := c.Cmd, d.Offset()
		made[cmd]++
		var kept []Position
		r := Receiver{Checkpoints: &Checkpoints{Time: time.Hour, Bytes: 4 * at, Save: func(p Position) error {
			kept = append(kept, p)
			return nil
		}}}
		cut := stream[:at+commandHeaderSize/2] // into the next one
		if err := r.Receive(context.Background(), l.native, "cut", bytes.NewReader(cut)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
		if len(kept) != 1 || kept[0].Offset != at {
			t.Fatalf("cut behind a %s at %d: kept %+v", cmd, at, kept)
		}
		ok(t, Receiver{}.Resume(context.Background(), l.native, "cut", Checkpoint{identityOf(t, stream), kept[0]}, bytes.NewReader(stream[at:])))
		wantBackup(t, sent, filepath.Join(l.native, "cut"))
		drop(t, l.native, "cut")
	}
	for _, cmd := range []Cmd{CmdMkfile, CmdMkdir, CmdSymlink, CmdMkfifo, CmdRename, CmdWrite} {
		if made[cmd] == 0 {
			t.Errorf("there was no %s", cmd)
		}
	}
}

// goOn receives a stream up to the nth place at which that can be taken up, keeps what is there, and goes on with that.
func (w *twins) goOn(t *testing.T, name string, stream []byte, nth int) {
	t.Helper()
	const kept = "kept"
	from, dropped := Checkpoint{Identity: identityOf(t, stream)}, errors.New("the line dropped")
	r := Receiver{Checkpoints: &Checkpoints{Time: time.Hour, Save: func(p Position) error {
		if nth--; nth > 0 {
			return nil
		}
		from.Position = p
		return errors.Join(dropped, btrfs.Snapshot(filepath.Join(w.native, name), w.native, kept, true))
	}}}
	if err := r.Receive(context.Background(), w.native, name, bytes.NewReader(stream)); !errors.Is(err, dropped) {
		t.Fatal(err)
	}
	drop(t, w.native, name)
	ok(t, btrfs.Snapshot(filepath.Join(w.native, kept), w.native, name, false))
	if err := Skip(bytes.NewReader(stream), from.Position); err != nil || !bytes.Equal(digestOf(stream[:from.Offset]), from.Digest) {
		t.Fatalf("the %d bytes have another digest: %v", from.Offset, err)
	}
	ok(t, Receiver{}.Resume(context.Background(), w.native, name, from, bytes.NewReader(stream[from.Offset:])))
	drop(t, w.native, kept)
	wantStamped(t, filepath.Join(w.source, name), filepath.Join(w.native, name))
}

// wantSameChain compares the subvolumes up to number last.
func (w *twins) wantSameChain(t *testing.T, last int) {
	t.Helper()
	ok(t, btrfs.Sync(w.progs))
	ok(t, btrfs.Sync(w.native))
	pair := testdisk.Twins{Resumed: true}
	for n := range last + 1 {
		diffs, err := pair.Compare(filepath.Join(w.progs, fmt.Sprint(n)), filepath.Join(w.native, fmt.Sprint(n)))
		ok(t, err)
		for _, diff := range diffs {
			t.Errorf("%d: not interrupted, and gone on with: %s", n, diff)
		}
	}
}

func drop(t *testing.T, dir, name string) {
	t.Helper()
	s, err := btrfs.Info(filepath.Join(dir, name))
	ok(t, err)
	ok(t, btrfs.Delete(dir, name, s.UUID))
}

// The digest goes on, so that checkpoints of a resumed receive are as good as those of the first.
func TestCheckpointsAfterResume(t *testing.T) {
	l := newLab(t, "")
	ok(t, btrfs.Create(l.source, "live"))
	testdisk.Tree(t, filepath.Join(l.source, "live"), testdisk.Spec{Seed: 4, Files: 20, MaxSize: 32 << 10})
	ok(t, btrfs.Snapshot(filepath.Join(l.source, "live"), l.source, "0", true))
	stream := send(t, filepath.Join(l.source, "0"))
	first := keepSome(t, l, "0", stream, 30)
	middle := first[len(first)/2]
	ok(t, btrfs.Snapshot(filepath.Join(l.native, middle.name), l.native, "again", false))
	var later []Position
	r := Receiver{Checkpoints: &Checkpoints{Time: time.Hour, Save: func(p Position) error {
		later = append(later, p)
		return nil
	}}}
	from := Checkpoint{identityOf(t, stream), middle.at}
	ok(t, r.Resume(context.Background(), l.native, "again", from, bytes.NewReader(stream[from.Offset:])))
	if len(later) == 0 || later[0].Offset <= from.Offset {
		t.Fatalf("%d checkpoints", len(later))
	}
	for _, p := range later {
		if !bytes.Equal(digestOf(stream[:p.Offset]), p.Digest) {
			t.Errorf("at %d: another digest than that of the bytes", p.Offset)
		}
		if c := (Checkpoint{from.Identity, p}); c.resumable() != nil {
			t.Errorf("at %d: %v", p.Offset, c.resumable())
		}
	}
}

// Between checkpoints no more than the bytes allowed are read, however they come, and not much less: each costs the disk a sync.
func TestCheckpointInterval(t *testing.T) {
	var commands []handmade
	commands = append(commands, subvol)
	for i := range 300 {
		p := fmt.Sprint("f", i)
		commands = append(commands, mkfile(p), write(p, 0, bytes.Repeat([]byte{byte(i)}, 40_000)))
	}
	stream := streamOf(t, 1, append(commands, end)...)
	for _, interval := range []int64{1 << 20, 2 << 20, 3 << 20} {
		dir := testdisk.New(t, testdisk.Options{}).Path
		from := &counting{from: bytes.NewReader(stream)}
		last := int64(0)
		r := Receiver{Checkpoints: &Checkpoints{Bytes: interval, Time: time.Hour, Save: func(p Position) error {
			if from.n-last > max(interval, 3<<19) {
				t.Errorf("%d bytes were read since %d", from.n-last, last)
			}
			if p.Offset-last < interval/4 {
				t.Errorf("checkpoints at %d and %d, for %d bytes each", last, p.Offset, interval)
			}
			last = p.Offset
			return nil
		}}}
		ok(t, r.Receive(context.Background(), dir, "sent", from))
		if last == 0 || from.n-last > max(interval, 3<<19) {
			t.Errorf("the last checkpoint of %d bytes is at %d", from.n, last)
		}
	}
}

type counting struct {
	from *bytes.Reader
	n    int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	return n, err
}

// A checkpoint is also made for the time that has passed, and none where nothing came.
func TestCheckpointTime(t *testing.T) {
	dir := testdisk.New(t, testdisk.Options{}).Path
	stream := streamOf(t, 1, subvol, mkfile("a"), mkfile("b"), mkfile("c"), end)
	saved := 0
	r := Receiver{Checkpoints: &Checkpoints{Bytes: 1 << 30, Time: time.Nanosecond, Save: func(Position) error { saved++; return nil }}}
	ok(t, r.Receive(context.Background(), dir, "sent", bytes.NewReader(stream)))
	// After a file was made, the command behind it has been read.
	if saved == 0 || saved > 4 {
		t.Errorf("%d checkpoints of 4 commands", saved)
	}
}

func TestCheckpointFails(t *testing.T) {
	dir := testdisk.New(t, testdisk.Options{}).Path
	stream := streamOf(t, 1, subvol, mkfile("a"), end)
	full := errors.New("the disk is full")
	r := Receiver{Checkpoints: &Checkpoints{Time: time.Hour, Save: func(Position) error { return full }}}
	if err := r.Receive(context.Background(), dir, "sent", bytes.NewReader(stream)); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
	if s, err := btrfs.Info(filepath.Join(dir, "sent")); err != nil || s.ReadOnly || !s.ReceivedUUID.IsZero() {
		t.Errorf("%+v %v", s, err)
	}
}

// What is no place in a stream, or was damaged, is refused before anything is written.
func TestResumeRefuses(t *testing.T) {
	dir := testdisk.New(t, testdisk.Options{}).Path
	stream := streamOf(t, 1, subvol, mkfile("a"), write("a", 0, []byte("text")), end)
	var at Position
	r := Receiver{Checkpoints: &Checkpoints{Time: time.Hour, Save: func(p Position) error { at = p; return nil }}}
	ok(t, r.Receive(context.Background(), dir, "sent", bytes.NewReader(stream)))
	good := Checkpoint{identityOf(t, stream), at}
	for says, damage := range map[string]func(*Checkpoint){
		"go on with the digest": func(c *Checkpoint) { c.State = []byte("short") },
		"do not fit":            func(c *Checkpoint) { c.Digest = make([]byte, 32) },
		"version 4":             func(c *Checkpoint) { c.Version = 4 },
		"no place":              func(c *Checkpoint) { c.Offset = 3 },
		"no place in":           func(c *Checkpoint) { c.UUID = btrfs.UUID{} },
	} {
		c := good
		damage(&c)
		ok(t, btrfs.Create(dir, "again"))
		err := Receiver{}.Resume(context.Background(), dir, "again", c, bytes.NewReader(stream[at.Offset:]))
		if !errors.Is(err, ErrCheckpoint) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
		drop(t, dir, "again")
	}
	// Another stream, or another place in it, is found out by its checksums.
	for _, rest := range [][]byte{stream, stream[at.Offset+1:], stream[at.Offset-1:], nil} {
		ok(t, btrfs.Create(dir, "again"))
		if err := (Receiver{}).Resume(context.Background(), dir, "again", good, bytes.NewReader(rest)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v", err)
		}
		if s, err := btrfs.Info(filepath.Join(dir, "again")); err != nil || s.ReadOnly || !s.ReceivedUUID.IsZero() {
			t.Errorf("%+v %v", s, err)
		}
		drop(t, dir, "again")
	}
	if err := (Receiver{}).Resume(context.Background(), dir, "missing", good, bytes.NewReader(stream[at.Offset:])); err == nil {
		t.Error("went on in nothing")
	}
}

func TestIdentityEqual(t *testing.T) {
	a := Identity{UUID: btrfs.UUID{1}, Clones: []btrfs.UUID{{2}, {3}}, Version: 2}
	b := a
	b.Clones = []btrfs.UUID{{3}, {2}}
	if !a.Equal(b) {
		t.Error("the order of clone sources counts")
	}
	for _, change := range []func(*Identity){
		func(i *Identity) { i.UUID = btrfs.UUID{9} },
		func(i *Identity) { i.Ctransid++ },
		func(i *Identity) { i.Parent = btrfs.UUID{9} },
		func(i *Identity) { i.Clones = i.Clones[:1] },
		func(i *Identity) { i.Version = 1 },
		func(i *Identity) { i.Compressed = true },
	} {
		c := b
		if change(&c); a.Equal(c) {
			t.Errorf("%+v equals %+v", c, a)
		}
	}
}
