package testdisk

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/btrkeep/btrkeep/internal/testdisk/faultfile"
	"golang.org/x/sys/unix"
)

const (
	// scratchEnv tells the first process of the namespaces its scratch directory.
	scratchEnv = "BTRKEEP_TESTDISK_SCRATCH"
	// memorySource is the source of the private tmpfs. Who finds it in the mount
	// table is inside, whatever became of the environment: a fuzz worker, a
	// testscript command, a helper.
	memorySource = "btrkeep-testdisk"
)

// Main is a whole TestMain for a package that has nothing else to do there.
func Main(m *testing.M) {
	Isolate()
	m.Run()
}

// Isolate moves the tests into mount and process namespaces of their own, so
// that every mount, every loop device and every process they start goes away
// with the test process, however it dies. It must be the first call in
// TestMain, before flags are parsed and before testscript.Main.
//
// The test binary runs itself twice for that: as the first process of the
// namespaces, which only waits, and as the tests. Isolate returns in the latter
// alone. Without root it does nothing, and [New] skips.
func Isolate() {
	faultfile.Main()
	if scratch := os.Getenv(scratchEnv); scratch != "" {
		os.Unsetenv(scratchEnv)
		if err := enter(scratch); err != nil {
			exit(2, err)
		}
		// Disks are mounted in a third mount namespace, so that the servers of
		// faulty ones can live without those mounts: see NewFaulty.
		exit(run(os.Environ(), &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}))
	}
	if os.Geteuid() == 0 && memoryDir() == "" {
		exit(supervise())
	}
}

func exit(code int, err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "testdisk:", err)
	}
	os.Exit(code)
}

// supervise runs this binary as the first process of new namespaces, and
// returns its exit status. What the tests wrote is removed.
func supervise() (int, error) {
	removeStale()
	scratch, lock, err := makeScratch()
	if err != nil {
		return 2, err
	}
	defer lock.Close()
	defer os.RemoveAll(scratch)
	return run(append(os.Environ(), scratchEnv+"="+scratch), &syscall.SysProcAttr{
		// The end of the first process in it is the end of a process namespace.
		Cloneflags: unix.CLONE_NEWPID,
		// With this flag the syscall package makes / private, too.
		Unshareflags: unix.CLONE_NEWNS,
		Pdeathsig:    unix.SIGKILL,
	})
}

// enter furnishes the namespaces that the process was born into.
func enter(scratch string) error {
	if err := dropLoops(scratch); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	dir := filepath.Join(scratch, "mem")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(memorySource, dir, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
	}
	return os.Setenv("TMPDIR", scratch)
}

// dropLoops unmounts the file systems on loop devices that the namespace got as
// a copy, except those that lie under what is used here. Others unmount theirs
// while the tests run, and would wonder why the device stays busy.
func dropLoops(scratch string) error {
	mounts, err := mountTable()
	if err != nil {
		return err
	}
	work, err := os.Getwd()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if !strings.HasPrefix(m.source, "/dev/loop") || below(scratch, m.point) || below(work, m.point) || below(os.Args[0], m.point) {
			continue
		}
		// Gone with one that it lay below, perhaps.
		_ = unix.Unmount(m.point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	return nil
}

// memoryDir returns the private tmpfs, or "" outside the namespaces.
func memoryDir() string {
	mounts, err := mountTable()
	if err != nil {
		return ""
	}
	for _, m := range mounts {
		if m.source == memorySource {
			return m.point
		}
	}
	return ""
}
