package remote_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
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
	"github.com/btrkeep/btrkeep/internal/testssh"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
	"github.com/btrkeep/btrkeep/jobs/remote/api"
	"github.com/btrkeep/btrkeep/jobs/remote/squeeze"
)

// A key that may only add: runs go on, incrementally, and delete nothing; the machine that has the disk prunes, and another key reads.
func TestRoles(t *testing.T) {
	p := newPair(t, testssh.Options{}, "btrkeep serve --root $DST/alice --append-only")
	p.job.Keep, p.job.Destinations[0].Keep = config.Keep{Last: 1}, config.Keep{Last: 1}
	testdisk.Tree(t, p.src.Path+"/home", testdisk.Spec{Seed: 3, Files: 200, MaxSize: 64 << 10})
	var names []string
	for i := range 4 {
		p.write("f", []byte{byte(i)})
		r := p.mustRun()
		names = append(names, r.Snapshot)
		if i > 0 && r.Transfers[0].Parent != names[i-1] {
			t.Errorf("%+v", r)
		}
	}
	if got := p.backups("alice/home"); !slices.Equal(got, names) {
		t.Errorf("%q, want all of %q", got, names)
	}
	if warned := p.runner.Plan(context.Background(), p.job, p.clock()).Warnings; len(warned) != 1 || !strings.Contains(warned[0], "prunes by itself") {
		t.Errorf("%q", warned)
	}
	found := p.runner.Check(context.Background(), p.job)
	if !slices.ContainsFunc(found, func(f jobs.Finding) bool { return strings.Contains(f.Hint, "received = ") }) {
		t.Errorf("%+v", found)
	}

	// The machine that has the disk.
	prune := config.Job{Name: "alice", Received: p.dst.Path + "/alice/home", SnapshotDir: p.dst.Path + "/alice/home", Keep: config.Keep{Last: 2}}
	prune.Destinations = []config.Destination{{Name: config.ReceivedName, URL: prune.Received, Keep: prune.Keep}}
	r := p.runner.Run(context.Background(), prune, jobs.Options{Clock: jobs.Clock{Wall: time.Now(), ID: "boot"}})
	if r.Result != jobs.ResultOK || len(r.Pruned) != 2 {
		t.Errorf("%+v\n%s", r, p.log.String())
	}
	if got := p.backups("alice/home"); !slices.Equal(got, names[2:]) {
		t.Errorf("%q, want %q", got, names[2:])
	}
	p.write("f", []byte("more"))
	if r := p.mustRun(); r.Transfers[0].Parent != names[3] {
		t.Errorf("%+v", r)
	}

	// A key that may only read brings it back.
	for bound, want := range map[string]string{
		"btrkeep serve --root $DST/alice --append-only": "this key may read nothing",
		"btrkeep serve --root $DST/alice --read-only":   "",
	} {
		p.use(p.key(bound))
		to := testdisk.New(t, testdisk.Options{Size: 512 << 20}).Path + "/restored"
		got := p.runner.Restore(context.Background(), jobs.Restoration{Job: p.job, From: "nas", At: names[3], To: to, Clock: p.clock()})
		if want != "" {
			if !strings.Contains(got.Error, want) {
				t.Errorf("%+v", got)
			}
			continue
		}
		if got.Error != "" {
			t.Fatalf("%+v", got)
		}
		if diffs, err := testdisk.Compare(p.dst.Path+"/alice/home/"+names[3], to); err != nil || len(diffs) > 0 {
			t.Errorf("%v, %q", err, diffs)
		}
		if r := p.run(); r.Result != jobs.ResultFailed || !strings.Contains(r.Transfers[0].Error, "only read") {
			t.Errorf("a run with a key that may only read: %+v", r)
		}
	}
}

