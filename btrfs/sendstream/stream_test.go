package sendstream

import (
	"bytes"
	"io"
	"testing"
)

// streamOf encodes a stream by hand.
func streamOf(t testing.TB, version int, commands ...handmade) []byte {
	t.Helper()
	var b bytes.Buffer
	e, err := NewEncoder(&b, version)
	ok(t, err)
	for _, c := range commands {
		ok(t, e.Encode(c.cmd, c.values...))
	}
	return b.Bytes()
}

type handmade struct {
	cmd    Cmd
	values []Value
}

func command(cmd Cmd, values ...Value) handmade { return handmade{cmd, values} }

func path(p string) Value { return Text(AttrPath, p) }

var (
	testUUID   = [16]byte{1, 2, 3, 4}
	parentUUID = [16]byte{9, 8, 7, 6}

	subvol   = command(CmdSubvol, path("sent"), UUID(AttrUUID, testUUID), Uint(AttrCtransid, 77))
	snapshot = command(CmdSnapshot, path("sent"), UUID(AttrUUID, testUUID), Uint(AttrCtransid, 77),
		UUID(AttrCloneUUID, parentUUID), Uint(AttrCloneCtransid, 66))
	end = command(CmdEnd)
)

func mkfile(p string) handmade { return command(CmdMkfile, path(p), Uint(AttrIno, 257)) }

func write(p string, offset uint64, data []byte) handmade {
	return command(CmdWrite, path(p), Uint(AttrFileOffset, offset), Value{AttrData, data})
}

// trickle gives n bytes at a time.
type trickle struct {
	from []byte
	n    int
}

func (r *trickle) Read(p []byte) (int, error) {
	n := copy(p, r.from[:min(r.n, len(r.from))])
	r.from = r.from[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}
