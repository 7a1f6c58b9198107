package sendstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// twins is a source and two destinations that serve for many short cases: btrfs receive writes to one, Receiver to the other.
type twins struct {
	source, progs, native string
	disk                  *testdisk.Disk // the source's
	mount                 string         // its options
}

func newTwins(t testing.TB) *twins {
	t.Helper()
	// What is drawn may be any device: nobody shall open it.
	o := testdisk.Options{InMemory: true, MountOptions: "nodev"}
	disk := testdisk.New(t, o)
	return &twins{source: disk.Path, progs: testdisk.New(t, o).Path, native: testdisk.New(t, o).Path, disk: disk}
}

// sending is a way to send a chain of snapshots.
type sending struct {
	name       string
	version    int
	compressed bool
}

var sendings = []sending{{"v1", 1, false}, {"v2", 2, false}, {"compressed", 2, true}}

// transfer is the stream of one snapshot.
type transfer struct {
	name   string
	source string // path of the snapshot; "" if only its stream was kept
	stream []byte
}

// snapshotOf is a snapshot in a chain.
type snapshotOf struct {
	name   string
	parent int // index; -1 for none
}

// send makes the streams of a chain of snapshots. Each also clones from all before it.
func (w *twins) send(t rapid.TB, chain []snapshotOf, how sending) (out []transfer, err error) {
	t.Helper()
	var before []uint64
	for _, c := range chain {
		path := filepath.Join(w.source, c.name)
		request := btrfs.Send{Subvolume: path, Version: how.version, Compressed: how.compressed}
		if c.parent >= 0 {
			request.Parent, request.CloneSources = before[c.parent], before
		}
		s, err := request.Start(context.Background())
		ok(t, err)
		stream, err := io.ReadAll(s)
		if err := errors.Join(err, s.Close()); err != nil {
			return nil, err
		}
		out = append(out, transfer{c.name, path, stream})
		info, err := btrfs.Info(path)
		ok(t, err)
		before = append(before, info.ID)
	}
	return out, nil
}

// apply has both receive a chain and demands that they make the same of it, which is the source. It gives how many streams both accepted;
// what btrfs receive says of the next one is a fault of the kernel that sent it. What was received is deleted.
func (w *twins) apply(t rapid.TB, chain []transfer) (accepted int, said string) {
	t.Helper()
	defer func() {
		for _, c := range chain {
			remove(t, w.progs, c.name)
			remove(t, w.native, c.name)
		}
	}()
	said = w.receive(chain)
	for accepted < len(chain) && complete(filepath.Join(w.progs, chain[accepted].name)) {
		accepted++
	}
	if accepted == len(chain) && said != "" {
		t.Errorf("btrfs receive: %s", said)
	}
	var r Receiver
	for n, c := range chain {
		err := r.Receive(context.Background(), w.native, c.name, bytes.NewReader(c.stream))
		if err != nil && n < accepted {
			t.Fatal(err)
		}
		if err != nil {
			wantIncomplete(t, filepath.Join(w.native, c.name))
		}
		if n == accepted {
			// btrfs receive puts the path of the subvolume before those in the stream, which makes some too long that are not.
			if err == nil && !strings.Contains(said, "File name too long") {
				t.Fatalf("%s: accepted, but btrfs receive says %s", c.name, said)
			}
			break
		}
	}
	w.compare(t, chain[:accepted])
	return accepted, said
}

// receive runs btrfs receive on all streams at once, since starting it is what takes the time, and gives what it complains of.
func (w *twins) receive(chain []transfer) string {
	var all []io.Reader
	for _, c := range chain {
		all = append(all, bytes.NewReader(c.stream))
	}
	receive := exec.Command("btrfs", "receive", "-q", w.progs)
	receive.Stdin = io.MultiReader(all...)
	said, err := receive.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, said)
	}
	return ""
}

func (w *twins) compare(t rapid.TB, chain []transfer) {
	t.Helper()
	ok(t, btrfs.Sync(w.progs))
	ok(t, btrfs.Sync(w.native))
	var pair testdisk.Twins
	for _, c := range chain {
		progs, native := filepath.Join(w.progs, c.name), filepath.Join(w.native, c.name)
		diffs, err := pair.Compare(progs, native)
		ok(t, err)
		var heirs inherited
		for _, diff := range diffs {
			if !heirs.onPurpose(diff) {
				t.Errorf("%s, by btrfs receive and by Receiver: %s", c.name, diff)
			}
		}
		if c.source == "" {
			continue
		}
		wantStamped(t, c.source, native)
		diffs, err = testdisk.Compare(c.source, native)
		ok(t, err)
		for _, diff := range diffs {
			if !fromSending(diff) {
				t.Errorf("%s and the source: %s", c.name, diff)
			}
		}
	}
}

// inherited notes the paths of what has inherited a property with btrfs receive.
type inherited map[string]bool

// onPurpose reports whether a difference between what btrfs receive makes and what Receiver makes is wanted. In all of these it is Receiver that is like
// the source, which is compared with it as well.
func (p *inherited) onPurpose(diff string) bool {
	path, what, _ := strings.Cut(diff, `": `)
	what, values, _ := strings.Cut(what, ": ")
	switch {
	case path == `".` && what == "mtime":
		// btrfs receive changes the time of the root directory with each file that it makes there under a temporary name.
		return true
	case what == "xattrs" && strings.Contains(values, xattrACLAccess+"="):
		// What btrfs receive makes in the root inherits the root's default ACL, whether or not it had one at the source,
		return true
	case what == "xattrs" && strings.Contains(values, xattrCompression+"="):
		// and its property,
		if *p == nil {
			*p = inherited{}
		}
		(*p)[path] = true
		return true
	case what == "content":
		// What Linux 6.18 does not send: see clearSector.
		var at int
		n, _ := fmt.Sscanf(values, "differs at byte %d", &at)
		return n == 1 && at < 4096
	case what == "extents":
		// and is compressed then.
		return (*p)[path]
	}
	return false
}

// fromSending reports whether a difference between source and backup is known not to be the receiver's.
func fromSending(diff string) bool {
	// SEEK_HOLE finds no preallocated ranges in a file that has as many blocks as bytes, and finds them in others. How the extents lie is for the
	// comparison of the receivers.
	if strings.Contains(diff, `": holes: `) {
		return true
	}
	// A compressed file that lies in the inode and was lengthened by fallocate(2) within the first sector is sent without its new length by Linux 6.18
	// if its data is sent compressed.
	var was, is int
	i := strings.LastIndex(diff, `": size: `)
	n, _ := fmt.Sscanf(diff[i+1:], `: size: %d, %d`, &was, &is)
	return n == 2 && is < was && was <= 4096
}

// complete reports whether a backup is at path.
func complete(path string) bool {
	s, err := btrfs.Info(path)
	return err == nil && s.ReadOnly && !s.ReceivedUUID.IsZero()
}

func wantIncomplete(t rapid.TB, path string) {
	t.Helper()
	if complete(path) {
		t.Errorf("%s looks like a backup", path)
	}
}

// remove deletes a subvolume if there is one.
func remove(t rapid.TB, dir, name string) {
	t.Helper()
	s, err := btrfs.Info(filepath.Join(dir, name))
	if os.IsNotExist(err) {
		return
	}
	ok(t, err)
	ok(t, btrfs.Delete(dir, name, s.UUID))
}
