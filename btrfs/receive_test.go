package btrfs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"golang.org/x/sys/unix"
)

// A bind mount of a directory takes full and incremental streams, whether the file system's own mount is in sight or not,
// writable or not; and nobody else sees the mounts that this needs.
func TestReceiveIntoBindMount(t *testing.T) {
	here := newDisk(t)
	live := create(t, here, "live")
	one := snapshot(t, live, here, "one")
	write(t, filepath.Join(live, "file"), []byte("content"))
	two := snapshot(t, live, here, "two")
	full := send(t, btrfs.Send{Subvolume: one})
	incremental := send(t, btrfs.Send{Subvolume: two, Parent: info(t, one).ID})

	for name, hide := range map[string]func(t *testing.T, disk, bind string){
		"visible":   func(t *testing.T, disk, bind string) {},
		"read-only": func(t *testing.T, disk, bind string) { mount(t, "", disk, unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY) },
		"covered":   func(t *testing.T, disk, bind string) { mount(t, t.TempDir(), disk, unix.MS_BIND) },
	} {
		t.Run(name, func(t *testing.T) {
			disk := newDisk(t)
			dir := filepath.Join(disk, "back up", "é\n")
			ok(t, os.MkdirAll(dir, 0o755))
			bind := t.TempDir()
			mount(t, filepath.Join(disk, "back up"), bind, unix.MS_BIND)
			hide(t, disk, bind)
			before := mountinfo(t)
			into := filepath.Join(bind, "é\n")
			ok(t, btrfs.Progs{}.Receive(t.Context(), into, "one", bytes.NewReader(full)))
			ok(t, btrfs.Progs{IOPriority: 3 << 13}.Receive(t.Context(), into, "two", bytes.NewReader(incremental)))
			if !btrfs.SameContent(info(t, filepath.Join(into, "two")), info(t, two)) {
				t.Error("not a copy")
			}
			if after := mountinfo(t); after != before {
				t.Errorf("mounts\n%s\nbefore\n%s", after, before)
			}
		})
	}
}

// mount mounts for the time of the test.
func mount(t testing.TB, source, point string, flags uintptr) {
	t.Helper()
	ok(t, unix.Mount(source, point, "", flags, ""))
	if flags&unix.MS_REMOUNT == 0 {
		t.Cleanup(func() {
			if err := unix.Unmount(point, 0); err != nil {
				t.Errorf("unmount %s: %v", point, err)
			}
		})
	}
}

func mountinfo(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	ok(t, err)
	return string(text)
}

// A stream of one subvolume, and one that needs it as its parent.
func streams(t testing.TB) (full, incremental []byte) {
	t.Helper()
	d := newDisk(t)
	live := create(t, d, "live")
	write(t, filepath.Join(live, "file"), randomBytes(1<<20))
	one := snapshot(t, live, d, "one")
	write(t, filepath.Join(live, "more"), randomBytes(1<<20))
	two := snapshot(t, live, d, "two")
	return send(t, btrfs.Send{Subvolume: one}), send(t, btrfs.Send{Subvolume: two, Parent: info(t, one).ID})
}

