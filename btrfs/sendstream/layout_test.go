package sendstream

import (
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// The size and offsets of struct btrfs_ioctl_encoded_io_args in linux/btrfs.h, and the number of BTRFS_IOC_ENCODED_WRITE.
func TestEncodedIOArgs(t *testing.T) {
	var a encodedIOArgs
	got := []uintptr{
		unsafe.Sizeof(a), unsafe.Offsetof(a.iov), unsafe.Offsetof(a.iovcnt), unsafe.Offsetof(a.offset), unsafe.Offsetof(a.flags),
		unsafe.Offsetof(a.length), unsafe.Offsetof(a.unencodedLen), unsafe.Offsetof(a.unencodedOffset), unsafe.Offsetof(a.compression),
		unsafe.Offsetof(a.encryption), iocEncodedWrite,
	}
	want := []uintptr{128, 0, 8, 16, 24, 32, 40, 48, 56, 60, 1<<30 | 128<<16 | 0x94<<8 | 64}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
