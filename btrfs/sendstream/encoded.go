package sendstream

import (
	"errors"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// encodedIOArgs is struct btrfs_ioctl_encoded_io_args of linux/btrfs.h.
type encodedIOArgs struct {
	iov             *unix.Iovec
	iovcnt          uintptr // unsigned long
	offset          int64
	flags           uint64
	length          uint64
	unencodedLen    uint64
	unencodedOffset uint64
	compression     uint32
	encryption      uint32
	_               [64]byte
}

// The size of the struct, which differs between machines, is in the number.
const iocEncodedWrite = 1<<30 | unsafe.Sizeof(encodedIOArgs{})<<16 | 0x94<<8 | 64

// maxUnencoded is the longest extent that is compressed as one, BTRFS_MAX_UNCOMPRESSED.
const maxUnencoded = 128 << 10

// encoded holds what decompression needs.
type encoded struct {
	write    func(fd int, args *encodedIOArgs) error // the ioctl: replaced in tests
	decoders decoders
	buf      []byte
}

// encodedWrite stores compressed data as it is. BTRFS_IOC_ENCODED_WRITE.
func (s *session) encodedWrite(c *Command) error {
	fd, err := s.openFile(c)
	if err != nil {
		return err
	}
	data := c.Bytes(AttrData)
	var iov unix.Iovec
	iov.SetLen(len(data))
	if len(data) > 0 {
		iov.Base = &data[0]
	}
	args := encodedIOArgs{
		iov:             &iov,
		iovcnt:          1,
		offset:          int64(c.Uint(AttrFileOffset)),
		length:          c.Uint(AttrUnencodedFileLen),
		unencodedLen:    c.Uint(AttrUnencodedLen),
		unencodedOffset: c.Uint(AttrUnencodedOffset),
		compression:     uint32(c.Uint(AttrCompression)),
		encryption:      uint32(c.Uint(AttrEncryption)),
	}
	if args.encryption != 0 {
		return errors.New("encrypted data is not supported")
	}
	if !s.decompress {
		err := s.encoded.write(fd, &args)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EINVAL):
			// An extent that this file system or kernel cannot hold as it is (other sector size, no data checksums, before Linux 5.18), or
			// no contiguous room for it: its content can still be written.
		default:
			return err
		}
	}
	plain, err := s.encoded.plain(&args, data)
	if err != nil {
		return err
	}
	if err := pwrite(fd, plain, args.offset); err != nil {
		return err
	}
	return clearSector(fd, args.offset+int64(len(plain)))
}

// clearSector writes zeros from end to the end of its sector, as far as the file goes. An extent that ends inside a sector lies at the end of the file, or in the
// inode, and what follows in that sector is zeros. Linux 6.18 does not send those where it sends an inode's data compressed, as it does otherwise; so they
// would be what the parent had there. (With btrfs receive, they are. BTRFS_IOC_ENCODED_WRITE refuses such an extent within a file.)
func clearSector(fd int, end int64) error {
	const sector = 4096
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	after := min(st.Size, (end+sector-1)/sector*sector)
	if after <= end {
		return nil
	}
	return pwrite(fd, make([]byte, after-end), end)
}

func encodedWrite(fd int, args *encodedIOArgs) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), iocEncodedWrite, uintptr(unsafe.Pointer(args)))
		runtime.KeepAlive(args)
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// plain gives the part of the decompressed extent that the file shows. Where the compressed data ends early the rest is zeros.
func (e *encoded) plain(args *encodedIOArgs, data []byte) ([]byte, error) {
	if args.unencodedLen > maxUnencoded || args.unencodedOffset > args.unencodedLen || args.length > args.unencodedLen-args.unencodedOffset {
		return nil, corrupt("%d bytes at %d of an extent of %d", args.length, args.unencodedOffset, args.unencodedLen)
	}
	if e.buf == nil {
		e.buf = make([]byte, maxUnencoded)
	}
	out := e.buf[:args.unencodedLen]
	n, err := e.decoders.decode(args.compression, out, data)
	if err != nil {
		return nil, err
	}
	clear(out[n:])
	return out[args.unencodedOffset:][:args.length], nil
}
