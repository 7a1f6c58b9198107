package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// live is a whole daemon with its socket, in real time.
type live struct {
	d    *Daemon
	cfg  *config.Config
	log  logged
	stop func() // and wait

	mu    sync.Mutex
	loads int
	err   error // of the next loads

	begun   chan string   // a run of this job has begun
	release chan struct{} // lets one run end
}

func (f *live) load() (*config.Config, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loads++
	return f.cfg, f.err
}

func (f *live) loaded() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.loads
}

// Run reports progress, then waits to be released.
func (f *live) RunGroup(ctx context.Context, members []config.Job, o jobs.Options, each func(config.Job, func() jobs.Record)) {
	for _, job := range members {
		each(job, func() jobs.Record { return f.Run(ctx, job, o) })
	}
}

func (f *live) Run(ctx context.Context, j config.Job, o jobs.Options) jobs.Record {
	rec := jobs.Record{Job: j.Name, Trigger: o.Trigger, Started: o.Clock.Wall, Ended: o.Clock.Wall, Result: jobs.ResultOK, Transfers: []jobs.Transfer{}, Pruned: []jobs.Pruned{}}
	f.d.Progress(jobs.Progress{Job: j.Name, Step: "transfer", Destination: "usb", Bytes: 1 << 20, Started: o.Clock.Wall})
	f.begun <- j.Name
	select {
	case <-f.release:
	case <-ctx.Done():
		rec.Result, rec.Error = jobs.ResultFailed, context.Cause(ctx).Error()
	}
	return rec
}

