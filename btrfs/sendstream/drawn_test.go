package sendstream

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// Streams that are drawn, of commands that the decoder lets pass, act on nothing outside the new subvolume either.
func TestReceiverStaysInsideDrawn(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{}).Path
	outside, dir := filepath.Join(disk, "outside"), filepath.Join(disk, "dir")
	ok(t, os.Mkdir(outside, 0o755))
	ok(t, os.Mkdir(dir, 0o700))
	ok(t, os.Mkdir(filepath.Join(outside, "a"), 0o755))
	ok(t, os.WriteFile(filepath.Join(outside, "b"), []byte("secret"), 0o600))
	before, err := testdisk.Digest(outside)
	ok(t, err)
	rapid.Check(t, func(r *rapid.T) {
		names := rapid.SampledFrom([]string{"a", "b", "c", "a/a", "a/b", "b/a", "c/b", "a/a/b"})
		targets := rapid.SampledFrom([]string{".", "..", "../..", "../../outside", "../../outside/b", outside, "a", "b", "/dev/null"})
		var accepted bytes.Buffer
		e, err := NewEncoder(&accepted, 2)
		ok(r, err)
		ok(r, e.Encode(subvol.cmd, subvol.values...))
		for range rapid.IntRange(1, 30).Draw(r, "commands") {
			cmd := Cmd(rapid.IntRange(int(CmdMkfile), int(maxCmdV3)).Draw(r, "command"))
			if cmd == CmdEnd || cmd == CmdUpdateExtent {
				continue
			}
			values := drawValues(r, cmd, names, targets)
			// What fails ends the stream: only what succeeds stays in it.
			var tried bytes.Buffer
			tried.Write(accepted.Bytes())
			attempt := Encoder{dst: &tried, version: 2}
			ok(r, attempt.Encode(cmd, values...))
			ok(r, attempt.Encode(CmdEnd))
			if receive(dir, "received", tried.Bytes()) == nil {
				ok(r, e.Encode(cmd, values...))
			}
			s, err := btrfs.Info(filepath.Join(dir, "received"))
			ok(r, err)
			ok(r, btrfs.Delete(dir, "received", s.UUID))
		}
		after, err := testdisk.Digest(outside)
		ok(r, err)
		if after != before {
			r.Fatalf("something outside has changed")
		}
	})
}

func drawValues(r *rapid.T, cmd Cmd, names, targets *rapid.Generator[string]) []Value {
	var values []Value
	for a := AttrUUID; a <= maxAttrV3; a++ {
		if !commands[cmd].need.has(a) || a == AttrData {
			continue
		}
		var v Value
		switch {
		case a == AttrPathLink && cmd == CmdSymlink:
			v = Text(a, targets.Draw(r, "target"))
		case a == AttrPath || a == AttrPathTo || a == AttrPathLink || a == AttrClonePath:
			v = Text(a, names.Draw(r, "name"))
		case a == AttrXattrName:
			v = Text(a, "user.x")
		case a == AttrCloneUUID:
			v = UUID(a, testUUID)
		case a == AttrMode:
			v = Uint(a, rapid.SampledFrom([]uint64{0o777, 0o4755, unix.S_IFCHR, unix.S_IFIFO, unix.S_IFREG}).Draw(r, "mode"))
		case a == AttrUID || a == AttrGID:
			v = Uint(a, 1000)
		case a == AttrRdev:
			v = Uint(a, 1<<8|3)
		case attributes[a].size == timespecSize:
			v = Time(a, Timespec{1, 1})
		case attributes[a].size == anySize:
			v = Text(a, "x")
		default:
			v = Uint(a, rapid.SampledFrom([]uint64{0, 1, 4096}).Draw(r, a.String()))
		}
		values = append(values, v)
	}
	if commands[cmd].need.has(AttrData) {
		values = append(values, Value{AttrData, []byte("data")})
	}
	return values
}
