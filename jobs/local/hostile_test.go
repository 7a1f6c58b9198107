package local_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
	"github.com/btrkeep/btrkeep/jobs/local"
)

func TestMain(m *testing.M) { testdisk.Main(m) }

// target is an open destination with something beside it that is none of a sender's business.
type target struct {
	jobs.Destination
	job          config.Job
	opener       local.Opener
	dir, outside string
	before       string // all that is on its disk
	unlock       func()
}

// interval is how often checkpoints are made, in bytes.
const interval = 2 << 20

func newTarget(t *testing.T, every config.Checkpoint) *target {
	t.Helper()
	source, disk := testdisk.New(t, testdisk.Options{InMemory: true}).Path, testdisk.New(t, testdisk.Options{InMemory: true}).Path
	home := filepath.Join(source, "home")
	ok(t, btrfs.Create(source, "home"))
	d := &target{dir: filepath.Join(disk, "backups"), outside: filepath.Join(disk, "outside"), opener: local.Opener{Zone: time.UTC, Receiver: local.Native{Checkpoint: every}}}
	ok(t, os.Mkdir(d.outside, 0o700))
	ok(t, os.WriteFile(filepath.Join(d.outside, "secret"), []byte("secret"), 0o600))
	d.job = config.Job{Name: "home", Source: home, SnapshotDir: filepath.Join(home, config.DefaultSnapshotDir), Destinations: []config.Destination{{Name: "d1", URL: d.dir}}}
	var err error
	d.Destination, err = d.opener.Open(t.Context(), d.job, d.job.Destinations[0], jobs.Owner{Machine: jobs.Machine(), Path: home}, jobs.Identity{})
	ok(t, err)
	d.lock(t)
	t.Cleanup(func() { d.unlock() })
	d.before = everything(t, disk)
	return d
}

func (d *target) lock(t *testing.T) {
	t.Helper()
	unlock, err := d.Lock(context.Background(), jobs.Holder{})
	ok(t, err)
	d.unlock = sync.OnceFunc(unlock)
}

// everything is what is in a directory, as text: names, modes, owners and contents, in all subvolumes.
func everything(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	ok(t, filepath.Walk(dir, func(path string, st os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		var content []byte
		if st.Mode().IsRegular() {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		sys, _ := st.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&b, "%s %s %d:%d %q\n", path, st.Mode(), sys.Uid, sys.Gid, content)
		return nil
	}))
	return b.String()
}

// unchanged demands that all is on the disk that was before, and nothing else.
func (d *target) unchanged(t *testing.T, name string) {
	t.Helper()
	if diff := cmp.Diff(d.before, everything(t, filepath.Dir(d.dir))); diff != "" {
		t.Fatalf("%s: the disk has changed, -was +is:\n%.2000s", name, diff)
	}
}

// receive demands an error.
func (d *target) receive(t *testing.T, name string, stream io.Reader) {
	t.Helper()
	in := jobs.Incoming{Name: "20261123T115600Z", Stream: stream}
	in.UUID, in.Ctransid = id, 77
	if _, err := d.Receive(t.Context(), in); err == nil {
		t.Errorf("%s: accepted", name)
	}
}

// refuses demands an error, the removal of what was received by then, and that nothing else has changed.
func (d *target) refuses(t *testing.T, name string, stream io.Reader) {
	t.Helper()
	d.receive(t, name, stream)
	d.unchanged(t, name)
}

var id = btrfs.UUID{1, 2, 3, 4}

// step is a command of a stream.
type step struct {
	cmd    sendstream.Cmd
	values []sendstream.Value
}

func do(cmd sendstream.Cmd, values ...sendstream.Value) step { return step{cmd, values} }

func at(path string) sendstream.Value { return sendstream.Text(sendstream.AttrPath, path) }

func stream(t *testing.T, steps ...step) []byte {
	t.Helper()
	var b bytes.Buffer
	e, err := sendstream.NewEncoder(&b, 2)
	ok(t, err)
	for _, s := range steps {
		ok(t, e.Encode(s.cmd, s.values...))
	}
	return b.Bytes()
}

var (
	ino       = sendstream.Uint(sendstream.AttrIno, 257)
	begin     = do(sendstream.CmdSubvol, at("sent"), sendstream.UUID(sendstream.AttrUUID, id), sendstream.Uint(sendstream.AttrCtransid, 77))
	file, end = do(sendstream.CmdMkfile, at("f"), ino), do(sendstream.CmdEnd)
)

func write(path string, data []byte) step {
	return do(sendstream.CmdWrite, at(path), sendstream.Uint(sendstream.AttrFileOffset, 0), sendstream.Value{Attr: sendstream.AttrData, Bytes: data})
}