// TROUBLE 42: whoever has stolen a key that may only add pushes backups of nothing, dated and named as suits, and cannot have the good ones pruned.
func TestForgedTimes(t *testing.T) {
	p := newPair(t, testssh.Options{}, "btrkeep serve --root $DST/alice --append-only")
	p.write("precious", []byte("data"))
	var good []string
	for range 8 {
		p.write("f", []byte(p.now.String()))
		good = append(good, p.mustRun().Snapshot)
		p.now = p.now.AddDate(0, 0, 1)
	}
	// As many forged days before, around and after as are kept, all pushed on the day after.
	forger := *p
	for _, from := range []time.Time{p.now.AddDate(-1, 0, 0), p.now.AddDate(0, 0, -6), p.now.AddDate(0, 0, 1), time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)} {
		for i := range 8 {
			forger.now = from.AddDate(0, 0, i)
			forger.write("f", []byte(forger.now.String()))
			if r := forger.run(); len(r.Transfers) == 0 || r.Transfers[len(r.Transfers)-1].Result != jobs.ResultOK {
				t.Fatalf("%+v", r)
			}
		}
	}
	before := p.backups("alice/home")
	first := time.Date(2026, 11, 10, 12, 0, 0, 0, time.UTC)
	at := p.runner.At
	p.runner.At = func(ctx context.Context, job config.Job, d config.Destination) (jobs.Destination, error) {
		dest, err := at(ctx, job, d)
		return &received{dest, func(i int) time.Time { return first.AddDate(0, 0, min(i, len(good))) }}, err
	}
	prune := config.Job{Name: "alice", Received: p.dst.Path + "/alice/home", SnapshotDir: p.dst.Path + "/alice/home", Keep: config.Keep{Daily: 7}}
	prune.Destinations = []config.Destination{{Name: config.ReceivedName, URL: prune.Received, Keep: prune.Keep}}
	for day := range 3 { // and however often
		now := first.AddDate(0, 0, len(good)+day)
		if r := p.runner.Run(context.Background(), prune, jobs.Options{Clock: jobs.Clock{Wall: now, Boot: now.Sub(first), ID: "boot"}}); r.Result != jobs.ResultOK {
			t.Fatalf("%+v", r)
		}
	}
	after := p.backups("alice/home")
	// Of seven days the last is the forger's; the others are as they were.
	want := append(slices.Clone(good[len(good)-6:]), before[0])[:6]
	for _, name := range want {
		if !slices.Contains(after, name) {
			t.Errorf("%s is gone; there are %q", name, after)
		}
	}
	if len(after) != 7 {
		t.Errorf("of %d backups %q are left", len(before), after)
	}
}

// received is a directory of which a test says when this machine has received what is in it, in the order in which it has.
type received struct {
	jobs.Destination
	at func(i int) time.Time
}

func (r *received) List(ctx context.Context) (jobs.Contents, error) {
	there, err := r.Destination.List(ctx)
	order := slices.Clone(there.Backups)
	slices.SortFunc(order, func(a, b jobs.Backup) int { return cmp.Compare(a.Otransid, b.Otransid) })
	for i := range there.Backups {
		n := slices.IndexFunc(order, func(b jobs.Backup) bool { return b.UUID == there.Backups[i].UUID })
		there.Backups[i].Created = r.at(n)
	}
	return there, err
}

// attempt is something that a client must not do.
type attempt struct {
	what string
	try  func(r *raw) error
}

