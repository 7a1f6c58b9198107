package local_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
	"github.com/btrkeep/btrkeep/jobs/local"
)

// A stream of another machine can be based on what List finds above, and on nothing else that is there, though it names it by its UUID.
func TestAboveForStreamsOfOthers(t *testing.T) {
	disk := testdisk.New(t, testdisk.Options{InMemory: true}).Path
	keys, shared := filepath.Join(disk, "keys"), filepath.Join(disk, "keys", "shared")
	ok(t, os.MkdirAll(shared, 0o700))
	kept := map[string]btrfs.Subvolume{}
	keep := func(dir, name string) {
		ok(t, btrfs.Create(dir, name))
		path := filepath.Join(dir, name)
		ok(t, os.WriteFile(filepath.Join(path, "f"), []byte(name), 0o600))
		ok(t, btrfs.SetReceived(path, btrfs.UUID{byte(len(kept) + 1)}, 1))
		ok(t, btrfs.SetReadOnly(path))
		ok(t, btrfs.Commit(dir))
		s, err := btrfs.Info(path)
		ok(t, err)
		kept[name] = s
	}
	keep(disk, "outside") // of the directory that a key is for
	keep(keys, "far up")
	keep(shared, "near")
	keep(shared, "of a job")
	keep(shared, "written into")
	for name, e := range map[string]catalog.Entry{
		"of a job":     {Ctransid: kept["of a job"].Ctransid, Source: jobs.Machine() + ":/srv"},
		"written into": {Ctransid: 1},
	} {
		e.UUID, e.Name = kept[name].UUID, name
		ok(t, catalog.Add(shared, e))
	}
	for _, c := range []struct {
		top  string
		want []string
	}{
		{"", []string{"far up", "near", "outside"}},
		{keys, []string{"far up", "near"}},
		{shared, []string{"near"}},
		{filepath.Join(shared, "home"), nil},
	} {
		o := local.Opener{Zone: time.UTC, Receiver: local.Native{Confined: true}, Top: c.top}
		d, err := o.Open(t.Context(), config.Job{Name: "home", Source: "/home"}, config.Destination{URL: filepath.Join(shared, "home")}, jobs.Owner{}, jobs.Identity{})
		ok(t, err)
		unlock, err := d.Lock(t.Context(), jobs.Holder{})
		ok(t, err)
		var listed, taken []string
		there, err := d.List(t.Context())
		ok(t, err)
		for _, b := range there.Above {
			if name := filepath.Base(b.Name); b.Altered != (name == "written into") {
				t.Errorf("%+v", b)
			} else if !b.Altered {
				listed = append(listed, name)
			}
		}
		for name, parent := range kept {
			in := jobs.Incoming{Name: "on " + name + " below " + filepath.Base(c.top)}
			in.UUID, in.Ctransid, in.Parent = btrfs.UUID{15: byte(len(in.Name))}, 77, parent.ReceivedUUID
			in.Stream = bytes.NewReader(stream(t, do(sendstream.CmdSnapshot, at("x"), sendstream.UUID(sendstream.AttrUUID, in.UUID), sendstream.Uint(sendstream.AttrCtransid, in.Ctransid),
				sendstream.UUID(sendstream.AttrCloneUUID, in.Parent), sendstream.Uint(sendstream.AttrCloneCtransid, 1)), do(sendstream.CmdEnd)))
			if _, err := d.Receive(t.Context(), in); err == nil {
				taken = append(taken, name)
			} else if !errors.Is(err, btrfs.ErrParentMissing) {
				t.Errorf("below %s on %s: %v", c.top, name, err)
			}
		}
		lie := jobs.Incoming{Name: "on another than was said below " + filepath.Base(c.top)}
		lie.UUID, lie.Ctransid, lie.Parent = btrfs.UUID{14: 1}, 77, kept["far up"].ReceivedUUID
		lie.Stream = bytes.NewReader(stream(t, do(sendstream.CmdSnapshot, at("x"), sendstream.UUID(sendstream.AttrUUID, lie.UUID), sendstream.Uint(sendstream.AttrCtransid, lie.Ctransid),
			sendstream.UUID(sendstream.AttrCloneUUID, kept["near"].ReceivedUUID), sendstream.Uint(sendstream.AttrCloneCtransid, 1)), do(sendstream.CmdEnd)))
		if _, err := d.Receive(t.Context(), lie); !errors.Is(err, btrfs.ErrParentMissing) {
			t.Errorf("below %s on another than was said: %v", c.top, err)
		}
		for name, twin := range kept { // the same once more, nearer
			in := jobs.Incoming{Name: "twin of " + name + " below " + filepath.Base(c.top)}
			in.UUID, in.Ctransid = twin.ReceivedUUID, 1
			in.Stream = bytes.NewReader(stream(t, do(sendstream.CmdSubvol, at("x"), sendstream.UUID(sendstream.AttrUUID, in.UUID), sendstream.Uint(sendstream.AttrCtransid, in.Ctransid)), do(sendstream.CmdEnd)))
			b, err := d.Receive(t.Context(), in)
			if beside := slices.Contains(c.want, name) || slices.ContainsFunc(there.Above, func(b jobs.Backup) bool { return b.UUID == twin.UUID }); (err == nil) == beside {
				t.Errorf("below %s a twin of %s: %v", c.top, name, err)
			}
			if err == nil {
				ok(t, btrfs.Delete(filepath.Dir(b.Path), b.Name, b.UUID))
			}
		}
		unlock()
		slices.Sort(listed)
		slices.Sort(taken)
		if !slices.Equal(listed, c.want) || !slices.Equal(taken, c.want) {
			t.Errorf("below %s: listed %q, taken for parents %q, want %q", c.top, listed, taken, c.want)
		}
	}
}
