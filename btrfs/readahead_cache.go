package btrfs

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openFileByID opens a regular file of a subvolume for reading by the file handle that btrfs would give for it. That takes no path, so it costs the same
// wherever in the tree it lies: see openByID of package sendstream. It does not change the time of access.
func openFileByID(subvolume int, id, inode uint64) (int, error) {
	const fileidBtrfsWithoutParent = 0x4d
	handle := binary.NativeEndian.AppendUint64(nil, inode)
	handle = binary.NativeEndian.AppendUint64(handle, id)
	handle = binary.NativeEndian.AppendUint32(handle, 0) // any generation
	return unix.OpenByHandleAt(subvolume, unix.NewFileHandle(fileidBtrfsWithoutParent, handle),
		unix.O_RDONLY|unix.O_NOATIME|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC)
}

// anyCached reports whether the page cache has anything of a file; true also where that cannot be known.
func anyCached(fd int) bool {
	n, err := cachedPages(fd)
	if err != nil {
		n, err = countResident(fd)
	}
	return err != nil || n > 0
}

// cachedPages asks cachestat(2), which is there since Linux 6.5 unless a filter of system calls does not know it yet.
func cachedPages(fd int) (uint64, error) {
	var all unix.CachestatRange // a length of 0 means to the end
	var stat unix.Cachestat_t
	err := unix.Cachestat(uint(fd), &all, &stat, 0)
	return stat.Cache, err
}

// maxResident bounds what countResident looks at: mincore(2) looks at each page there could be.
const maxResident = 64 << 20

// countResident asks mincore(2). Only the beginning of a large file is looked at.
func countResident(fd int) (n uint64, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Size == 0 {
		return 0, err
	}
	b, err := unix.Mmap(fd, 0, int(min(st.Size, maxResident)), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Munmap(b) }()
	pages := make([]byte, (len(b)+unix.Getpagesize()-1)/unix.Getpagesize())
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		return 0, errno
	}
	for _, p := range pages {
		n += uint64(p & 1)
	}
	return n, nil
}
