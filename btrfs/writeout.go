package btrfs

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"unsafe"
)

// fiemap is struct fiemap without extents; see linux/fiemap.h.
type fiemap struct {
	start, length uint64
	flags         uint32
	mapped        uint32
	count         uint32
	_             uint32
}

const (
	iocFiemap  = 0xc020660b // FS_IOC_FIEMAP
	fiemapSync = 0x1        // FIEMAP_FLAG_SYNC
)

// WriteOut makes what was written to a file part of the transaction under way: the next [Commit] makes it durable, and with it all that was done before.
// FS_IOC_FIEMAP with FIEMAP_FLAG_SYNC, which waits for the data and for the extents' place in the tree.
//
// It is what fsync(2) is, without the log. An fsync of a file that was renamed, or of a directory, logs the entries of the directory, and those that are gone. After a power cut the kernel
// replays that; it cannot remove the entry of a subvolume, and does not mount a file system that asks for it. The kernel takes care that no log does (Linux 1ec9a1ae1e30 and many since), and
// 6.18 was seen to fail in it. So nothing is fsynced in a directory that holds subvolumes.
func WriteOut(f *os.File) error {
	request := fiemap{length: math.MaxUint64, flags: fiemapSync}
	err := ioctl(int(f.Fd()), iocFiemap, unsafe.Pointer(&request))
	runtime.KeepAlive(f)
	if err != nil {
		return fmt.Errorf("write out %s: FS_IOC_FIEMAP: %w", f.Name(), err)
	}
	return nil
}
