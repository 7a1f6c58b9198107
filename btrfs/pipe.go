package btrfs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A pipe of the usual 64 KiB costs a transfer a tenth to a quarter of its speed; above 256 KiB little is gained.
const pipeBytes = 1 << 20

// newPipe makes a large pipe whose ends no child inherits unasked.
func newPipe() (r, w int, err error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return -1, -1, fmt.Errorf("pipe: %w", err)
	}
	// Beyond /proc/sys/fs/pipe-max-size only with CAP_SYS_RESOURCE: the pipe then stays small, which is slower and right.
	_, _ = unix.FcntlInt(uintptr(ends[0]), unix.F_SETPIPE_SZ, pipeBytes)
	return ends[0], ends[1], nil
}

// pollable makes a file of one end of a pipe whose Read and Write end when it is closed: the other end is not touched by
// that, non-blocking mode belongs to the open file and not to the pipe.
func pollable(fd int, name string) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("pipe: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
