package jobs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// proof makes a verify.
func (w *world) proof(o jobs.VerifyOptions) jobs.VerifyReport {
	w.t.Helper()
	o.Clock = w.clock()
	return w.runner.Verify(context.Background(), w.placed(), o)
}

// findings are those of a report as lines.
func findings(r jobs.VerifyReport) []string {
	lines := []string{}
	for _, d := range r.Destinations {
		for _, f := range d.Findings {
			lines = append(lines, f.String())
		}
	}
	return lines
}

// alter makes a backup writable, changes something and makes it read-only again, as people do.
func alter(t *testing.T, path string, change func()) {
	t.Helper()
	btrfsProgram(t, "property", "set", "-f", path, "ro", "false")
	change()
	btrfsProgram(t, "filesystem", "sync", path)
	btrfsProgram(t, "property", "set", path, "ro", "true")
}

// flip changes one byte of a file, and neither its size nor its time.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	st, err := f.Stat()
	must(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	must(t, err)
	_, err = f.WriteAt([]byte{b[0] ^ 1}, at)
	must(t, err)
	must(t, os.Chtimes(path, st.ModTime(), st.ModTime()))
}

// Each thing that can befall a backup is named, both while its snapshot is at the source and when that is gone; an intact one is called intact.
func TestVerifyNames(t *testing.T) {
	const gone, kept = 0, 1 // the backups: by what became of their snapshots
	for name, tc := range map[string]struct {
		change   func(backup string)
		compared []string // what is said where the snapshot is there
		alone    []string // and where it is not
	}{
		"nothing": {},
		"flipped byte": {
			func(b string) { flip(t, filepath.Join(b, "dir/file"), 70_000) },
			[]string{`"dir/file": content differs from byte 70000 on`}, []string{`"dir/file": was changed`},
		},
		"missing file": {
			func(b string) { must(t, os.Remove(filepath.Join(b, "dir/small"))) },
			[]string{`"dir/small": is missing`}, []string{`"dir": was changed, or names in it`},
		},
		"added file": {
			func(b string) { must(t, os.WriteFile(filepath.Join(b, "dir/\xffnew"), nil, 0o600)) },
			[]string{`"dir/\xffnew": should not be there`}, []string{`"dir/\xffnew": was added`},
		},
		"owner": {
			func(b string) { must(t, os.Lchown(filepath.Join(b, "link"), 7, 8)) },
			[]string{`"link": owner 7:8 instead of 0:0`}, []string{`"link": was changed`},
		},
		"xattr": {
			func(b string) { must(t, unix.Removexattr(filepath.Join(b, "dir/small"), "user.x")) },
			[]string{`"dir/small": xattr "user.x" is missing`}, []string{`"dir/small": was changed`},
		},
		"received UUID": {func(string) {}, []string{"its received UUID is gone"}, []string{"its received UUID is gone"}},
	} {
		for which := gone; which <= kept; which++ {
			t.Run(fmt.Sprint(name, which), func(t *testing.T) {
				w := newWorld(t, 1)
				w.job.Keep = config.Keep{Last: 1}
				testdisk.Tree(t, w.source(), testdisk.Spec{Files: 20, MaxSize: 64 << 10})
				w.write("dir/file", strings.Repeat("0123456789", 10_000))
				w.write("dir/small", "text")
				must(t, os.Symlink("dir", filepath.Join(w.source(), "link")))
				must(t, unix.Setxattr(filepath.Join(w.source(), "dir/small"), "user.x", []byte("1"), 0))
				names := []string{w.mustRun().Snapshot, ""}
				w.write("more", "")
				names[kept] = w.mustRun().Snapshot
				w.now = w.now.Add(time.Hour)
				deep := jobs.VerifyOptions{Deep: true}
				if r := w.proof(deep); r.Result != jobs.ResultOK || r.ExitStatus() != 0 || len(findings(r)) > 0 {
					t.Fatalf("intact: %+v", r)
				}
				if tc.change == nil {
					return
				}
				alter(t, w.path(0, names[which]), func() { tc.change(w.path(0, names[which])) })
				r := w.proof(deep)
				if r.Result != jobs.ResultFailed || r.ExitStatus() != 1 {
					t.Errorf("%+v", r)
				}
				want := tc.alone
				if which == kept {
					want = tc.compared
				}
				for _, line := range append(want, "its received UUID is gone") {
					if !slices.ContainsFunc(findings(r), func(f string) bool { return strings.HasPrefix(f, names[which]+": "+line) }) {
						t.Errorf("not told: %s; told: %q", line, findings(r))
					}
				}
				if others := slices.DeleteFunc(findings(r), func(f string) bool { return strings.HasPrefix(f, names[which]) }); len(others) > 0 {
					t.Errorf("of the other one: %q", others)
				}
				task := r.TaskResult()
				if task.Result != jobs.ResultFailed || !slices.Equal(task.Damaged, []string{names[which]}) || slices.Contains(task.Sound, names[which]) {
					t.Errorf("%+v", task)
				}
				if which == gone && !slices.Contains(task.Sound, names[kept]) {
					t.Errorf("%+v", task)
				}
				last, err := jobs.LoadVerify(w.cfg.StateDir, w.job)
				must(t, err)
				if d := last.Destinations[w.job.Destinations[0].URL]; d == nil || d.Last.Result != jobs.ResultFailed || d.Last.Findings != len(findings(r)) {
					t.Errorf("%+v", d)
				}
			})
		}
	}
}

