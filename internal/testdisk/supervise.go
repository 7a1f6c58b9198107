package testdisk

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// run runs this binary again with the same arguments, hands signals on to it,
// reaps whatever else becomes its child, and returns its exit status.
func run(env []string, attr *syscall.SysProcAttr) (int, error) {
	exe, err := os.Executable()
	if err != nil {
		return 2, err
	}
	// Before the start, so that no signal is lost in between.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	// The death signal comes when the parent's thread ends, not its process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, err := syscall.ForkExec(exe, os.Args, &syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}, Sys: attr})
	if err != nil {
		return 2, fmt.Errorf("start %s in namespaces: %w", exe, err)
	}
	go func() {
		for s := range signals {
			// One that has ended is reported below.
			_ = unix.Kill(pid, s.(syscall.Signal))
		}
	}()
	for {
		var status unix.WaitStatus
		child, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 2, fmt.Errorf("wait: %w", err)
		case child == pid && status.Signaled():
			return 128 + int(status.Signal()), fmt.Errorf("tests ended by signal: %v", status.Signal())
		case child == pid && status.Exited():
			return status.ExitStatus(), nil
		}
	}
}