// TROUBLE 33: whatever a client says, it gets no farther than its key: a table of attempts, after which nothing has changed that is not its own.
func TestEscapes(t *testing.T) {
	p := newPair(t, testssh.Options{}, "btrkeep serve --root $DST/alice --append-only")
	root, dst := p.dst.Path+"/alice", p.dst.Path
	p.write("f", []byte("alice's"))
	mine := p.mustRun().Snapshot

	// Another client, on the same file system: bob, and alice2 whose name begins alike. The subvolume is one that a stream could name.
	for _, other := range []string{"bob", "alice2"} {
		must(t, os.Mkdir(filepath.Join(dst, other), 0o700))
	}
	must(t, btrfs.Create(dst+"/bob", "data"))
	must(t, os.WriteFile(dst+"/bob/data/secret", bytes.Repeat([]byte("bob's "), 10000), 0o600))
	must(t, btrfs.Snapshot(dst+"/bob/data", dst+"/bob", "20261101T000000Z", true))
	bobs, err := btrfs.Info(dst + "/bob/20261101T000000Z")
	must(t, err)
	// One in the directory above what the key is for, as another tool may keep it; and within that one that btrkeep has received for another machine.
	received := func(dir string, id btrfs.UUID) btrfs.Subvolume {
		must(t, btrfs.Create(dir, "other"))
		must(t, btrfs.SetReceived(dir+"/other", id, 1))
		must(t, btrfs.SetReadOnly(dir+"/other"))
		s, err := btrfs.Info(dir + "/other")
		must(t, err)
		return s
	}
	above := received(dst, btrfs.UUID{1})
	others := received(root, btrfs.UUID{2})
	must(t, catalog.Add(root, catalog.Entry{UUID: others.UUID, Name: "other", Ctransid: others.Ctransid, Source: jobs.Machine() + ":/home"}))
	must(t, os.Symlink("../bob", root+"/link"))
	must(t, os.WriteFile(root+"/file", nil, 0o600))

	place := func(path string) api.Place { return api.Place{Path: api.Path(path)} }
	outside := map[string]string{
		"another's directory": dst + "/bob", "up": root + "/../bob", "up to the disk": dst, "everything": "/", "a name that begins alike": root + "2",
		"a symbolic link": root + "/link", "below a symbolic link": root + "/link/x", "a file": root + "/file", "below a file": root + "/file/x", "relative": "alice", "empty": "",
		"double slashes": root + "//home", "a dot": root + "/.", "in a backup": root + "/home/" + mine, "hidden": root + "/.btrkeep-x", "a NUL": root + "/home\x00/x", "the system's": "/etc",
	}
	var attempts []attempt
	for what, path := range outside {
		in := place(path)
		look := in
		look.Look = true
		for name, try := range map[string]func(r *raw) error{
			"open":    func(r *raw) error { _, err := r.ask(api.Open, in, nil); return err },
			"look at": func(r *raw) error { _, err := r.ask(api.Open, look, nil); return err },
			"list":    func(r *raw) error { _, err := r.ask(api.List, in, nil); return err },
			"lock":    func(r *raw) error { return r.lock(api.Lock, api.Locking{Place: in}) },
			"clean": func(r *raw) error {
				_, err := r.ask(api.Clean, api.Cleaning{Place: in, Leftovers: []jobs.Leftover{{Name: bobs.Name, UUID: bobs.UUID}}}, nil)
				return err
			},
			"receive into": func(r *raw) error {
				_, err := r.ask(api.Receive, api.Incoming{Place: in, Name: "x"}, bytes.NewReader(nil))
				return err
			},
		} {
			attempts = append(attempts, attempt{name + " " + what, try})
		}
	}
	home := place(root + "/home")
	backup, err := btrfs.Info(root + "/home/" + mine)
	must(t, err)
	named := api.Named{Name: api.Path(mine), UUID: backup.UUID}
	source := api.Source{Path: api.Path(p.src.Path + "/home"), SnapshotDir: api.Path(p.src.Path + "/home/.btrkeep")}
	for what, try := range map[string]func(r *raw) error{
		"delete": func(r *raw) error {
			_, err := r.ask(api.Delete, api.Deletion{Place: home, Backups: []api.Named{named}}, nil)
			return err
		},
		"pin": func(r *raw) error {
			_, err := r.ask(api.Pin, api.Pinning{Place: home, Named: named, Reason: "x"}, nil)
			return err
		},
		"unpin": func(r *raw) error { _, err := r.ask(api.Pin, api.Pinning{Place: home, Named: named}, nil); return err },
		"read": func(r *raw) error {
			_, err := r.ask(api.Send, api.Sending{Place: home, Outgoing: api.Outgoing{Subvolume: backup.UUID, Version: 1}}, nil)
			return err
		},
		"measure": func(r *raw) error {
			_, err := r.ask(api.Changes, api.Changing{Place: home, Of: backup.UUID}, nil)
			return err
		},
		"see sources": func(r *raw) error { _, err := r.ask(api.SourceLook, source, nil); return err },
		"snapshot": func(r *raw) error {
			_, err := r.ask(api.SourceTake, api.Taking{Source: source, Now: p.now}, nil)
			return err
		},
		"lock source": func(r *raw) error { return r.lock(api.SourceLock, api.SourceLocking{Source: source}) },
		"clean up a source": func(r *raw) error {
			_, err := r.ask(api.SourceClean, source, nil)
			return err
		},
		"delete snapshots": func(r *raw) error {
			_, err := r.ask(api.SourceDelete, api.SourceDeletion{Source: source, Snapshots: []api.Named{named}}, nil)
			return err
		},
		"pin snapshots": func(r *raw) error {
			_, err := r.ask(api.SourcePin, api.SourcePinning{Source: source, UUID: backup.UUID}, nil)
			return err
		},
		"send a source": func(r *raw) error {
			_, err := r.ask(api.SourceSend, api.SourceSending{Source: source, Outgoing: api.Outgoing{Subvolume: bobs.UUID, Version: 1}}, nil)
			return err
		},
		"mount elsewhere": func(r *raw) error {
			_, err := r.ask(api.Open, api.Place{Path: home.Path, Mount: "/etc"}, nil)
			return err
		},
	} {
		attempts = append(attempts, attempt{what, try})
	}
	for _, name := range []string{"", ".", "..", "../x", "a/b", ".btrkeep.lock", ".hidden", "/x", strings.Repeat("x", 256), "x\x00y"} {
		attempts = append(attempts, attempt{"receive as " + name, func(r *raw) error {
			_, err := r.ask(api.Receive, api.Incoming{Place: home, Name: name}, bytes.NewReader(nil))
			return err
		}})
	}

	before, mineBefore := everything(t, dst+"/bob"), everything(t, root+"/home/"+mine)
	ssh := p.key("btrkeep serve --root $DST/alice --append-only")
	r := p.raw(ssh)
	for _, a := range attempts {
		if err := a.try(r); !errors.Is(err, api.ErrRefused) {
			t.Errorf("%s: %v, want it refused", a.what, err)
		}
	}

	// What needs the lock: without it nothing is written.
	if _, err := r.ask(api.Receive, api.Incoming{Place: home, Name: "x"}, bytes.NewReader(nil)); err == nil || !strings.Contains(err.Error(), "lock") {
		t.Errorf("receive without the lock: %v", err)
	}
	must(t, r.lock(api.Lock, api.Locking{Place: home, Session: "s"}))
	// A backup is no leftover, whatever a client calls it.
	if text, err := r.ask(api.Clean, api.Cleaning{Place: home, Leftovers: []jobs.Leftover{{Name: mine, UUID: backup.UUID}, {Name: "../../bob/20261101T000000Z", UUID: bobs.UUID}}}, nil); err != nil || strings.Contains(text, mine) || strings.Contains(text, "bob") {
		t.Errorf("clean: %s, %v", text, err)
	}
	// The streams of a client that has read the UUIDs of others somewhere.
	id := func(b byte) btrfs.UUID { return btrfs.UUID{15: b} }
	begin := func(e *sendstream.Encoder, id btrfs.UUID) error {
		return e.Encode(sendstream.CmdSubvol, sendstream.Text(sendstream.AttrPath, "x"), sendstream.UUID(sendstream.AttrUUID, id), sendstream.Uint(sendstream.AttrCtransid, 1))
	}
	mkfile := func(e *sendstream.Encoder, path string, inode uint64) error {
		return e.Encode(sendstream.CmdMkfile, sendstream.Text(sendstream.AttrPath, path), sendstream.Uint(sendstream.AttrIno, inode))
	}
	upon := func(id btrfs.UUID, parent btrfs.Subvolume) func(*sendstream.Encoder) error {
		return func(e *sendstream.Encoder) error {
			return e.Encode(sendstream.CmdSnapshot, sendstream.Text(sendstream.AttrPath, "x"), sendstream.UUID(sendstream.AttrUUID, id), sendstream.Uint(sendstream.AttrCtransid, 1),
				sendstream.UUID(sendstream.AttrCloneUUID, parent.UUID), sendstream.Uint(sendstream.AttrCloneCtransid, parent.Ctransid))
		}
	}
	for what, stream := range map[string]struct {
		id    btrfs.UUID
		name  string
		write func(e *sendstream.Encoder) error
		says  string
	}{
		"over a backup":                 {id(1), mine, func(e *sendstream.Encoder) error { return begin(e, id(1)) }, "taken"},
		"upon another's subvolume":      {id(2), "stolen", upon(id(2), bobs), `"parent missing"`},
		"upon one above the key's root": {id(6), "above", upon(id(6), above), `"parent missing"`},
		"upon one of another machine":   {id(7), "carols", upon(id(7), others), `"parent missing"`},
		"a clone of another's file": {id(3), "cloned", func(e *sendstream.Encoder) error {
			return errors.Join(begin(e, id(3)), mkfile(e, "f", 257), e.Encode(sendstream.CmdClone, sendstream.Uint(sendstream.AttrFileOffset, 0), sendstream.Uint(sendstream.AttrCloneLen, 4096),
				sendstream.Text(sendstream.AttrPath, "f"), sendstream.UUID(sendstream.AttrCloneUUID, bobs.UUID), sendstream.Uint(sendstream.AttrCloneCtransid, bobs.Ctransid),
				sendstream.Text(sendstream.AttrClonePath, "secret"), sendstream.Uint(sendstream.AttrCloneOffset, 0)))
		}, `"clone source"`},
		"out of the subvolume": {id(4), "out", func(e *sendstream.Encoder) error {
			return errors.Join(begin(e, id(4)), mkfile(e, "../../bob/planted", 257))
		}, ""},
		"through a link": {id(5), "through", func(e *sendstream.Encoder) error {
			return errors.Join(begin(e, id(5)), e.Encode(sendstream.CmdSymlink, sendstream.Text(sendstream.AttrPath, "l"), sendstream.Uint(sendstream.AttrIno, 257),
				sendstream.Text(sendstream.AttrPathLink, "../../bob")), mkfile(e, "l/planted", 258))
		}, ""},
	} {
		var b bytes.Buffer
		e, err := sendstream.NewEncoder(&b, 1)
		must(t, err)
		must(t, stream.write(e))
		must(t, e.Encode(sendstream.CmdEnd))
		text, err := r.ask(api.Receive, api.Incoming{Place: home, Identity: sendstream.Identity{UUID: stream.id, Parent: bobs.UUID, Clones: []btrfs.UUID{above.UUID, others.UUID}, Ctransid: 1, Version: 1}, Name: stream.name, Taken: p.now}, squeeze.NewReader(&b, squeeze.Options{}))
		if err == nil && !strings.Contains(text, `"Error"`) || !strings.Contains(text, stream.says) {
			t.Errorf("%s: %s, %v", what, text, err)
		}
	}
	if got := p.backups("alice/home"); !slices.Equal(got, []string{mine}) {
		t.Errorf("left behind: %q", got)
	}
	if after := everything(t, dst+"/bob"); after != before {
		t.Errorf("bob's directory was %s and is %s", before, after)
	}
	if after := everything(t, root+"/home/"+mine); after != mineBefore {
		t.Error("alice's backup is another one")
	}
	for _, path := range []string{dst + "/bob/planted", dst + "/alice2/home"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is there", path)
		}
	}
}