// What stands wrong without a byte of it being read.
func TestVerifyStructure(t *testing.T) {
	w := newWorld(t, 1)
	w.write("a", "1")
	first, second := w.mustRun().Snapshot, ""
	w.write("a", "2")
	second = w.mustRun().Snapshot
	says := func(want ...string) {
		t.Helper()
		r := w.proof(jobs.VerifyOptions{})
		got := findings(r)
		ok := len(got) == len(want)
		for i := range want {
			ok = ok && strings.Contains(got[i], want[i])
		}
		if !ok {
			t.Errorf("%q, want %q: %+v", got, want, r)
		}
	}
	says()
	// A raw flip keeps the received UUID.
	must(t, setFlag(w.path(0, first), false))
	says(first + ": is writable")
	must(t, os.WriteFile(w.path(0, first)+"/a", []byte("other"), 0o644))
	must(t, setFlag(w.path(0, first), true))
	btrfsProgram(t, "filesystem", "sync", w.path(0, first))
	r := findings(w.proof(jobs.VerifyOptions{}))
	if !slices.Contains(r, first+": somebody has written into it since it was complete") || !slices.Contains(r, first+`: "a": size 5 instead of 1`) {
		t.Errorf("%q", r)
	}
	must(t, btrfs.Delete(w.job.Destinations[0].URL, first, w.listed(first).UUID))
	says(first + ": is missing")
	must(t, catalog.Forget(w.job.Destinations[0].URL, func(id btrfs.UUID) bool { return id != w.listed(second).UUID }))
	says()
	// Something that was received there by hand, and is a backup no more.
	sendReceive(t, filepath.Join(w.job.SnapshotDir, first), w.job.Destinations[0].URL)
	says()
	must(t, setFlag(w.path(0, first), false))
	says(first + ": is writable, though it was received as a backup")
}

// listed finds a backup at the first destination.
func (w *world) listed(name string) jobs.ListedBackup {
	for _, b := range w.listing().Destinations[0].Backups {
		if b.Name == name {
			return b
		}
	}
	return jobs.ListedBackup{}
}

