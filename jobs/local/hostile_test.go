package local_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/local"
)

func TestMain(m *testing.M) { testdisk.Main(m) }

// target is an open destination with something beside it that is none of a sender's business.
type target struct {
	jobs.Destination
	dir, outside string
	digest       string // of outside
}

func newTarget(t *testing.T) target {
	t.Helper()
	source, disk := testdisk.New(t, testdisk.Options{InMemory: true}).Path, testdisk.New(t, testdisk.Options{InMemory: true}).Path
	ok(t, btrfs.Create(source, "home"))
	outside := filepath.Join(disk, "outside")
	ok(t, os.Mkdir(outside, 0o700))
	ok(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600))
	digest, err := testdisk.Digest(outside)
	ok(t, err)
	dir := filepath.Join(disk, "backups")
	opener := local.Opener{Zone: time.UTC, Receiver: local.Native{}}
	d, err := opener.Open(t.Context(), config.Job{Name: "home", Source: filepath.Join(source, "home")}, config.Destination{URL: dir}, jobs.Owner{}, jobs.Identity{})
	ok(t, err)
	unlock, err := d.Lock(t.Context(), jobs.Holder{})
	ok(t, err)
	t.Cleanup(unlock)
	return target{d, dir, outside, digest}
}

// refuses demands an error, the removal of what was received by then, and that nothing else has changed.
func (d target) refuses(t *testing.T, name string, stream io.Reader) {
	t.Helper()
	in := jobs.Incoming{Name: "20261123T115600Z", Stream: stream}
	in.UUID, in.Ctransid = id, 77
	if _, err := d.Receive(t.Context(), in); err == nil {
		t.Errorf("%s: accepted", name)
	}
	entries, err := os.ReadDir(d.dir)
	ok(t, err)
	for _, e := range entries {
		if e.IsDir() {
			t.Errorf("%s: it left %s", name, e.Name())
		}
	}
	digest, err := testdisk.Digest(d.outside)
	ok(t, err)
	if digest != d.digest {
		t.Fatalf("%s: something outside has changed", name)
	}
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

// Whatever a sender sends: an error, nothing written elsewhere, and nothing left of it.
func TestHostileStreamsLeaveNothing(t *testing.T) {
	d := newTarget(t)
	ino := sendstream.Uint(sendstream.AttrIno, 257)
	begin := do(sendstream.CmdSubvol, at("sent"), sendstream.UUID(sendstream.AttrUUID, id), sendstream.Uint(sendstream.AttrCtransid, 77))
	other := do(sendstream.CmdSubvol, at("sent"), sendstream.UUID(sendstream.AttrUUID, btrfs.UUID{9}), sendstream.Uint(sendstream.AttrCtransid, 77))
	snapshot := do(sendstream.CmdSnapshot, at("sent"), sendstream.UUID(sendstream.AttrUUID, id), sendstream.Uint(sendstream.AttrCtransid, 77),
		sendstream.UUID(sendstream.AttrCloneUUID, btrfs.UUID{9}), sendstream.Uint(sendstream.AttrCloneCtransid, 7))
	file, end := do(sendstream.CmdMkfile, at("f"), ino), do(sendstream.CmdEnd)
	write := func(path string) step {
		return do(sendstream.CmdWrite, at(path), sendstream.Uint(sendstream.AttrFileOffset, 0), sendstream.Value{Attr: sendstream.AttrData, Bytes: []byte("x")})
	}
	link := do(sendstream.CmdSymlink, at("l"), ino, sendstream.Text(sendstream.AttrPathLink, d.outside))
	for name, steps := range map[string][]step{
		"path with ..":           {begin, do(sendstream.CmdMkfile, at("../outside/f"), ino), end},
		"absolute path":          {begin, write(d.outside + "/secret"), end},
		"through a symlink":      {begin, link, write("l/secret"), end},
		"made through a symlink": {begin, link, do(sendstream.CmdMkfile, at("l/new"), ino), end},
		"renamed into a symlink": {begin, link, file, do(sendstream.CmdRename, at("f"), sendstream.Text(sendstream.AttrPathTo, "l/f")), end},
		"overlong":               {begin, do(sendstream.CmdMkdir, at(strings.Repeat("x/", 4000)+"x"), ino), end},
		"duplicate attribute":    {begin, do(sendstream.CmdUnlink, at("f"), at("f")), end},
		"before SUBVOL":          {file, begin, end},
		"after END":              {begin, end, file},
		"second stream":          {begin, end, begin, end},
		"clone from outside": {begin, file, do(sendstream.CmdClone, at("f"), sendstream.Uint(sendstream.AttrFileOffset, 0), sendstream.Uint(sendstream.AttrCloneLen, 0),
			sendstream.UUID(sendstream.AttrCloneUUID, id), sendstream.Uint(sendstream.AttrCloneCtransid, 7),
			sendstream.Text(sendstream.AttrClonePath, "../outside/secret"), sendstream.Uint(sendstream.AttrCloneOffset, 0)), end},
		"no such parent":   {snapshot, end},
		"other subvolume":  {other, file, end}, // whole, but not what was to be sent
		"other generation": {do(sendstream.CmdSubvol, at("sent"), sendstream.UUID(sendstream.AttrUUID, id), sendstream.Uint(sendstream.AttrCtransid, 78)), end},
		"nested":           {begin, file, do(sendstream.CmdMkdir, at("f/d"), ino), end},
		"no end":           {begin, file},
		"nothing":          {},
	} {
		d.refuses(t, name, bytes.NewReader(stream(t, steps...)))
	}
	good := stream(t, begin, file, write("f"), end)
	for n := range good {
		d.refuses(t, fmt.Sprintf("cut at %d", n), bytes.NewReader(good[:n]))
	}
	head := stream(t, begin, file)
	for _, claim := range []uint32{1 << 20, 1 << 31, 1<<32 - 1} {
		raw := append(binary.LittleEndian.AppendUint32(slices.Clone(head), claim), byte(sendstream.CmdWrite), 0, 0, 0, 0, 0)
		d.refuses(t, fmt.Sprintf("%d bytes claimed", claim), io.MultiReader(bytes.NewReader(raw), io.LimitReader(zeros{}, 20<<20)))
	}
	in := jobs.Incoming{Name: "20261123T115600Z", Stream: bytes.NewReader(good)}
	in.UUID, in.Ctransid = id, 77
	b, err := d.Receive(t.Context(), in)
	ok(t, err)
	if !b.Complete {
		t.Errorf("%+v", b)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
