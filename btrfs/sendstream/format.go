// Package sendstream is the btrfs send-stream format: decode, encode, check.
//
// A stream is a header and then commands, each with a CRC32C of its own. A command is a number and a list of attributes. The format is
// that of the kernel's fs/btrfs/send.h; protocols 1 to 3 are spoken. Everything is little-endian.
package sendstream

import (
	"errors"
	"fmt"
	"hash/crc32"
)

// MaxVersion is the newest protocol spoken here. Protocol 3 adds fs-verity; so far only kernels built for experiments send it.
const MaxVersion = 3

// MaxCommand is the longest payload that a command may have. Kernels send at most 64 KiB (protocol 1) or 144 KiB (protocol 2);
// the format itself would allow 4 GiB.
const MaxCommand = 512 << 10

const (
	magic             = "btrfs-stream\x00"
	headerSize        = len(magic) + 4 // and the version
	commandHeaderSize = 10             // payload length u32, command u16, CRC32C u32
	crcOffset         = 6
	pathMax           = 4096 // with the NUL that C puts at the end
	nameMax           = 255
)

var (
	// ErrCorrupt means that the input is not a whole and well-formed stream.
	ErrCorrupt = errors.New("send stream is corrupt")
	// ErrVersion means that the stream is of a protocol that is not spoken here.
	ErrVersion = errors.New("send stream version is not supported")
	// ErrCheckpoint means that what was kept of an interrupted receive is no place to go on from.
	ErrCheckpoint = errors.New("the checkpoint cannot be used")
	// ErrApply means that a command, whole and well-formed, could not be carried out.
	ErrApply = errors.New("cannot be applied")
)

// Cmd is the number of a command: BTRFS_SEND_C_* of the kernel's send.h.
type Cmd uint16

// The commands of protocol 1, from CmdFallocate on those that protocol 2 added, and from CmdEnableVerity on those of protocol 3.
const (
	CmdSubvol Cmd = iota + 1
	CmdSnapshot
	CmdMkfile
	CmdMkdir
	CmdMknod
	CmdMkfifo
	CmdMksock
	CmdSymlink
	CmdRename
	CmdLink
	CmdUnlink
	CmdRmdir
	CmdSetXattr
	CmdRemoveXattr
	CmdWrite
	CmdClone
	CmdTruncate
	CmdChmod
	CmdChown
	CmdUtimes
	CmdEnd
	CmdUpdateExtent
	CmdFallocate
	CmdFileattr
	CmdEncodedWrite
	CmdEnableVerity

	maxCmdV1 = CmdUpdateExtent
	maxCmdV2 = CmdEncodedWrite
	maxCmdV3 = CmdEnableVerity
)

// Attr is the number of an attribute: BTRFS_SEND_A_* of the kernel's send.h.
type Attr uint16

// The attributes of protocol 1, from AttrFallocateMode on those that protocol 2 added, and from AttrVerityAlgorithm on those of protocol 3.
const (
	AttrUUID Attr = iota + 1
	AttrCtransid
	AttrIno
	AttrSize
	AttrMode
	AttrUID
	AttrGID
	AttrRdev
	AttrCtime
	AttrMtime
	AttrAtime
	AttrOtime
	AttrXattrName
	AttrXattrData
	AttrPath
	AttrPathTo
	AttrPathLink
	AttrFileOffset
	AttrData // from protocol 2 on it has no length of its own: it is the rest of the command
	AttrCloneUUID
	AttrCloneCtransid
	AttrClonePath
	AttrCloneOffset
	AttrCloneLen
	AttrFallocateMode
	AttrFileattr
	AttrUnencodedFileLen
	AttrUnencodedLen
	AttrUnencodedOffset
	AttrCompression
	AttrEncryption
	AttrVerityAlgorithm // FS_VERITY_HASH_ALG_*
	AttrVerityBlockSize
	AttrVeritySaltData
	AttrVeritySigData

	maxAttrV1 = AttrCloneLen
	maxAttrV2 = AttrEncryption
	maxAttrV3 = AttrVeritySigData
)

func maxCmd(version int) Cmd {
	return [...]Cmd{1: maxCmdV1, 2: maxCmdV2, 3: maxCmdV3}[version]
}

func maxAttr(version int) Attr {
	return [...]Attr{1: maxAttrV1, 2: maxAttrV2, 3: maxAttrV3}[version]
}

// String gives the kernel's name in lower case, as `btrfs receive --dump` does.
func (c Cmd) String() string {
	if int(c) < len(commands) && commands[c].name != "" {
		return commands[c].name
	}
	return fmt.Sprintf("command %d", uint16(c))
}

// String gives the kernel's name in lower case.
func (a Attr) String() string {
	if int(a) < len(attributes) && attributes[a].name != "" {
		return attributes[a].name
	}
	return fmt.Sprintf("attribute %d", uint16(a))
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

// checksum is the CRC of a whole command whose crc field is zero: CRC32C that starts at 0 and is not inverted at the end,
// where the usual one, and hash/crc32, start at ^0 and invert.
func checksum(command []byte) uint32 {
	return ^crc32.Update(^uint32(0), castagnoli, command)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