// tails are what is refused after whatever beginning, without the header of a stream.
func (d *target) tails(t *testing.T) map[string][]byte {
	link := do(sendstream.CmdSymlink, at("l"), ino, sendstream.Text(sendstream.AttrPathLink, d.outside))
	all := map[string][]byte{}
	for name, steps := range map[string][]step{
		"path with ..":           {do(sendstream.CmdMkfile, at("../outside/f"), ino), end},
		"beside it":              {do(sendstream.CmdMkfile, at("../f"), ino), end},
		"absolute path":          {write(d.outside+"/secret", []byte("x")), end},
		"through a symlink":      {link, write("l/secret", []byte("x")), end},
		"made through a symlink": {link, do(sendstream.CmdMkfile, at("l/new"), ino), end},
		"renamed into a symlink": {link, file, do(sendstream.CmdRename, at("f"), sendstream.Text(sendstream.AttrPathTo, "l/f")), end},
		"overlong":               {do(sendstream.CmdMkdir, at(strings.Repeat("x/", 4000)+"x"), ino), end},
		"duplicate attribute":    {do(sendstream.CmdUnlink, at("f"), at("f")), end},
		"after END":              {end, file},
		"second stream":          {end, begin, end},
		"clone from outside": {file, do(sendstream.CmdClone, at("f"), sendstream.Uint(sendstream.AttrFileOffset, 0), sendstream.Uint(sendstream.AttrCloneLen, 0),
			sendstream.UUID(sendstream.AttrCloneUUID, id), sendstream.Uint(sendstream.AttrCloneCtransid, 7),
			sendstream.Text(sendstream.AttrClonePath, "../outside/secret"), sendstream.Uint(sendstream.AttrCloneOffset, 0)), end},
		"nested": {file, do(sendstream.CmdMkdir, at("f/d"), ino), end},
		"no end": {file},
	} {
		all[name] = body(t, steps...)
	}
	const crc = 6 // where it is in a command
	good, at := body(t, file, write("f", noise(40_000)), end), len(body(t, file))
	for name, n := range map[string]int{"wrong checksum": at + crc, "data that is not what the checksum is of": at + 20_000} {
		all[name] = slices.Clone(good)
		all[name][n] ^= 1
	}
	for _, claim := range []uint32{1 << 20, 1 << 31, 1<<32 - 1} {
		raw := append(binary.LittleEndian.AppendUint32(body(t, file), claim), byte(sendstream.CmdWrite), 0, 0, 0, 0, 0)
		all[fmt.Sprintf("%d bytes claimed", claim)] = append(raw, make([]byte, 3<<20)...)
	}
	return all
}

// body is a stream without its header.
func body(t *testing.T, steps ...step) []byte { return stream(t, steps...)[len(stream(t)):] }

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{9}).Read(b)
	return b
}

// Whatever a sender sends: an error, nothing written elsewhere, and nothing left of it.
func TestHostileStreamsLeaveNothing(t *testing.T) {
	d := newTarget(t, config.Checkpoint{})
	other := do(sendstream.CmdSubvol, at("sent"), sendstream.UUID(sendstream.AttrUUID, btrfs.UUID{9}), sendstream.Uint(sendstream.AttrCtransid, 77))
	snapshot := do(sendstream.CmdSnapshot, at("sent"), sendstream.UUID(sendstream.AttrUUID, id), sendstream.Uint(sendstream.AttrCtransid, 77),
		sendstream.UUID(sendstream.AttrCloneUUID, btrfs.UUID{9}), sendstream.Uint(sendstream.AttrCloneCtransid, 7))
	for name, steps := range map[string][]step{
		"before SUBVOL":    {file, begin, end},
		"no such parent":   {snapshot, end},
		"other subvolume":  {other, file, end}, // whole, but not what was to be sent
		"other generation": {do(sendstream.CmdSubvol, at("sent"), sendstream.UUID(sendstream.AttrUUID, id), sendstream.Uint(sendstream.AttrCtransid, 78)), end},
		"nothing":          {},
	} {
		d.refuses(t, name, bytes.NewReader(stream(t, steps...)))
	}
	for name, tail := range d.tails(t) {
		d.refuses(t, name, bytes.NewReader(append(stream(t, begin), tail...)))
	}
	good := stream(t, begin, file, write("f", []byte("x")), end)
	for n := range good {
		d.refuses(t, fmt.Sprintf("cut at %d", n), bytes.NewReader(good[:n]))
	}
	raw := append(binary.LittleEndian.AppendUint32(stream(t, begin, file), 1<<32-1), byte(sendstream.CmdWrite), 0, 0, 0, 0, 0)
	d.refuses(t, "much", io.MultiReader(bytes.NewReader(raw), io.LimitReader(zeros{}, 20<<20)))
	in := jobs.Incoming{Name: "20261123T115600Z"}
	in.UUID, in.Ctransid = id, 77
	for agreed := 1; agreed < sendstream.MaxVersion; agreed++ {
		newer := slices.Clone(good)
		newer[len(stream(t))-4] = byte(agreed + 1) // its version, the last of the header
		in.Version, in.Stream = agreed, bytes.NewReader(newer)
		if _, err := d.Receive(t.Context(), in); !errors.Is(err, sendstream.ErrVersion) {
			t.Errorf("protocol %d, and %d was agreed on: %v", agreed+1, agreed, err)
		}
		d.unchanged(t, "newer protocol")
	}
	in.Version, in.Stream = 2, bytes.NewReader(good)
	b, err := d.Receive(t.Context(), in)
	ok(t, err)
	if !b.Complete {
		t.Errorf("%+v", b)
	}
}

