package sendstream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
)

func BenchmarkTap(b *testing.B) {
	for name, stream := range benchStreams(b) {
		b.Run(name, func(b *testing.B) {
			src := bytes.NewReader(nil)
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(stream)
				if _, err := (&Tap{Name: "renamed"}).Copy(context.Background(), io.Discard, onlyReader{src}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecoder(b *testing.B) {
	for name, stream := range benchStreams(b) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			for b.Loop() {
				if err := decodeAll(onlyReader{bytes.NewReader(stream)}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchStreams gives 64 MiB in large writes, as protocols 1 and 2 cut them, and 40,000 small files.
func benchStreams(b *testing.B) map[string][]byte {
	streams := map[string][]byte{}
	for version, size := range map[int]int{1: 48 << 10, 2: 128 << 10} {
		commands := []handmade{subvol, mkfile("some/where/file")}
		data := make([]byte, size)
		for n := range 64 << 20 / size {
			commands = append(commands, write("some/where/file", uint64(n*size), data))
		}
		streams[fmt.Sprintf("write-%dK", size>>10)] = streamOf(b, version, append(commands, end)...)
	}
	commands := []handmade{subvol}
	now := Timespec{1_800_000_000, 5}
	for n := range 40_000 {
		name, temporary := fmt.Sprintf("dir-%d/file-%d", n/100, n), fmt.Sprintf("o%d-7-0", n)
		commands = append(commands, mkfile(temporary),
			command(CmdRename, path(temporary), Text(AttrPathTo, name)),
			command(CmdChown, path(name), Uint(AttrUID, 0), Uint(AttrGID, 0)),
			command(CmdChmod, path(name), Uint(AttrMode, 0o644)),
			command(CmdUtimes, path(name), Time(AttrAtime, now), Time(AttrMtime, now), Time(AttrCtime, now)))
	}
	streams["tiny"] = streamOf(b, 1, append(commands, end)...)
	return streams
}

// onlyReader hides WriteTo and the like.
type onlyReader struct{ io.Reader }
