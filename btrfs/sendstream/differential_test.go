package sendstream

import (
	"errors"
	"fmt"
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
// The streams of a case that fails or panics are put into testdata/kept, in the end the smallest, where TestKeptStreams finds them ever after.
func TestReceiveLikeBtrfsProgs(t *testing.T) {
	hundreds, least := 3, 0
	switch {
	case os.Getenv("BTRKEEP_LONG") != "":
		hundreds, least = 27, 2000 // of which a quarter is not compressed at the source
	case testing.Short():
		hundreds = 1
	}
	d := differential{twins: newTwins(t), said: map[string]int{}, commands: map[Cmd]int{}, keeper: keeper{dir: keptDir}}
	began := time.Now()
	for n := range hundreds {
		t.Run(fmt.Sprint(n), func(t *testing.T) { rapid.Check(t, d.check) })
		if t.Failed() {
			return
		}
	}
	t.Logf("%d cases, %d streams, %d chains that both refused, in %v", d.cases, d.streams, d.refused, time.Since(began).Round(time.Second))
	if d.cases < least {
		t.Errorf("%d cases, want at least %d", d.cases, least)
	}
	for said, n := range d.said {
		t.Logf("refused %d times: %s", n, said)
	}
	for cmd := CmdSubvol; cmd <= maxCmdV2; cmd++ {
		t.Logf("%s: %d", cmd, d.commands[cmd])
		// Only streams without data have UPDATE_EXTENT, and those of Linux 6.17 and later, or what has taken it over, have holes punched by FALLOCATE.
		excused := cmd == CmdUpdateExtent || cmd == CmdFallocate && !linux(t, 6, 17) || testing.Short()
		if d.commands[cmd] == 0 && !excused {
			t.Errorf("there was no %s", cmd)
		}
	}
}

type differential struct {
	*twins
	cases, streams, refused int
	said                    map[string]int
	commands                map[Cmd]int
	keeper                  keeper
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
	d.keeper.watch(r, how.name, chain, func() {
		for _, c := range chain {
			d.streams++
			each(r, c.stream, func(c *Command) { d.commands[c.Cmd]++ })
		}
		accepted, said := d.apply(r, chain)
		if accepted < len(chain) {
			d.refused++
			d.note(said)
		}
	})
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