// A stream that turns hostile after more than one interval leaves its last checkpoint, as any that breaks off, and nothing else: read-only, in the catalog, with what was sent before, and no backup to anybody.
func TestHostileStreamsLeaveACheckpoint(t *testing.T) {
	d := newTarget(t, config.Checkpoint{Bytes: interval, Time: config.Duration(time.Minute)})
	head, data := []step{begin}, noise(100<<10)
	for n := range 50 {
		p := fmt.Sprint("sent", n)
		head = append(head, do(sendstream.CmdMkfile, at(p), ino), write(p, data))
	}
	raw := stream(t, head...)
	leave := func(name string, tail []byte) jobs.Leftover {
		t.Helper()
		d.receive(t, name, bytes.NewReader(append(slices.Clone(raw), tail...)))
		there, err := d.List(t.Context())
		ok(t, err)
		if len(there.Leftovers) != 1 || len(there.Backups) > 0 || there.Leftovers[0].Checkpoint == nil {
			t.Fatalf("%s: %+v", name, there)
		}
		return there.Leftovers[0]
	}
	for name, tail := range d.tails(t) {
		left := leave(name, tail)
		path := filepath.Join(d.dir, left.Name)
		s, err := btrfs.Info(path)
		ok(t, err)
		cat, err := catalog.Read(d.dir)
		ok(t, err)
		e, offset := cat[s.UUID], left.Checkpoint.Offset
		if s.UUID != left.UUID || !s.ReadOnly || !s.ReceivedUUID.IsZero() || len(cat) != 1 || e.Ctransid != s.Ctransid || offset < interval || offset > int64(len(raw)+len(tail)) {
			t.Errorf("%s: it left %+v at %d, and the catalog says %+v", name, s, offset, cat)
		}
		entries, err := os.ReadDir(path)
		ok(t, err)
		for _, e := range entries {
			content, err := os.ReadFile(filepath.Join(path, e.Name()))
			ok(t, err)
			// The file of a tail that just ends was sent, too.
			if !strings.HasPrefix(e.Name(), "sent") && e.Name() != "f" || !bytes.Equal(content, data) && len(content) > 0 {
				t.Errorf("%s: the checkpoint has %s with %d bytes", name, e, len(content))
			}
		}
		_, err = d.Clean(t.Context(), []jobs.Leftover{left})
		ok(t, err)
		if d.has(t, left) {
			t.Fatalf("%s: it is still there", name)
		}
		ok(t, os.Remove(filepath.Join(d.dir, catalog.File))) // empty now
		d.unchanged(t, name)
	}

	// Who does that, where no run goes on with it: one that looks after what others keep there, after 30 days; and the next of the source, which has no such snapshot.
	received := config.Job{Name: "received", Received: d.dir, SnapshotDir: d.dir, Keep: config.Keep{Last: 1}, Destinations: []config.Destination{{Name: config.ReceivedName, URL: d.dir, Keep: config.Keep{Last: 1}}}}
	for _, c := range []struct {
		name  string
		job   config.Job
		later time.Duration
		gone  bool
	}{
		{"what others keep, soon", received, 29 * 24 * time.Hour, false},
		{"what others keep, late", received, 31 * 24 * time.Hour, true},
		{"the source", d.job, 0, true},
	} {
		left := leave(c.name, nil)
		d.unlock()
		state := t.TempDir()
		r := jobs.Runner{
			Config: &config.Config{Timezone: time.UTC, Parallel: 1, StateDir: filepath.Join(state, "state"), RuntimeDir: filepath.Join(state, "run")},
			Log:    slog.New(slog.DiscardHandler), Slots: &jobs.Slots{}, Open: d.opener.Open, At: d.opener.At,
		}
		now := time.Now().Add(c.later)
		if r := r.Run(t.Context(), c.job, jobs.Options{Clock: jobs.Clock{Wall: now, Boot: time.Hour, ID: "boot"}}); r.Result != jobs.ResultOK {
			t.Errorf("%s: %+v", c.name, r)
		}
		if d.has(t, left) == c.gone {
			t.Errorf("%s: gone: %v", c.name, !c.gone)
		}
		d.lock(t)
		if !c.gone {
			_, err := d.Clean(t.Context(), []jobs.Leftover{left})
			ok(t, err)
		}
	}
}

// has reports whether a leftover is there, or in the catalog.
func (d *target) has(t *testing.T, l jobs.Leftover) bool {
	t.Helper()
	cat, err := catalog.Read(d.dir)
	ok(t, err)
	_, known := cat[l.UUID]
	_, err = os.Lstat(filepath.Join(d.dir, l.Name))
	return known || err == nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