// goLive is Daemon.Run in the background; it returns when the daemon answers.
func goLive(t *testing.T, names ...string) *live {
	t.Helper()
	dir, err := os.MkdirTemp("", "btrkeep") // a socket's path is short: no test's name in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := &live{
		cfg:   &config.Config{Timezone: time.UTC, Parallel: 2, StateDir: filepath.Join(dir, "state"), RuntimeDir: filepath.Join(dir, "run"), Files: []string{"a.toml"}},
		begun: make(chan string, 10), release: make(chan struct{}, 10),
	}
	for _, name := range names {
		f.cfg.Jobs = append(f.cfg.Jobs, job(t, name, "0 0 29 2 *"))
	}
	f.d = &Daemon{
		ConfigPath: "a.toml", Version: "1.2.3", Load: f.load, Runner: func(*config.Config) Runner { return f },
		Log: slog.New(slog.NewTextHandler(&f.log, nil)),
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.d.Run(ctx) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the daemon does not stop")
		}
	})
	t.Cleanup(f.stop)
	for range 500 {
		if c, err := Dial(f.cfg.RuntimeDir); err == nil {
			if _, err := c.Status(t.Context()); err != nil {
				t.Fatal(err)
			}
			return f
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the daemon does not listen:\n%s", &f.log)
	return nil
}

func (f *live) dial(t *testing.T) *Client {
	t.Helper()
	c, err := Dial(f.cfg.RuntimeDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type outcome struct {
	records []jobs.Record
	err     error
}

// ask is Client.Run in the background.
func (f *live) ask(t *testing.T, ctx context.Context, progress func(jobs.Progress), names ...string) <-chan outcome {
	t.Helper()
	c := f.dial(t)
	out := make(chan outcome, 1)
	go func() {
		records, err := c.Run(ctx, names, progress)
		out <- outcome{records, err}
	}()
	return out
}

func results(o outcome) string {
	var words []string
	for _, r := range o.records {
		words = append(words, r.Job+" "+r.Result)
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

func TestControlRun(t *testing.T) {
	f := goLive(t, "home", "srv", "www")
	seen := make(chan jobs.Progress, 100)
	all := f.ask(t, t.Context(), func(p jobs.Progress) { seen <- p })
	one, two := <-f.begun, <-f.begun
	got := map[string]jobs.Progress{}
	for len(got) < 2 {
		p := <-seen
		got[p.Job] = p
	}
	if p := got[one]; p.Step != "transfer" || p.Destination != "usb" || p.Bytes != 1<<20 {
		t.Errorf("progress %+v", p)
	}
	s, err := f.dial(t).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.PID != os.Getpid() || s.Version != "1.2.3" || s.Config != "a.toml" || !slices.Equal(s.Files, []string{"a.toml"}) || time.Since(s.Started) > time.Minute ||
		len(s.Running) != 2 || len(s.Waiting) != 1 || len(s.Next) != 3 || s.Next["home"].Month() != time.February {
		t.Errorf("status %+v", s)
	}
	held := <-f.ask(t, t.Context(), nil, one)
	if held.err != nil || len(held.records) != 1 || jobs.ExitStatus(held.records) != 75 ||
		!strings.Contains(held.records[0].Error, fmt.Sprintf("process %d (job %s, since ", os.Getpid(), one)) {
		t.Errorf("asked for a job that runs: %+v", held)
	}
	f.release <- struct{}{}
	three := <-f.begun
	f.release <- struct{}{}
	f.release <- struct{}{}
	o := <-all
	if o.err != nil || results(o) != "home ok, srv ok, www ok" {
		t.Errorf("%s and %s and %s: %s, %v", one, two, three, results(o), o.err)
	}
}

func TestControlUnknownJob(t *testing.T) {
	f := goLive(t, "home")
	o := <-f.ask(t, t.Context(), nil, "home", "hoem")
	if !errors.Is(o.err, ErrUnknownJob) || !strings.Contains(o.err.Error(), "no job is named hoem") || !strings.Contains(jobs.Hint(o.err), "the daemon has home") {
		t.Errorf("%v (hint %s)", o.err, jobs.Hint(o.err))
	}
	if len(f.begun) != 0 {
		t.Error("the other job was run")
	}
}

// The run goes on when the client goes.
func TestControlDisconnect(t *testing.T) {
	f := goLive(t, "home")
	ctx, cancel := context.WithCancelCause(t.Context())
	out := f.ask(t, ctx, nil, "home")
	<-f.begun
	gone := errors.New("the user pressed Ctrl-C")
	cancel(gone)
	if o := <-out; !errors.Is(o.err, gone) && !errors.Is(o.err, context.Canceled) {
		t.Errorf("%+v", o)
	}
	// until says what becomes true soon.
	until := func(what string, is func() bool) {
		t.Helper()
		for range 500 {
			if is() {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("not %s", what)
	}
	running := func() int {
		s, err := f.dial(t).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(s.Running)
	}
	until("forgotten", func() bool {
		f.d.progress.mu.Lock()
		defer f.d.progress.mu.Unlock()
		return len(f.d.progress.watches) == 0
	})
	if n := running(); n != 1 {
		t.Errorf("%d runs after the client has gone", n)
	}
	f.release <- struct{}{}
	until("ended", func() bool { return running() == 0 })
}

func TestControlReload(t *testing.T) {
	f := goLive(t, "home")
	f.mu.Lock()
	f.err = config.Errors{{File: "a.toml", Line: 1, Column: 2, Msg: "one"}, {File: "a.toml", Line: 3, Column: 4, Msg: "two"}}
	f.mu.Unlock()
	err := f.dial(t).Reload(t.Context())
	bad, ok := errors.AsType[*ReloadError](err)
	if !ok || len(bad.Mistakes) != 2 || !strings.Contains(bad.Mistakes[1], "a.toml:3:4: two") {
		t.Errorf("reload: %v", err)
	}
	if s, err := f.dial(t).Status(t.Context()); err != nil || !strings.Contains(s.ReloadError, "two") {
		t.Errorf("status %+v, %v", s, err)
	}
	f.mu.Lock()
	f.err = nil
	f.cfg = &config.Config{Timezone: time.UTC, Parallel: 1, StateDir: f.cfg.StateDir, RuntimeDir: f.cfg.RuntimeDir, Jobs: []config.Job{job(t, "new", "")}}
	f.mu.Unlock()
	if err := f.dial(t).Reload(t.Context()); err != nil {
		t.Error(err)
	}
	o := f.ask(t, t.Context(), nil, "new")
	<-f.begun
	f.release <- struct{}{}
	if got := results(<-o); got != "new ok" {
		t.Errorf("after the reload: %s", got)
	}
}

func TestSighup(t *testing.T) {
	f := goLive(t, "home")
	before := f.loaded()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		if f.loaded() > before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("no reload")
}

// The client of a run that is cut short by the daemon's end is told its record.
func TestControlStop(t *testing.T) {
	f := goLive(t, "home")
	out := f.ask(t, t.Context(), nil, "home")
	<-f.begun
	f.stop()
	if o := <-out; o.err != nil || results(o) != "home failed" || o.records[0].Error != errStopping.Error() {
		t.Errorf("%+v", o)
	}
	if _, err := os.Lstat(socketPath(f.cfg.RuntimeDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if _, err := Dial(f.cfg.RuntimeDir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Dial: %v", err)
	}
}

// If the daemon ends before a run does, the client's answer is cut off and its error says so.
func TestControlAbandoned(t *testing.T) {
	d := &Daemon{}
	l := &loop{d: d, gone: make(chan struct{})}
	close(l.gone)
	dir := shortDir(t)
	listener, err := listen(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	s := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		watch := d.progress.watch()
		watch.expect("a")
		watch.expect("b")
		watch.end(jobs.Record{Job: "a", Result: jobs.ResultFailed})
		l.stream(w, r, watch)
	})}
	go func() { _ = s.Serve(listener) }()
	defer s.Close()
	c, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	records, err := c.Run(t.Context(), nil, nil)
	if len(records) != 1 || err == nil || !strings.Contains(err.Error(), "the daemon ended before the runs did") {
		t.Errorf("%+v, %v", records, err)
	}
}

func TestDialNobody(t *testing.T) {
	if _, err := Dial(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no directory: %v", err)
	}
	dir := shortDir(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socketPath(dir), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := Dial(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("nobody listens: %v", err)
	}
}

// Another version may not know a request.
func TestClientOtherVersion(t *testing.T) {
	dir := shortDir(t)
	l, err := listen(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	s := http.Server{Handler: http.NotFoundHandler()}
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	c, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Run(t.Context(), []string{"home"}, nil); err == nil || errors.Is(err, ErrUnknownJob) || !strings.Contains(err.Error(), "another version") {
		t.Error(err)
	}
}

func TestOneDaemon(t *testing.T) {
	f := goLive(t, "home")
	second := &Daemon{Load: f.load, Runner: f.d.Runner, Log: f.d.Log}
	err := second.Run(t.Context())
	if _, held := errors.AsType[*jobs.HeldError](err); !held || !strings.Contains(err.Error(), fmt.Sprintf("another daemon is running: process %d, since ", os.Getpid())) {
		t.Errorf("a second daemon: %v", err)
	}
	if _, err := f.dial(t).Status(t.Context()); err != nil {
		t.Errorf("the first one, after that: %v", err)
	}
}

func TestBrokenAtStart(t *testing.T) {
	want := config.Errors{{File: "a.toml", Msg: "broken"}}
	d := &Daemon{Load: func() (*config.Config, error) { return nil, want }, Log: slog.New(slog.DiscardHandler)}
	got, ok := errors.AsType[config.Errors](d.Run(t.Context()))
	if !ok || !cmp.Equal(got, want) {
		t.Errorf("Run: %v", got)
	}
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "btrkeep")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// The socket is private from the moment it exists, whatever the umask, and replaces one that was left.
func TestSocket(t *testing.T) {
	dir := shortDir(t)
	path := socketPath(dir)
	defer syscall.Umask(syscall.Umask(0))
	for _, before := range []string{"nothing", "a socket"} {
		l, err := listen(t.Context(), dir)
		if err != nil {
			t.Fatalf("%s: %v", before, err)
		}
		st, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode() != fs.ModeSocket|0o600 {
			t.Errorf("%s: mode %v", before, st.Mode())
		}
		l.(*guarded).SetUnlinkOnClose(false)
		l.Close()
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "in the way") {
		t.Errorf("a file in the way: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("the file: %q, %v", b, err)
	}
	if _, err := listen(t.Context(), filepath.Join(dir, strings.Repeat("x", 100))); err == nil || !strings.Contains(err.Error(), "shorter runtime_dir") {
		t.Errorf("long path: %v", err)
	}
}

// Even if the socket's mode lets others in, they are not served.
func TestSocketPeer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become somebody else")
	}
	dir := shortDir(t)
	l, err := listen(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 2)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for _, path := range []string{dir, socketPath(dir)} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	// end says how a connection of the user ends: served, or closed.
	end := func(uid int) string {
		out := make(chan string)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread, which is somebody else now, ends with the goroutine
			if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
				out <- e.Error()
				return
			}
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err == nil {
				err = unix.Connect(fd, &unix.SockaddrUnix{Name: socketPath(dir)})
			}
			if err != nil {
				out <- err.Error()
				return
			}
			defer unix.Close(fd)
			_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 300_000})
			if n, err := unix.Read(fd, make([]byte, 1)); n == 0 && err == nil {
				out <- "closed"
			} else {
				out <- "served"
			}
		}()
		return <-out
	}
	if got := end(0); got != "served" {
		t.Errorf("root: %s", got)
	}
	if got := end(65534); got != "closed" {
		t.Errorf("nobody: %s", got)
	}
	if c := <-accepted; c != nil {
		c.Close()
	}
	if len(accepted) != 0 {
		t.Error("nobody was let in")
	}
}