// everything is what is in a directory, as text.
func everything(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.Walk(dir, func(path string, st os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		content := []byte{}
		if st.Mode().IsRegular() {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		b.WriteString(path + " " + st.Mode().String() + " " + string(content) + "\n")
		return nil
	}))
	return b.String()
}

// Whoever has broken into a machine that is pulled from says of its snapshots what they like: dated between the good ones, they cannot have these pruned.
func TestForgedSource(t *testing.T) {
	p := newPair(t, testssh.Options{}, "btrkeep serve --source $SRC/home")
	p.job.Source, p.job.Destinations[0].URL = p.far.URL(p.src.Path+"/home"), p.dst.Path+"/alice/home"
	p.job.Destinations[0].Keep = config.Keep{Daily: 8}
	p.now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	var good []string
	for i := range 6 {
		p.write("f", []byte{byte(i)})
		good = append(good, p.mustRun().Snapshot)
		p.now = p.now.AddDate(0, 0, 1)
	}
	dir := p.src.Path + "/home/.btrkeep"
	for i := range 6 { // the last of each day would be these
		name := good[i][:8] + "T235959Z"
		p.write("f", []byte{0xff, byte(i)})
		must(t, btrfs.Snapshot(p.src.Path+"/home", dir, name, true))
		v, err := btrfs.Info(filepath.Join(dir, name))
		must(t, err)
		taken, err := time.Parse("20060102T150405Z", name)
		must(t, err)
		must(t, catalog.Add(dir, catalog.Entry{UUID: v.UUID, Name: name, Taken: taken, Ctransid: v.Ctransid}))
	}
	for range 2 {
		if r := p.run(); r.Result == jobs.ResultFailed {
			t.Fatalf("%+v", r)
		}
	}
	after := p.backups("alice/home")
	for _, name := range good[:len(good)-1] { // the last day is not over, and its last one is another now
		if !slices.Contains(after, name) {
			t.Errorf("%s is gone; there are %q", name, after)
		}
	}
}

