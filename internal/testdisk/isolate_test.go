package testdisk_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/btrkeep/btrkeep/internal/testdisk"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// However a test run ends, no loop device, mount, process or file of it stays.
func TestIsolateLeavesNothing(t *testing.T) {
	kill := func(group bool, signal unix.Signal) func(*testing.T, int) {
		return func(t *testing.T, pid int) {
			if group {
				pid = -pid
			}
			ok(t, unix.Kill(pid, signal))
		}
	}
	end := func(*testing.T, int) {}
	for name, tc := range map[string]struct {
		mode string // of TestHold
		end  func(t *testing.T, pid int)
		want int // exit status, -1 if killed
	}{
		"pass":               {"pass", end, 0},
		"exit status":        {"exit", end, 3},
		"panic":              {"panic", end, 2},
		"tests killed":       {"suicide", end, 128 + 9},
		"timeout":            {"hold", end, 2},
		"supervisor killed":  {"hold", kill(false, unix.SIGKILL), -1},
		"all killed":         {"hold", kill(true, unix.SIGKILL), -1},
		"interrupted":        {"hold", kill(false, unix.SIGINT), 128 + 2},
		"group interrupted":  {"hold", kill(true, unix.SIGINT), 128 + 2},
		"terminated":         {"hold", kill(false, unix.SIGTERM), 128 + 15},
		"faulty, timeout":    {"faulty", end, 2},
		"faulty, killed":     {"faulty", kill(false, unix.SIGKILL), -1},
		"faulty, all killed": {"faulty", kill(true, unix.SIGKILL), -1},
		"hung, killed":       {"hung", kill(false, unix.SIGKILL), -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scratch := t.TempDir()
			timeout := "-test.timeout=1m"
			if strings.Contains(name, "timeout") {
				timeout = "-test.timeout=4s"
			}
			cmd := freshRun(t, scratch, "-test.run=^TestHold$", timeout)
			cmd.Env = append(cmd.Env, "TESTDISK_HOLD="+tc.mode)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			out, err := cmd.StdoutPipe()
			ok(t, err)
			ok(t, cmd.Start())
			lines := bufio.NewScanner(out)
			var image string
			for !strings.HasPrefix(lines.Text(), "holds ") && lines.Scan() {
				if _, made, found := strings.Cut(lines.Text(), "made "); found {
					image = made
				}
			}
			if image == "" {
				t.Fatal("it made no disk")
			}
			tc.end(t, cmd.Process.Pid)
			for lines.Scan() { // until nobody holds the pipe
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != tc.want {
				t.Errorf("exit status = %d, want %d", code, tc.want)
			}
			eventually(t, "the loop device is gone", func() bool { return attached(t, image) == "" })
			eventually(t, "its processes are gone", func() bool { return !running(t, image) })
			left, err := filepath.Glob(filepath.Join(scratch, "*"))
			ok(t, err)
			if len(left) > 0 && tc.want != -1 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// What a killed run left is removed by a later one, that of a living one is not.
func TestIsolateRemovesStale(t *testing.T) {
	scratch := t.TempDir()
	stale, young, alive := mkdir(t, scratch, "btrkeep-test.1"), mkdir(t, scratch, "btrkeep-test.2"), mkdir(t, scratch, "btrkeep-test.3")
	ok(t, os.WriteFile(filepath.Join(stale, "disk.img"), []byte("x"), 0o600))
	for _, dir := range []string{stale, alive} {
		ok(t, os.Chtimes(dir, time.Time{}, time.Now().Add(-time.Hour)))
	}
	lock, err := os.Open(alive)
	ok(t, err)
	defer lock.Close()
	ok(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	if out, err := freshRun(t, scratch, "-test.run=^TestHold$").CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	left, err := filepath.Glob(filepath.Join(scratch, "*"))
	ok(t, err)
	if diff := cmp.Diff([]string{young, alive}, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// freshRun runs this test binary as go test would: the tmpfs by which it would
// know that it is isolated is missing.
func freshRun(t *testing.T, scratch string, args ...string) *exec.Cmd {
	t.Helper()
	memory := filepath.Join(filepath.Dir(testdisk.New(t, testdisk.Options{InMemory: true}).Image), "..")
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-c", `umount -l "$0" && exec "$@"`, memory, os.Args[0]}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+scratch)
	return cmd
}

// Without root a test is skipped, with the reason, and not isolated.
func TestIsolateWithoutRoot(t *testing.T) {
	testdisk.New(t, testdisk.Options{}) // or skip
	dir := t.TempDir()
	ok(t, os.Chmod(filepath.Dir(dir), 0o755))
	binary := filepath.Join(dir, "testdisk.test")
	if out, err := exec.Command("cp", os.Args[0], binary).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(binary, "-test.run=^TestDiskUnmountAndMount$", "-test.v")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "needs root") {
		t.Errorf("%v, output:\n%s", err, out)
	}
}

// TestHold is what TestIsolateLeavesNothing runs and ends.
func TestHold(t *testing.T) {
	mode := os.Getenv("TESTDISK_HOLD")
	if mode == "" {
		return // not a test of its own
	}
	if mode == "faulty" || mode == "hung" {
		holdFaulty(t, mode)
	}
	d := testdisk.New(t, testdisk.Options{})
	os.Stdout.WriteString("made " + d.Image + "\n")
	switch mode {
	case "pass":
		return
	case "panic":
		panic("as asked")
	}
	// A daemon that nobody ends keeps the file system busy.
	cmd := exec.Command("sh", "-c", "sleep 1000; :", d.Image)
	cmd.Dir = d.Path
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	ok(t, cmd.Start())
	os.Stdout.WriteString("holds " + d.Image + "\n")
	switch mode {
	case "exit":
		os.Exit(3)
	case "suicide":
		ok(t, unix.Kill(os.Getpid(), unix.SIGKILL))
	default:
		time.Sleep(time.Hour)
	}
}

// holdFaulty has a faulty disk written to.
func holdFaulty(t *testing.T, mode string) {
	d := testdisk.NewFaulty(t, testdisk.Options{})
	acknowledged, _ := load(t, d.Path)
	waitFor(t, acknowledged, 3)
	if mode == "hung" {
		d.Hang()
		time.Sleep(100 * time.Millisecond) // until somebody waits for it
	}
	os.Stdout.WriteString("made " + backingFile(d.Device) + "\nholds it\n")
	time.Sleep(time.Hour)
}

// running tells whether a process has the word among its arguments.
func running(t *testing.T, word string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	ok(t, err)
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), word) {
			return true
		}
	}
	return false
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 1500 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not after 15 s: %s", what)
}
