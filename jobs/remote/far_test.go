// Package remote_test tests both ends: a real sshd with throw-away keys, and the built program behind it.
package remote_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/btrkeep/btrkeep/internal/testssh"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/local"
	"github.com/btrkeep/btrkeep/jobs/remote"
	"github.com/btrkeep/btrkeep/jobs/remote/api"
	"github.com/btrkeep/btrkeep/jobs/remote/wire"
)

func TestMain(m *testing.M) { testdisk.Main(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pair is a machine with a source, and another one with a disk for backups, of which a key may use one directory.
type pair struct {
	t      *testing.T
	src    *testdisk.Disk
	dst    *testdisk.Disk
	far    *testssh.Server
	cfg    *config.Config
	job    config.Job
	now    time.Time
	log    bytes.Buffer
	runner *jobs.Runner
}

// newPair makes both; what the key is bound to may name $SRC and $DST, the disks' mount points, and "" is none.
func newPair(t *testing.T, o testssh.Options, bound string) *pair {
	t.Helper()
	p := &pair{
		t: t, now: time.Date(2026, 11, 23, 11, 56, 0, 0, time.UTC),
		src: testdisk.New(t, testdisk.Options{Size: 512 << 20, MountOptions: "noatime"}), dst: testdisk.New(t, testdisk.Options{Size: 512 << 20, MountOptions: "noatime"}),
	}
	must(t, btrfs.Create(p.src.Path, "home"))
	must(t, os.Mkdir(p.dst.Path+"/alice", 0o700))
	if o.Program == "" {
		o.Program = testssh.Program(t)
	}
	p.far = testssh.New(t, o)
	state := t.TempDir()
	p.cfg = &config.Config{
		Timezone: time.UTC, Parallel: 2, StateDir: filepath.Join(state, "state"), RuntimeDir: filepath.Join(state, "run"), Receiver: config.ReceiverNative,
		Checkpoint: config.Checkpoint{Bytes: 4 << 20, Time: config.Duration(time.Minute)},
	}
	source := p.src.Path + "/home"
	p.job = config.Job{
		Name: "home", Source: source, SnapshotDir: source + "/.btrkeep", StallTimeout: config.Duration(time.Minute),
		Destinations: []config.Destination{{Name: "nas", URL: p.far.URL(p.dst.Path + "/alice/home")}},
	}
	ssh := p.far.SSH
	if bound != "" {
		ssh = p.key(bound)
	}
	p.use(ssh)
	return p
}

// key is one that is bound to a command.
func (p *pair) key(bound string) (ssh []string) {
	p.t.Helper()
	bound = strings.NewReplacer("$SRC", p.src.Path, "$DST", p.dst.Path).Replace(bound)
	return p.far.Authorize(fmt.Sprintf(`restrict,command="%s"`, bound))
}

// use has the runs use an ssh.
func (p *pair) use(ssh []string) {
	near := local.Opener{Zone: time.UTC, Receiver: local.Native{Checkpoint: p.cfg.Checkpoint}}
	far := remote.Opener{SSH: ssh, Version: "test", Zone: time.UTC, Checkpoint: p.cfg.Checkpoint}
	p.runner = &jobs.Runner{
		Config: p.cfg, Log: slog.New(slog.NewTextHandler(&p.log, nil)), Slots: &jobs.Slots{}, Origin: far.Origin, Backoff: 50 * time.Millisecond,
		Open: func(ctx context.Context, job config.Job, d config.Destination, owner jobs.Owner, last jobs.Identity) (jobs.Destination, error) {
			if d.Local() {
				return near.Open(ctx, job, d, owner, last)
			}
			return far.Open(ctx, job, d, owner, last)
		},
		At: func(ctx context.Context, job config.Job, d config.Destination) (jobs.Destination, error) {
			if d.Local() {
				return near.At(ctx, job, d)
			}
			return far.At(ctx, job, d)
		},
	}
}

func (p *pair) clock() jobs.Clock {
	return jobs.Clock{Wall: p.now, Boot: p.now.Sub(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)), ID: "boot"}
}

// run makes a run a minute later.
func (p *pair) run() jobs.Record {
	p.t.Helper()
	p.now = p.now.Add(time.Minute)
	return p.runner.Run(context.Background(), p.job, jobs.Options{Clock: p.clock(), Trigger: "command"})
}

func (p *pair) mustRun() jobs.Record {
	p.t.Helper()
	r := p.run()
	if r.Result != jobs.ResultOK {
		p.t.Fatalf("run: %+v\n%s", r, p.log.String())
	}
	return r
}

// write puts a file into the source.
func (p *pair) write(name string, content []byte) {
	p.t.Helper()
	must(p.t, os.WriteFile(filepath.Join(p.src.Path, "home", name), content, 0o644))
}

// backups are the names of the subvolumes in a directory of the far disk, hidden ones too.
func (p *pair) backups(dir string) []string {
	p.t.Helper()
	all, err := os.ReadDir(filepath.Join(p.dst.Path, dir))
	must(p.t, err)
	names := []string{}
	for _, e := range all {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// verify compares every backup with its snapshot.
func (p *pair) verify() {
	p.t.Helper()
	l := p.runner.List(context.Background(), p.job)
	if l.Error != "" || l.Destinations[0].State != jobs.StatePresent {
		p.t.Fatalf("%+v", l)
	}
	compared := 0
	for _, b := range l.Destinations[0].Backups {
		i := slices.IndexFunc(l.Snapshots, func(s jobs.ListedSnapshot) bool { return s.UUID == b.ReceivedUUID })
		if !b.Complete || i < 0 {
			p.t.Errorf("%+v", b)
			continue
		}
		diffs, err := testdisk.Compare(l.Snapshots[i].Path, b.Path)
		must(p.t, err)
		if len(diffs) > 0 {
			p.t.Errorf("%s differs from its snapshot:\n%s", b.Name, strings.Join(diffs, "\n"))
		}
		compared++
	}
	if compared == 0 {
		p.t.Error("there is nothing to compare")
	}
}

// raw is a client that says whatever it likes.
type raw struct {
	t *testing.T
	c *wire.Client
}

func (p *pair) raw(ssh []string) *raw {
	p.t.Helper()
	// What the client asks for is not what the key is bound to.
	d := wire.Dialer{SSH: ssh, Command: "btrkeep serve --trust-client", Stall: time.Minute, Version: "hostile"}
	c, err := d.Dial(p.t.Context(), wire.Target{User: "root", Host: p.far.Addr.Addr().String(), Port: fmt.Sprint(p.far.Addr.Port())})
	must(p.t, err)
	p.t.Cleanup(func() { _ = c.Close() })
	return &raw{p.t, c}
}

// ask makes a request; described goes into the header if there is a body beside it. It gives what the far end says, and its error.
func (r *raw) ask(path string, in any, body io.Reader) (string, error) {
	r.t.Helper()
	b, err := json.Marshal(in)
	must(r.t, err)
	described := body != nil
	if !described {
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "http://btrkeep"+path, body)
	must(r.t, err)
	if described {
		req.Header.Set(api.IncomingHeader, string(b))
	}
	resp, err := r.c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	var far api.Error
	if resp.StatusCode != http.StatusOK && json.Unmarshal(text, &far) == nil && far.Text != "" {
		return string(text), far.Decode()
	}
	return string(text), err
}

// lock takes a lock for the rest of the test.
func (r *raw) lock(path string, in any) error {
	r.t.Helper()
	b, err := json.Marshal(in)
	must(r.t, err)
	body, end := io.Pipe()
	r.t.Cleanup(func() { _ = end.Close() })
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "http://btrkeep"+path, body)
	must(r.t, err)
	req.Header.Set(api.IncomingHeader, string(b))
	resp, err := r.c.Do(req)
	if err != nil {
		return err
	}
	r.t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		var far api.Error
		must(r.t, json.Unmarshal(text, &far))
		return far.Decode()
	}
	return nil
}
