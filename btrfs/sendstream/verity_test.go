package sendstream

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/internal/testdisk"
)

func TestVerityLayout(t *testing.T) {
	if size := unsafe.Sizeof(verityEnableArg{}); size != 128 {
		t.Errorf("struct fsverity_enable_arg has %d bytes, want 128", size)
	}
	// _IOW('f', 133, struct fsverity_enable_arg)
	if want := uint32(1<<30 | 128<<16 | 'f'<<8 | 133); iocEnableVerity != want {
		t.Errorf("%#x, want %#x", iocEnableVerity, want)
	}
}

// A stream of protocol 3 is applied where the kernel has fs-verity, and refused in clear words where it has not.
func TestVerity(t *testing.T) {
	dir := testdisk.New(t, testdisk.Options{}).Path
	stream := streamOf(t, 3, subvol, mkfile("a"), write("a", 0, []byte("text")),
		command(CmdEnableVerity, path("a"), Uint(AttrVerityAlgorithm, unix.FS_VERITY_HASH_ALG_SHA256), Uint(AttrVerityBlockSize, 4096),
			Value{AttrVeritySaltData, []byte("salt")}, Value{AttrVeritySigData, nil}), end)
	err := Receiver{}.Receive(context.Background(), dir, "sent", bytes.NewReader(stream))
	if err != nil {
		if !strings.Contains(err.Error(), "fs-verity is not supported by this kernel") {
			t.Error(err)
		}
		return
	}
	f, err := os.Open(filepath.Join(dir, "sent", "a"))
	ok(t, err)
	defer f.Close()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	ok(t, err)
	if flags&unix.FS_VERITY_FL == 0 {
		t.Errorf("flags %#x", flags)
	}
}
