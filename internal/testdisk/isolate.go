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
		exit(run(os.Environ(), &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}))
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

// memoryDir returns the private tmpfs, or "" outside the namespaces.
func memoryDir() string {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(table)) {
		// 36 35 98:0 /root /mountpoint opts shared:1 - fstype source superopts
		before, after, _ := strings.Cut(line, " - ")
		point, rest := strings.Fields(before), strings.Fields(after)
		if len(point) > 4 && len(rest) > 1 && rest[1] == memorySource {
			return point[4]
		}
	}
	return ""
}
