//go:build amd64 || arm64 || riscv64 || loong64 || s390x || arm || 386

package btrfs

import "unsafe"

// The numbers and structs below are those of linux/btrfs.h on 64-bit machines with the common ioctl encoding, and on ARM, which aligns 64-bit
// fields likewise. Elsewhere (MIPS, PowerPC, SPARC) some differ, and the package refuses to build rather than to make a wrong call. 386 is for kernels of
// 64 bits, where the tests run it; one of 32 bits has other sizes, hence other numbers, and refuses the calls with ENOTTY.
//
// Go aligns 64-bit fields to 4 bytes on machines of 32 bits: each must lie at a multiple of 8 by what is before it.

const (
	iocSubvolGetflags    = 0x80089419
	iocSubvolSetflags    = 0x4008941a
	iocSubvolCreateV2    = 0x50009418
	iocSnapCreateV2      = 0x50009417
	iocSnapDestroy       = 0x5000940f
	iocSnapDestroyV2     = 0x5000943f
	iocGetSubvolInfo     = 0x81f8943c
	iocTreeSearchV2      = 0xc0709411
	iocSend              = 0x40489426
	iocSetReceivedSubvol = 0xc0c89425
	iocSubvolSyncWait    = 0x40109441
	iocStartSync         = 0x80089418
	iocWaitSync          = 0x40089416
	iocFsInfo            = 0x8400941f
)

const (
	// The read-only bit is another one in the flags of a request than in those of a root item (and of GET_SUBVOL_INFO).
	subvolReadOnly = 1 << 1
	rootReadOnly   = 1 << 0

	subvolSpecByID = 1 << 4

	sendNoFileData = 1 << 0
	sendVersion    = 1 << 3
	sendCompressed = 1 << 4

	syncWaitPeekLast  = 4
	superMagic        = 0x9123683e
	rootDirInode      = 256 // BTRFS_FIRST_FREE_OBJECTID: root directory of every subvolume, and the least subvolume id but the top level's
	lastFreeObjectID  = ^uint64(0) - 255
	topLevelID        = 5
	rootTreeID        = 1
	inodeItemKey      = 1
	extentDataKey     = 108
	rootItemKey       = 132
	rootBackrefKey    = 144
	maxName           = 255
	extentInline      = 0
	extentRegular     = 1
	searchBufferBytes = 64 << 10 // 16 MiB was four times slower: the kernel faults and copies all of it
)

type timespec struct {
	sec  uint64
	nsec uint32
	_    uint32
}

type volArgs struct {
	fd   int64
	name [4088]byte
}

type volArgsV2 struct {
	fd      int64
	transid uint64
	flags   uint64
	_       [4]uint64
	name    [4040]byte // or, with subvolSpecByID, the id in its first eight bytes
}

type subvolInfo struct {
	treeid       uint64
	name         [256]byte
	parentID     uint64
	dirID        uint64
	generation   uint64
	flags        uint64
	uuid         UUID
	parentUUID   UUID
	receivedUUID UUID
	ctransid     uint64
	otransid     uint64
	stransid     uint64
	rtransid     uint64
	ctime        timespec
	otime        timespec
	stime        timespec
	rtime        timespec
	_            [8]uint64
}

type searchKey struct {
	treeID                   uint64
	minObjectID, maxObjectID uint64
	minOffset, maxOffset     uint64
	minTransid, maxTransid   uint64
	minType, maxType         uint32
	nrItems                  uint32
	_                        uint32
	_                        [4]uint64
}

type searchArgs struct {
	key     searchKey
	bufSize uint64
	buf     [searchBufferBytes]byte
}

type searchHeader struct {
	transid  uint64
	objectID uint64
	offset   uint64
	typ      uint32
	len      uint32
}

type sendArgs struct {
	sendFd            int64
	cloneSourcesCount uint64
	cloneSources      unsafe.Pointer
	_                 [8 - unsafe.Sizeof(uintptr(0))]byte // the kernel of a 64-bit machine reads 8 bytes
	parentRoot        uint64
	flags             uint64
	version           uint32
	_                 [28]byte
}

type receivedSubvolArgs struct {
	uuid     UUID
	stransid uint64
	rtransid uint64
	stime    timespec
	rtime    timespec
	flags    uint64
	_        [16]uint64
}

type subvolWait struct {
	subvolid uint64
	mode     uint32
	count    uint32
}

type fsInfoArgs struct {
	maxID      uint64
	numDevices uint64
	fsid       UUID
	_          [992]byte
}

// Offsets in items of the trees: packed and little endian whatever the machine.
const (
	rootItemGeneration   = 160
	rootItemFlags        = 208
	rootItemRefs         = 216
	rootItemGenerationV2 = 239
	rootItemUUID         = 247
	rootItemParentUUID   = 263
	rootItemReceivedUUID = 279
	rootItemCtransid     = 295
	rootItemOtransid     = 303
	rootItemStransid     = 311
	rootItemRtransid     = 319
	rootItemOtime        = 339
	rootItemSize         = 439 // of today; before Linux 3.6 an item ended at rootItemGenerationV2

	rootRefDirID   = 0
	rootRefNameLen = 16
	rootRefSize    = 18 // then the name

	inodeItemTransid = 8
	inodeItemSize    = 16

	extentGeneration   = 0
	extentRAMBytes     = 8
	extentCompression  = 16
	extentType         = 20
	extentInlineData   = 21
	extentDiskBytenr   = 21
	extentDiskNumBytes = 29
	extentNumBytes     = 45
	extentSize         = 53
)
