package btrfs

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sync writes every dirty byte of the file system that holds path to the disk: syncfs(2). Its error means that data was lost.
//
// No error does not mean the contrary when others sync the same file system: the kernel tells of a write that failed in the
// background once, to whoever asks first. [OpenBarrier] is for that.
func Sync(path string) error {
	b, err := OpenBarrier(path)
	if err != nil {
		return err
	}
	defer b.Close()
	return b.Sync()
}

// A Barrier is a [Sync] that knows of every write that failed since it was opened, whoever else has been told.
type Barrier struct {
	f    *os.File
	path string
}

// OpenBarrier opens the file system that holds path; before the writes that are to be safe.
func OpenBarrier(path string) (*Barrier, error) {
	fd, _, err := openDir(path)
	if err != nil {
		return nil, err
	}
	return &Barrier{f: os.NewFile(uintptr(fd), path), path: path}, nil
}

// Sync is as the function. Reports of failed writes need Linux 5.8.
func (b *Barrier) Sync() error {
	err := unix.Syncfs(int(b.f.Fd()))
	runtime.KeepAlive(b.f)
	if err != nil {
		return fmt.Errorf("syncfs %s: %w", b.path, err)
	}
	return nil
}

// Close gives the file system free to be unmounted.
func (b *Barrier) Close() error { return b.f.Close() }

// Commit makes metadata operations (create, rename, delete) durable; it does not flush file data.
// BTRFS_IOC_START_SYNC and BTRFS_IOC_WAIT_SYNC.
func Commit(path string) error {
	fd, _, err := openDir(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return commit(fd, path)
}

func commit(fd int, path string) error {
	done := make(chan struct{})
	var poked sync.WaitGroup
	poked.Go(func() { pokeCommit(fd, done) })
	err := startAndWait(fd)
	close(done)
	poked.Wait() // it uses fd
	if err != nil {
		return fmt.Errorf("commit %s: %w", path, err)
	}
	return nil
}

func startAndWait(fd int) error {
	var transid uint64
	if err := ioctl(fd, iocStartSync, unsafe.Pointer(&transid)); err != nil {
		return fmt.Errorf("BTRFS_IOC_START_SYNC: %w", err)
	}
	if err := ioctl(fd, iocWaitSync, unsafe.Pointer(&transid)); err != nil {
		return fmt.Errorf("BTRFS_IOC_WAIT_SYNC: %w", err)
	}
	return nil
}

// commitAgain is how long a commit may take before it is asked for again.
const commitAgain = 100 * time.Millisecond

// pokeCommit asks for a commit again until done. START_SYNC wakes the thread that commits and waits until it has begun; a wake-up that meets
// the end of another commit is lost, and the wait then lasts until the periodic commit, which comes every 30 seconds.
func pokeCommit(fd int, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-time.After(commitAgain):
			var transid uint64
			_ = ioctl(fd, iocStartSync, unsafe.Pointer(&transid)) // the other one tells what went wrong
		}
	}
}
