package sendstream

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// verityEnableArg is struct fsverity_enable_arg of linux/fsverity.h.
type verityEnableArg struct {
	version       uint32
	hashAlgorithm uint32
	blockSize     uint32
	saltSize      uint32
	salt          unsafe.Pointer
	_             [8 - unsafe.Sizeof(uintptr(0))]byte
	sigSize       uint32
	_             uint32
	sig           unsafe.Pointer
	_             [8 - unsafe.Sizeof(uintptr(0))]byte
	_             [11]uint64
}

const iocEnableVerity = 0x40806685

// enableVerity makes the file at c's path one whose content is verified when it is read, and can no longer be changed. FS_IOC_ENABLE_VERITY, which
// wants a descriptor for reading and that nobody has the file open for writing.
func (s *session) enableVerity(c *Command) error {
	s.file.close()
	fd, err := s.tree.regular(c.Path(), unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	salt, sig := c.Bytes(AttrVeritySaltData), c.Bytes(AttrVeritySigData)
	args := verityEnableArg{
		version: 1, hashAlgorithm: uint32(c.Uint(AttrVerityAlgorithm)), blockSize: uint32(c.Uint(AttrVerityBlockSize)),
		saltSize: uint32(len(salt)), salt: unsafe.Pointer(unsafe.SliceData(salt)),
		sigSize: uint32(len(sig)), sig: unsafe.Pointer(unsafe.SliceData(sig)),
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), iocEnableVerity, uintptr(unsafe.Pointer(&args)))
	runtime.KeepAlive(salt)
	runtime.KeepAlive(sig)
	switch {
	case errno == 0:
		return nil
	case errors.Is(errno, unix.EOPNOTSUPP), errors.Is(errno, unix.ENOTTY):
		return fmt.Errorf("fs-verity is not supported by this kernel: %w", errno)
	}
	return fmt.Errorf("enable fs-verity: %w", errno)
}
