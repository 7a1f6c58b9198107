//go:build long

package systemdlab

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

// container is a booted Debian. Everything in it is gone after the test, and also if the test is killed.
type container struct {
	t      *testing.T
	leader int // its PID 1, as seen from outside
}

// boot starts the container and waits until systemd has started everything. What is written inside is in memory, above a root file system that stays as it was.
func boot(t *testing.T, suite string) *container {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("booting a container needs root")
	}
	root := rootfs(t, suite)
	var console bytes.Buffer
	args := []string{
		"--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe", "--link-journal=no", "--private-network",
		"--machine=btrkeep-" + suite, "--directory=" + root, "--volatile=overlay",
		// Without these, the device and file-system limits of units are silently not there.
		"--system-call-filter=bpf perf_event_open @keyring", "--capability=CAP_BPF,CAP_PERFMON,CAP_SYSLOG,CAP_IPC_LOCK",
	}
	// A systemd wants to be at the root of a cgroup tree of its own, in the named hierarchy of version 1 too if there is one.
	sh := []string{"-c", `for c; do shift; [ "$c" != -- ] || break; echo $$ >"$c/cgroup.procs"; done; exec systemd-nspawn "$@"`, "sh"}
	sh = append(append(sh, cgroups(t)...), "--")
	cmd := exec.Command("sh", append(sh, args...)...)
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	cmd.Stdout, cmd.Stderr = &console, &console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	cmd.WaitDelay = 10 * time.Second

	var exit error
	started, ended := make(chan error), make(chan struct{})
	go func() {
		// The death signal comes when the thread that forked ends.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			exit = cmd.Wait()
			close(ended)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	c := &container{t: t}
	t.Cleanup(func() {
		// The kernel kills what is left of a PID namespace when its first process dies.
		if c.leader != 0 {
			_ = unix.Kill(c.leader, unix.SIGKILL)
		} else {
			_ = unix.Kill(cmd.Process.Pid, unix.SIGKILL)
		}
		<-ended
	})
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if c.leader == 0 {
			// nspawn has one child, which is the container's PID 1.
			children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
			if pids := strings.Fields(string(children)); len(pids) == 1 {
				c.leader, _ = strconv.Atoi(pids[0])
			}
		} else if state, _, _ := c.try("systemctl is-system-running"); state == "running" || state == "degraded" {
			return c
		}
		select {
		case <-ended:
			t.Fatalf("systemd-nspawn ended: %v\n%s", exit, console.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the container did not come up")
		}
	}
}

// cgroups makes the control groups for a container and returns their directories.
func cgroups(t *testing.T) []string {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	// One name for all hierarchies, because nspawn makes a group of the name that it finds in one of them in the others, too.
	name := fmt.Sprintf("btrkeep-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	var dirs []string
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if f[2] != "cgroup2" && (f[2] != "cgroup" || !strings.Contains(f[3], "name=systemd")) {
			continue
		}
		dir := filepath.Join(f[1], name)
		if err := os.Mkdir(dir, 0o755); errors.Is(err, fs.ErrExist) {
			continue // the hierarchy is mounted in two places
		} else if err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
		t.Cleanup(func() {
			// Deepest first; a group whose last process is just dying is busy for a moment.
			for range 50 {
				removeGroups(dir)
				if _, err := os.Stat(dir); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
			t.Errorf("control group %s is still in use", dir)
		})
	}
	if dirs == nil {
		t.Fatal("no cgroup2 hierarchy is mounted")
	}
	return dirs
}

func removeGroups(dir string) {
	below, _ := os.ReadDir(dir)
	for _, entry := range below {
		if entry.IsDir() {
			removeGroups(filepath.Join(dir, entry.Name()))
		}
	}
	_ = os.Remove(dir)
}

// try runs a shell line inside as root, outside of every unit, as from an administrator's shell.
func (c *container) try(line string) (stdout, stderr string, status int) {
	cmd := exec.Command("nsenter", "--target="+strconv.Itoa(c.leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--",
		"/usr/bin/env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "LC_ALL=C.UTF-8", "SYSTEMD_PAGER=",
		"/bin/sh", "-c", line)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	// A status of -1 says that it did not run at all or was killed.
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return "", err.Error(), -1
	}
	return strings.TrimSpace(out.String()), strings.TrimSpace(errs.String()), cmd.ProcessState.ExitCode()
}

// run is try for what must work.
func (c *container) run(t *testing.T, format string, args ...any) string {
	t.Helper()
	line := fmt.Sprintf(format, args...)
	out, errs, status := c.try(line)
	if status != 0 {
		t.Fatalf("%s: exit status %d\n%s\n%s", line, status, out, errs)
	}
	return out
}

// path is where a path of the container is for this process.
func (c *container) path(inside string) string {
	return fmt.Sprintf("/proc/%d/root%s", c.leader, inside)
}

// write makes a file inside, and its directory.
func (c *container) write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(c.path(path)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.path(path), []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(c.path(path), mode); err != nil {
		t.Fatal(err)
	}
}

// install copies a file of this machine into the container.
func (c *container) install(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	c.write(t, to, string(text), mode)
}

// plug makes a btrfs disk that the container has as a device, not yet mounted.
func (c *container) plug(t *testing.T, size int64) (device string) {
	t.Helper()
	disk := testdisk.New(t, testdisk.Options{Size: size})
	disk.Unmount()
	number := strings.TrimPrefix(disk.Device, "/dev/loop")
	c.run(t, "[ -e %s ] || mknod %[1]s b 7 %s", disk.Device, number)
	return disk.Device
}

// wait polls until done, which says what is still missing, or "".
func wait(t *testing.T, patience time.Duration, done func() string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		missing := done()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %s", patience, missing)
		}
	}
}