// Those who keep their backups in one directory do not push out each other's.
func TestReceivedFromTwo(t *testing.T) {
	p := newPair(t, testssh.Options{}, "btrkeep serve --root $DST/alice --append-only")
	must(t, btrfs.Create(p.src.Path, "other"))
	other := p.job
	other.Name, other.Source, other.SnapshotDir = "other", p.src.Path+"/other", p.src.Path+"/other/.btrkeep"
	home := p.job
	for i := range 3 {
		for _, job := range []config.Job{home, other} {
			must(t, os.WriteFile(job.Source+"/f", []byte{byte(i)}, 0o600))
			p.job = job
			p.mustRun()
		}
	}
	before := p.backups("alice/home")
	prune := config.Job{Name: "alice", Received: p.dst.Path + "/alice/home", SnapshotDir: p.dst.Path + "/alice/home", Keep: config.Keep{Last: 1}}
	prune.Destinations = []config.Destination{{Name: config.ReceivedName, URL: prune.Received, Keep: prune.Keep}}
	if r := p.runner.Run(context.Background(), prune, jobs.Options{Clock: jobs.Clock{Wall: time.Now(), ID: "boot"}}); r.Result != jobs.ResultOK || len(r.Pruned) != 4 {
		t.Errorf("%+v", r)
	}
	if after := p.backups("alice/home"); len(after) != 2 || !slices.Equal(after, before[len(before)-2:]) {
		t.Errorf("%q, want the newest of each of %q", after, before)
	}
}

// A key that knows the session of a run of this machine itself cannot have it ended.
func TestLockOfTheMachineItself(t *testing.T) {
	p := newPair(t, testssh.Options{}, "")
	dir := p.dst.Path + "/alice/home"
	must(t, os.Mkdir(dir, 0o700))
	for name, holder := range map[string]jobs.Holder{
		"a run here": {PID: os.Getpid(), Job: "alice", Since: p.now, Session: "guessed"},
		"forged":     {PID: os.Getpid(), Job: "alice", Since: p.now, Client: "guessed"},
	} {
		unlock, err := jobs.Lock(dir+"/.btrkeep.lock", holder)
		must(t, err)
		r := p.raw(p.key("btrkeep serve --root $DST/alice --append-only"))
		err = r.lock(api.Lock, api.Locking{Place: api.Place{Path: api.Path(dir)}, Session: "guessed"})
		var held *jobs.HeldError
		if !errors.As(err, &held) { // this test itself would have got the signal
			t.Errorf("%s: %v", name, err)
		}
		unlock()
		if name == "forged" {
			break
		}
	}
}