// What prune has deleted, or could have, is not missing, whatever a crash has left of it in the catalog.
func TestVerifyPruned(t *testing.T) {
	w := newWorld(t, 1)
	w.job.Destinations[0].Keep = config.Keep{Last: 2}
	dir := w.job.Destinations[0].URL
	for i := range 5 {
		w.write("a", fmt.Sprint(i))
		before, err := catalog.Read(dir)
		must(t, err)
		w.mustRun()
		for id, e := range before { // as if the run had been killed just before it forgot
			if after, err := catalog.Read(dir); err == nil && after[id].UUID.IsZero() {
				must(t, catalog.Add(dir, e))
			}
		}
	}
	if r := w.proof(jobs.VerifyOptions{Deep: true}); r.Result != jobs.ResultOK {
		t.Errorf("%+v", r)
	}
	must(t, os.RemoveAll(filepath.Join(w.cfg.StateDir, "history.jsonl")))
	if r := w.proof(jobs.VerifyOptions{Deep: true}); r.Result != jobs.ResultOK {
		t.Errorf("without the history: %+v", r)
	}
}

// A verify that is cut over and over goes on where it was: nothing is left out, nothing done twice, and in the end it has told everything.
func TestVerifyGoesOn(t *testing.T) {
	w := newWorld(t, 1)
	testdisk.Tree(t, w.source(), testdisk.Spec{Files: 10, MaxSize: 32 << 10})
	var names []string
	for i := range 3 {
		w.write("file", strings.Repeat(fmt.Sprint(i), 10_000))
		names = append(names, w.mustRun().Snapshot)
	}
	alter(t, w.path(0, names[1]), func() { flip(t, w.path(0, names[1])+"/file", 5000) })
	want := w.proof(jobs.VerifyOptions{Deep: true})
	all := want.Destinations[0]
	var entries, files, bytes int64
	var compared []string
	calls := 0
	var last jobs.VerifyReport
	for {
		w.pass(time.Hour)
		last = w.proof(jobs.VerifyOptions{Deep: true, MaxTime: 1})
		d := last.Destinations[0]
		entries, files, bytes, compared = entries+d.Entries, files+d.Files, bytes+d.Bytes, append(compared, d.Compared...)
		if calls++; d.Remaining == 0 {
			break
		}
		if last.Result == jobs.ResultOK || d.Cut == nil && len(d.Compared) == 0 || calls > 2000 {
			t.Fatalf("call %d: %+v", calls, last)
		}
	}
	if entries != all.Entries || files != all.Files || bytes != all.Bytes || calls < 100 {
		t.Errorf("%d entries, %d files, %d bytes in %d calls; in one: %+v", entries, files, bytes, calls, all)
	}
	slices.Sort(compared)
	if !slices.Equal(compared, names) || last.Result != jobs.ResultFailed {
		t.Errorf("%q: %+v", compared, last)
	}
	if got := findings(last); !slices.Equal(got, findings(want)) {
		t.Errorf("%q, in one: %q", got, findings(want))
	}
	// The next one is a new pass.
	if d := w.proof(jobs.VerifyOptions{Deep: true}).Destinations[0]; d.Files != all.Files {
		t.Errorf("%+v", d)
	}
}

// Samples take turns until all data was read.
func TestVerifySamples(t *testing.T) {
	w := newWorld(t, 1)
	testdisk.Tree(t, w.source(), testdisk.Spec{Files: 60, MaxSize: 16 << 10})
	w.mustRun()
	all := w.proof(jobs.VerifyOptions{Deep: true}).Destinations[0]
	name := w.complete(0)[0]
	alter(t, w.path(0, name), func() { flip(t, w.path(0, name)+"/files/d00/e000/f00000", 0) })
	var files, bytes int64
	found := 0
	for range 4 {
		r := w.proof(jobs.VerifyOptions{Sample: 0.25})
		d := r.Destinations[0]
		files, bytes = files+d.Files, bytes+d.Bytes
		if slices.ContainsFunc(findings(r), func(s string) bool { return strings.Contains(s, "content differs") }) {
			found++
		}
	}
	if files != all.Files || bytes < all.Bytes*9/10 || found != 1 {
		t.Errorf("%d files, %d bytes, found %d times; in one: %+v", files, bytes, found, all)
	}
}