func TestReceiveRefuses(t *testing.T) {
	full, incremental := streams(t)
	d := newDisk(t)
	ok(t, os.Mkdir(filepath.Join(d, "taken"), 0o755))
	senderFailed := errors.New("the sender failed")
	for name, tc := range map[string]struct {
		dir, name string
		stream    io.Reader
		want      string
		is        error
	}{
		"no parent":         {d, "two", bytes.NewReader(incremental), "cannot find parent", btrfs.ErrParentMissing},
		"taken":             {d, "taken", bytes.NewReader(full), "", os.ErrExist},
		"other name":        {d, "other", bytes.NewReader(full), "left no complete subvolume", nil},
		"empty":             {d, "one", bytes.NewReader(nil), "empty stream", nil},
		"no stream":         {d, "one", strings.NewReader("hello, this is no stream at all"), "unexpected header", nil},
		"cut":               {d, "one", bytes.NewReader(full[:len(full)/2]), "short read from stream", nil},
		"no end":            {d, "one", bytes.NewReader(full[:len(full)-10]), "", nil},
		"sender failed":     {d, "one", io.MultiReader(bytes.NewReader(full[:len(full)/2]), failing{senderFailed}), "", senderFailed},
		"failed at the end": {d, "one", io.MultiReader(bytes.NewReader(full), failing{senderFailed}), "", senderFailed},
		"not btrfs":         {"/proc", "one", bytes.NewReader(full), "", btrfs.ErrNotBtrfs},
		"absent":            {d + "/absent", "one", bytes.NewReader(full), "", os.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			before := usage(t)
			err := btrfs.Progs{}.Receive(t.Context(), tc.dir, tc.name, tc.stream)
			if err == nil || !strings.Contains(err.Error(), tc.want) || tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("%v, want %v with %q", err, tc.is, tc.want)
			}
			waitForUsage(t, before)
			for _, s := range list(t, d) {
				if s.Name == tc.name && s.ReadOnly {
					t.Errorf("left %+v", s)
				}
				ok(t, btrfs.Delete(d, s.Name, s.UUID))
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// A clone source that the destination does not have is told from a parent that it does not have.
func TestReceiveCloneSourceMissing(t *testing.T) {
	here, there := newDisk(t), newDisk(t)
	a, b := create(t, here, "a"), create(t, here, "b")
	write(t, filepath.Join(a, "file"), randomBytes(1<<20))
	reflink(t, filepath.Join(a, "file"), filepath.Join(b, "file"))
	source := info(t, snapshot(t, a, here, "source"))
	stream := send(t, btrfs.Send{Subvolume: snapshot(t, b, here, "one"), CloneSources: []uint64{source.ID}})
	err := btrfs.Progs{}.Receive(t.Context(), there, "one", bytes.NewReader(stream))
	if !errors.Is(err, btrfs.ErrCloneSource) || errors.Is(err, btrfs.ErrParentMissing) {
		t.Errorf("%v", err)
	}
}

// The end of the context ends the program, wherever it is, and what it leaves does not pass for complete.
func TestReceiveCancel(t *testing.T) {
	full, _ := streams(t)
	cause := errors.New("enough")
	for name, stream := range map[string]func(t *testing.T) io.Reader{
		"waiting for the sender": func(t *testing.T) io.Reader {
			r, w, err := os.Pipe()
			ok(t, err)
			t.Cleanup(func() { r.Close(); w.Close() })
			go func() { _, _ = w.Write(full[:len(full)/2]) }()
			return r
		},
		"waiting for the sender, copied": func(t *testing.T) io.Reader {
			r, w := io.Pipe()
			go func() { _, _ = w.Write(full[:len(full)/2]) }()
			context.AfterFunc(t.Context(), func() { w.Close() })
			return struct{ io.Reader }{r}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(200*time.Millisecond, func() { cancel(cause) })
			start := time.Now()
			err := btrfs.Progs{IOPriority: 3 << 13}.Receive(ctx, d, "one", stream(t))
			if !errors.Is(err, cause) {
				t.Errorf("%v", err)
			}
			if took := time.Since(start); took > 8*time.Second {
				t.Errorf("ended after %v", took)
			}
			if s := info(t, filepath.Join(d, "one")); s.ReadOnly {
				t.Errorf("left %+v", s)
			}
		})
	}
}

// fakeBtrfs puts a program called btrfs on $PATH.
func fakeBtrfs(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(dir, "btrfs"), []byte("#!/bin/sh\n"+script), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// A program that does not end when asked is killed with all that it has started.
func TestReceiveKillsGroup(t *testing.T) {
	d := newDisk(t)
	pids := filepath.Join(t.TempDir(), "pids")
	fakeBtrfs(t, "trap '' TERM\nsleep 1000 & echo $! $$ >"+pids+"\nwait; wait; wait\nsleep 1000\n")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	start := time.Now()
	if err := (btrfs.Progs{}).Receive(ctx, d, "one", bytes.NewReader(nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if took := time.Since(start); took < 4*time.Second || took > 8*time.Second {
		t.Errorf("killed after %v", took)
	}
	text, err := os.ReadFile(pids)
	ok(t, err)
	for _, field := range strings.Fields(string(text)) {
		waitForDeath(t, field)
	}
}

func waitForDeath(t testing.TB, field string) {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(field))
	ok(t, err)
	for range 100 {
		if dead(t, pid) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("process %d lives", pid)
	_ = unix.Kill(pid, unix.SIGKILL)
}

// A process that is killed leaves no program behind that goes on receiving.
func TestReceiveEndsWithParent(t *testing.T) {
	d := newDisk(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	fakeBtrfs(t, "echo $$ >"+pidFile+"\nexec sleep 1000\n")
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "BTRFS_TEST_RECEIVE_INTO="+d)
	stdin, err := parent.StdinPipe()
	ok(t, err)
	defer stdin.Close()
	ok(t, parent.Start())
	text := waitForFile(t, pidFile)
	ok(t, parent.Process.Kill())
	_ = parent.Wait()
	waitForDeath(t, text)
}

func waitForFile(t testing.TB, path string) string {
	t.Helper()
	for range 500 {
		if text, err := os.ReadFile(path); err == nil && len(text) > 0 {
			return string(text)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("no %s", path)
	return ""
}

// dead reports whether a process has ended, though its parent, which may have ended too, has not asked for its status.
func dead(t testing.TB, pid int) bool {
	t.Helper()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) { // as it ends, between open and read
		return true
	}
	ok(t, err)
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}

// What the program says at the end is in the error; what systemd says to this process is not for the program.
func TestReceiveChild(t *testing.T) {
	d := newDisk(t)
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LC_ALL", "LANGUAGE"} {
		t.Setenv(name, "leaked")
	}
	t.Setenv("KEPT", "kept")
	fakeBtrfs(t, `head -c 100000 /dev/zero | tr '\0' 'x' >&2
echo >&2; env >&2; echo "args $*" >&2; ionice >&2; cat >&2; exit 3
`)
	t.Chdir(d)
	ok(t, os.Mkdir("-dir", 0o755))
	err := btrfs.Progs{IOPriority: 3 << 13}.Receive(t.Context(), "-dir", "one", strings.NewReader("stream"))
	if err == nil {
		t.Fatal("no error")
	}
	said := err.Error()
	for _, want := range []string{"exit status 3", "KEPT=kept", "LC_ALL=C\n", "args receive -e " + d + "/-dir\n", "idle\n", "stream"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in the error", want)
		}
	}
	if strings.Contains(said, "leaked") {
		t.Error("an environment variable was leaked")
	}
	if len(said) > 33<<10 {
		t.Errorf("the error has %d bytes", len(said))
	}
}

func TestProgsNotInstalled(t *testing.T) {
	if _, err := os.Stat("/usr/sbin/btrfs"); err == nil {
		t.Skip("btrfs is found without $PATH")
	}
	t.Setenv("PATH", t.TempDir())
	version, err := btrfs.Progs{}.StreamVersion(t.Context())
	if version != 1 || !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "the btrfs program is not installed") || !strings.Contains(err.Error(), "install btrfs-progs") {
		t.Errorf("%d, %v", version, err)
	}
}

// TROUBLE 45: a program that is too old, or tells its version in words that nobody knows, gets protocol 1.
func TestProgsStreamVersion(t *testing.T) {
	for text, want := range map[string]int{
		"btrfs-progs v6.2":                   2,
		"btrfs-progs v6.19.1\n+EXPERIMENTAL": 2,
		"btrfs-progs v10.0":                  2,
		"btrfs-progs v6.1.3":                 1,
		"btrfs-progs v5.16.2":                1,
		"btrfs-progs v6.2-rc1":               2,
		"btrfs-progs 7.0":                    1,
		"":                                   1,
		"v6.2":                               1,
		"btrfs-progs v6":                     1,
	} {
		t.Run(text, func(t *testing.T) {
			fakeBtrfs(t, "echo '"+text+"'\n")
			got, err := btrfs.Progs{}.StreamVersion(t.Context())
			if err != nil || got != want {
				t.Errorf("%d, %v, want %d", got, err, want)
			}
		})
	}
}
