// Package osthread runs functions on operating system threads of their own: for calls that block for long, and for what the kernel keeps by thread.
package osthread

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Run runs f in a goroutine of its own on an operating system thread that nothing else uses meanwhile. A thread that
// f has changed, by its word, serves no other goroutine and ends with f.
func Run(f func() (changed bool)) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			unlockUnchanged(f)
			return
		}
		// The main thread cannot end, and its state is what /proc/self shows of the process. While it is locked here, the
		// next goroutine gets another one.
		defer runtime.UnlockOSThread()
		elsewhere := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(elsewhere)
			unlockUnchanged(f)
		}()
		<-elsewhere
	}()
}

func unlockUnchanged(f func() (changed bool)) {
	if changed := f(); !changed {
		runtime.UnlockOSThread()
	}
}

// SetIOPriority sets, by ioprio_set(2), the I/O priority of the calling thread and of what it forks; 0 leaves it. Priority is a wish, so that a kernel
// which refuses it does not make a transfer fail.
func SetIOPriority(value int) (changed bool) {
	if value == 0 {
		return false
	}
	const whoProcess, thisThread = 1, 0
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, thisThread, uintptr(value))
	return true
}

// BlockSignals keeps all signals away from the calling thread that can be kept away: pthread_sigmask(3). The thread must serve nothing else afterwards.
func BlockSignals() {
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &all, nil) // fails for no valid set
}