// Backups that go on being made do not keep the old ones from their turn, nor the pass from its end.
func TestVerifyTurns(t *testing.T) {
	w := newWorld(t, 1)
	var old []string
	for i := range 4 {
		w.write("file", fmt.Sprint(i))
		old = append(old, w.mustRun().Snapshot)
	}
	passes := map[time.Time]bool{}
	compared := map[string]int{}
	for i := range 14 {
		w.write("file", fmt.Sprint(i))
		newest := w.mustRun().Snapshot
		for {
			d := w.proof(jobs.VerifyOptions{Deep: true, MaxTime: 1}).Destinations[0]
			passes[d.Begun] = true
			if len(d.Compared) == 0 {
				continue
			}
			compared[d.Compared[0]]++
			if i == 0 && d.Compared[0] != newest {
				t.Errorf("the first is %s, not the newest", d.Compared[0])
			}
			break
		}
	}
	for _, name := range old {
		if compared[name] == 0 {
			t.Errorf("%s had no turn: %v", name, compared)
		}
	}
	if len(passes) < 2 {
		t.Errorf("%d passes", len(passes))
	}
}

// With the snapshot gone, a copy at another destination serves. A snapshot or copy that somebody has written into does not.
func TestVerifyAgainstCopy(t *testing.T) {
	w := newWorld(t, 2)
	w.job.Keep = config.Keep{Last: 1}
	w.write("file", strings.Repeat("x", 5000))
	first := w.mustRun().Snapshot
	w.write("file", "y")
	second := w.mustRun().Snapshot
	d := w.proof(jobs.VerifyOptions{Deep: true})
	if d.Result != jobs.ResultOK || len(d.Destinations[1].Compared) != 2 {
		t.Fatalf("%+v", d)
	}
	alter(t, w.path(0, first), func() { flip(t, w.path(0, first)+"/file", 5) })
	r := w.proof(jobs.VerifyOptions{Deep: true})
	if got := findings(r); !slices.Contains(got, first+`: "file": content differs from byte 5 on (compared with the copy at d2)`) {
		t.Errorf("%q", got)
	}
	if d := r.Destinations[1]; d.Result != jobs.ResultOK || !slices.Equal(d.StructureOnly, []string{first}) {
		t.Errorf("%+v", d)
	}
	alter(t, filepath.Join(w.job.SnapshotDir, second), func() { flip(t, filepath.Join(w.job.SnapshotDir, second)+"/file", 0) })
	if d := w.proof(jobs.VerifyOptions{Deep: true, Destination: "d2"}).Destinations; len(d) != 1 || d[0].Result != jobs.ResultOK || !slices.Contains(d[0].Compared, second) {
		t.Errorf("%+v", d)
	}
}

// A block that the disk has lost is told with the file that it was of, and the rest goes on.
func TestVerifyBadBlock(t *testing.T) {
	w := newWorld(t, 1)
	data := make([]byte, 64<<10)
	copy(data[20_000:], "a pattern that is nowhere else on the disk")
	w.write("bad", string(data))
	w.write("good", "text")
	w.mustRun()
	disk := w.dests[0]
	disk.Unmount()
	image, err := os.ReadFile(disk.Image)
	must(t, err)
	at := bytes.Index(image, []byte("a pattern that is nowhere else"))
	f, err := os.OpenFile(disk.Image, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("?"), int64(at))
	must(t, errors.Join(err, f.Close()))
	disk.Mount("noatime")
	r := w.proof(jobs.VerifyOptions{Deep: true})
	if got := findings(r); len(got) != 1 || !strings.Contains(got[0], `"bad": cannot be read: read: input/output error`) || r.Destinations[0].Files != 2 {
		t.Errorf("%+v", r)
	}
}

