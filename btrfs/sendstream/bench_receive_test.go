package sendstream

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// BenchmarkReceive compares both receivers on 10,000 small files and on one of 128 MiB, without the final sync. Because a machine
// is seldom quiet, the CPU time of the process that receives is reported too.
func BenchmarkReceive(b *testing.B) {
	for name, stream := range map[string][]byte{"small": smallFiles(b, 10_000), "large": largeFile(b, 128<<20)} {
		b.Run(name+"/native", func(b *testing.B) {
			benchReceive(b, stream, syscall.RUSAGE_SELF, func(dir string) error {
				return Receiver{}.Receive(context.Background(), dir, "sent", bytes.NewReader(stream))
			})
		})
		b.Run(name+"/btrfs-receive", func(b *testing.B) {
			benchReceive(b, stream, syscall.RUSAGE_CHILDREN, func(dir string) error {
				receive := exec.Command("btrfs", "receive", "-q", dir)
				receive.Stdin = bytes.NewReader(stream)
				return receive.Run()
			})
		})
	}
}

func benchReceive(b *testing.B, stream []byte, who int, receive func(dir string) error) {
	dir := testdisk.New(b, testdisk.Options{Size: 4 << 30, InMemory: true}).Path
	b.SetBytes(int64(len(stream)))
	var used time.Duration
	for b.Loop() {
		before := cpuTime(b, who)
		ok(b, receive(dir))
		used += cpuTime(b, who) - before
		b.StopTimer()
		s, err := btrfs.Info(filepath.Join(dir, "sent"))
		ok(b, err)
		ok(b, btrfs.Delete(dir, "sent", s.UUID))
		ok(b, btrfs.WaitDeleted(context.Background(), dir))
		ok(b, btrfs.Sync(dir))
		b.StartTimer()
	}
	b.ReportMetric(float64(used.Milliseconds())/float64(b.N), "cpu-ms/op")
}

func cpuTime(b *testing.B, who int) time.Duration {
	var u syscall.Rusage
	ok(b, syscall.Getrusage(who, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func smallFiles(b *testing.B, n int) []byte {
	now := Timespec{1_800_000_000, 5}
	times := []Value{Time(AttrAtime, now), Time(AttrMtime, now), Time(AttrCtime, now)}
	commands := []handmade{subvol}
	data := bytes.Repeat([]byte("4 KiB of it "), 341)
	for n := range n {
		dir, temporary := fmt.Sprintf("dir-%d", n/200), fmt.Sprintf("o%d-7-0", n)
		if n%200 == 0 {
			commands = append(commands, command(CmdMkdir, path(dir), Uint(AttrIno, 1)))
		}
		name := fmt.Sprintf("%s/file-%d", dir, n)
		commands = append(commands, mkfile(temporary),
			command(CmdRename, path(temporary), Text(AttrPathTo, name)),
			command(CmdUtimes, append(times, path(dir))...),
			write(name, 0, data),
			command(CmdChown, path(name), Uint(AttrUID, 0), Uint(AttrGID, 0)),
			command(CmdChmod, path(name), Uint(AttrMode, 0o644)),
			command(CmdUtimes, append(times, path(name))...))
	}
	return streamOf(b, 1, append(commands, end)...)
}

func largeFile(b *testing.B, size int) []byte {
	commands := []handmade{subvol, mkfile("file")}
	data := make([]byte, 48<<10)
	for at := 0; at < size; at += len(data) {
		commands = append(commands, write("file", uint64(at), data))
	}
	return streamOf(b, 1, append(commands, end)...)
}