// Whether a destination is there is told apart from whether it is well.
func TestVerifyAbsent(t *testing.T) {
	w := newWorld(t, 2)
	w.write("a", "1")
	w.mustRun()
	w.dests[1].Unmount()
	r := w.proof(jobs.VerifyOptions{})
	if r.Result != jobs.ResultIncomplete || r.ExitStatus() != 75 || r.Destinations[0].Result != jobs.ResultOK || r.Destinations[1].Result != jobs.ResultAbsent {
		t.Errorf("%+v", r)
	}
	if r := w.proof(jobs.VerifyOptions{Destination: "d2"}); r.Result != jobs.ResultSkipped || r.ExitStatus() != 75 || r.TaskResult().Result != jobs.ResultAbsent {
		t.Errorf("%+v", r)
	}
	if r := w.proof(jobs.VerifyOptions{Destination: "d3"}); r.ExitStatus() != 1 {
		t.Errorf("%+v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := w.runner.Verify(ctx, w.placed(), jobs.VerifyOptions{Clock: w.clock(), Destination: "d1"}); r.Result != jobs.ResultIncomplete || r.ExitStatus() != 1 || r.TaskResult().Result != jobs.ResultSkipped {
		t.Errorf("stopped: %+v", r)
	}
}

// While something is verified, neither it nor what it is compared with can be deleted; a run is not kept from anything; and a second verify is refused.
func TestVerifyHolds(t *testing.T) {
	w := newWorld(t, 1)
	w.write("a", strings.Repeat("text", 10_000))
	name := w.mustRun().Snapshot
	dir, backup, again := w.job.Destinations[0].URL, w.listed(name), 0
	w.runner.Progress = func(p jobs.Progress) {
		if p.Step != "verify" || p.Bytes == 0 || again > 0 {
			return
		}
		again++
		if err := btrfs.Delete(dir, name, backup.UUID); !errors.Is(err, btrfs.ErrInUse) {
			t.Errorf("the backup can be deleted: %v", err)
		}
		snapshot := w.listing().Snapshots[0]
		if err := btrfs.Delete(w.job.SnapshotDir, snapshot.Name, snapshot.UUID); !errors.Is(err, btrfs.ErrInUse) {
			t.Errorf("the snapshot can be deleted: %v", err)
		}
		other := w.newRunner()
		if r := other.Verify(t.Context(), w.job, jobs.VerifyOptions{Clock: w.clock()}); r.Result != jobs.ResultSkipped || r.ExitStatus() != 75 || r.TaskResult().Result != jobs.ResultBusy {
			t.Errorf("%+v", r)
		}
		w.write("b", "")
		if r := other.Run(t.Context(), w.job, jobs.Options{Clock: w.clock(), Trigger: "command"}); r.Result != jobs.ResultOK {
			t.Errorf("%+v", r)
		}
	}
	if r := w.proof(jobs.VerifyOptions{Deep: true}); r.Result != jobs.ResultOK || again == 0 {
		t.Errorf("%+v", r)
	}
	w.runner.Progress = nil
	must(t, btrfs.Delete(dir, name, backup.UUID))
}

// Nothing is changed by it: no time of access, no transaction.
func TestVerifyChangesNothing(t *testing.T) {
	src := testdisk.New(t, testdisk.Options{MountOptions: "strictatime"})
	must(t, btrfs.Create(src.Path, "home"))
	w := newWorldOn(t, src, testdisk.New(t, testdisk.Options{MountOptions: "strictatime"}))
	testdisk.Tree(t, w.source(), testdisk.Spec{})
	name := w.mustRun().Snapshot
	roots := []string{filepath.Join(w.job.SnapshotDir, name), w.path(0, name)}
	state := func() (all []string) {
		for _, root := range roots {
			must(t, btrfs.Sync(root))
			info, err := btrfs.Info(root)
			must(t, err)
			all = append(all, fmt.Sprintf("%+v", info))
			must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
				var st unix.Stat_t
				if err == nil {
					err = unix.Lstat(path, &st)
				}
				all = append(all, fmt.Sprintf("%s %v %v", path, st.Atim, st.Ctim))
				return err
			}))
		}
		return all
	}
	before := state()
	if r := w.proof(jobs.VerifyOptions{Deep: true}); r.Result != jobs.ResultOK {
		t.Errorf("%+v", r)
	}
	if after := state(); !slices.Equal(before, after) {
		t.Error("something was changed")
	}
}
