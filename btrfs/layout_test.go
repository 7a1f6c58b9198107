package btrfs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// A fact is a number that the kernel's headers fix. The golden one was taken from them on x86-64.
type fact struct {
	c      string // the C expression for it
	got    uintptr
	golden uintptr
}

func facts() []fact {
	var (
		vol1     volArgs
		vol      volArgsV2
		info     subvolInfo
		args     searchArgs
		key      searchKey
		header   searchHeader
		send     sendArgs
		received receivedSubvolArgs
		wait     subvolWait
		fs       fsInfoArgs
		ts       timespec
		mapping  fiemap
		mountID  mountIDRequest
	)
	of := func(field, structure string) string { return fmt.Sprintf("offsetof(%s, %s)", structure, field) }
	const (
		cVol1     = "struct btrfs_ioctl_vol_args"
		cVol      = "struct btrfs_ioctl_vol_args_v2"
		cInfo     = "struct btrfs_ioctl_get_subvol_info_args"
		cSearch   = "struct btrfs_ioctl_search_args_v2"
		cKey      = "struct btrfs_ioctl_search_key"
		cHeader   = "struct btrfs_ioctl_search_header"
		cSend     = "struct btrfs_ioctl_send_args"
		cReceived = "struct btrfs_ioctl_received_subvol_args"
		cWait     = "struct btrfs_ioctl_subvol_wait"
		cFs       = "struct btrfs_ioctl_fs_info_args"
		cTime     = "struct btrfs_ioctl_timespec"
		cMap      = "struct fiemap"
		cRoot     = "struct btrfs_root_item"
		cRef      = "struct btrfs_root_ref"
		cInode    = "struct btrfs_inode_item"
		cExtent   = "struct btrfs_file_extent_item"
		cMountID  = "struct mnt_id_req"
		cMount    = "struct statmount"
	)
	return []fact{
		{"BTRFS_IOC_SUBVOL_GETFLAGS", iocSubvolGetflags, 0x80089419},
		{"BTRFS_IOC_SUBVOL_SETFLAGS", iocSubvolSetflags, 0x4008941a},
		{"BTRFS_IOC_SUBVOL_CREATE_V2", iocSubvolCreateV2, 0x50009418},
		{"BTRFS_IOC_SNAP_CREATE_V2", iocSnapCreateV2, 0x50009417},
		{"BTRFS_IOC_SNAP_DESTROY", iocSnapDestroy, 0x5000940f},
		{"BTRFS_IOC_SNAP_DESTROY_V2", iocSnapDestroyV2, 0x5000943f},
		{"BTRFS_IOC_GET_SUBVOL_INFO", iocGetSubvolInfo, 0x81f8943c},
		{"BTRFS_IOC_TREE_SEARCH_V2", iocTreeSearchV2, 0xc0709411},
		{"BTRFS_IOC_SEND", iocSend, 0x40489426},
		{"BTRFS_IOC_SET_RECEIVED_SUBVOL", iocSetReceivedSubvol, 0xc0c89425},
		{"BTRFS_IOC_SUBVOL_SYNC_WAIT", iocSubvolSyncWait, 0x40109441},
		{"BTRFS_IOC_START_SYNC", iocStartSync, 0x80089418},
		{"BTRFS_IOC_WAIT_SYNC", iocWaitSync, 0x40089416},
		{"BTRFS_IOC_FS_INFO", iocFsInfo, 0x8400941f},
		{"FS_IOC_FIEMAP", iocFiemap, 0xc020660b},
		{"FIEMAP_FLAG_SYNC", fiemapSync, 1},

		{"BTRFS_SUBVOL_RDONLY", subvolReadOnly, 2},
		{"BTRFS_ROOT_SUBVOL_RDONLY", rootReadOnly, 1},
		{"BTRFS_SUBVOL_SPEC_BY_ID", subvolSpecByID, 16},
		{"BTRFS_SEND_FLAG_NO_FILE_DATA", sendNoFileData, 1},
		{"BTRFS_SEND_FLAG_VERSION", sendVersion, 8},
		{"BTRFS_SEND_FLAG_COMPRESSED", sendCompressed, 16},
		{"BTRFS_SUBVOL_SYNC_WAIT_PEEK_LAST", syncWaitPeekLast, 4},
		{"BTRFS_SUPER_MAGIC", superMagic, 0x9123683e},
		{"BTRFS_FIRST_FREE_OBJECTID", rootDirInode, 256},
		{"BTRFS_LAST_FREE_OBJECTID", uintptr(lastFreeObjectID), 0xffffffffffffff00},
		{"BTRFS_ROOT_TREE_OBJECTID", rootTreeID, 1},
		{"BTRFS_INODE_ITEM_KEY", inodeItemKey, 1},
		{"BTRFS_EXTENT_DATA_KEY", extentDataKey, 108},
		{"BTRFS_ROOT_ITEM_KEY", rootItemKey, 132},
		{"BTRFS_ROOT_BACKREF_KEY", rootBackrefKey, 144},
		{"BTRFS_SUBVOL_NAME_MAX + 1", unsafe.Sizeof(vol.name), 4040},
		{"BTRFS_FILE_EXTENT_INLINE", extentInline, 0},
		{"BTRFS_FILE_EXTENT_REG", extentRegular, 1},

		{"sizeof(" + cTime + ")", unsafe.Sizeof(ts), 16},
		{"sizeof(" + cMap + ")", unsafe.Sizeof(mapping), 32},
		{of("fm_length", cMap), unsafe.Offsetof(mapping.length), 8},
		{of("fm_flags", cMap), unsafe.Offsetof(mapping.flags), 16},
		{of("fm_extent_count", cMap), unsafe.Offsetof(mapping.count), 24},
		{"sizeof(" + cVol1 + ")", unsafe.Sizeof(vol1), 4096},
		{of("fd", cVol1), unsafe.Offsetof(vol1.fd), 0},
		{of("name", cVol1), unsafe.Offsetof(vol1.name), 8},
		{"sizeof(" + cVol + ")", unsafe.Sizeof(vol), 4096},
		{of("fd", cVol), unsafe.Offsetof(vol.fd), 0},
		{of("transid", cVol), unsafe.Offsetof(vol.transid), 8},
		{of("flags", cVol), unsafe.Offsetof(vol.flags), 16},
		{of("name", cVol), unsafe.Offsetof(vol.name), 56},
		{of("subvolid", cVol), unsafe.Offsetof(vol.name), 56},

		{"sizeof(" + cInfo + ")", unsafe.Sizeof(info), 504},
		{of("treeid", cInfo), unsafe.Offsetof(info.treeid), 0},
		{of("name", cInfo), unsafe.Offsetof(info.name), 8},
		{of("parent_id", cInfo), unsafe.Offsetof(info.parentID), 264},
		{of("dirid", cInfo), unsafe.Offsetof(info.dirID), 272},
		{of("generation", cInfo), unsafe.Offsetof(info.generation), 280},
		{of("flags", cInfo), unsafe.Offsetof(info.flags), 288},
		{of("uuid", cInfo), unsafe.Offsetof(info.uuid), 296},
		{of("parent_uuid", cInfo), unsafe.Offsetof(info.parentUUID), 312},
		{of("received_uuid", cInfo), unsafe.Offsetof(info.receivedUUID), 328},
		{of("ctransid", cInfo), unsafe.Offsetof(info.ctransid), 344},
		{of("otransid", cInfo), unsafe.Offsetof(info.otransid), 352},
		{of("stransid", cInfo), unsafe.Offsetof(info.stransid), 360},
		{of("rtransid", cInfo), unsafe.Offsetof(info.rtransid), 368},
		{of("ctime", cInfo), unsafe.Offsetof(info.ctime), 376},
		{of("otime", cInfo), unsafe.Offsetof(info.otime), 392},

		{"sizeof(" + cKey + ")", unsafe.Sizeof(key), 104},
		{of("tree_id", cKey), unsafe.Offsetof(key.treeID), 0},
		{of("min_objectid", cKey), unsafe.Offsetof(key.minObjectID), 8},
		{of("max_objectid", cKey), unsafe.Offsetof(key.maxObjectID), 16},
		{of("min_offset", cKey), unsafe.Offsetof(key.minOffset), 24},
		{of("max_offset", cKey), unsafe.Offsetof(key.maxOffset), 32},
		{of("min_transid", cKey), unsafe.Offsetof(key.minTransid), 40},
		{of("max_transid", cKey), unsafe.Offsetof(key.maxTransid), 48},
		{of("min_type", cKey), unsafe.Offsetof(key.minType), 56},
		{of("max_type", cKey), unsafe.Offsetof(key.maxType), 60},
		{of("nr_items", cKey), unsafe.Offsetof(key.nrItems), 64},
		{of("buf_size", cSearch), unsafe.Offsetof(args.bufSize), 104},
		{of("buf", cSearch), unsafe.Offsetof(args.buf), 112},
		{"sizeof(" + cHeader + ")", unsafe.Sizeof(header), 32},
		{of("transid", cHeader), unsafe.Offsetof(header.transid), 0},
		{of("objectid", cHeader), unsafe.Offsetof(header.objectID), 8},
		{of("offset", cHeader), unsafe.Offsetof(header.offset), 16},
		{of("type", cHeader), unsafe.Offsetof(header.typ), 24},
		{of("len", cHeader), unsafe.Offsetof(header.len), 28},

		{"sizeof(" + cSend + ")", unsafe.Sizeof(send), 72},
		{of("send_fd", cSend), unsafe.Offsetof(send.sendFd), 0},
		{of("clone_sources_count", cSend), unsafe.Offsetof(send.cloneSourcesCount), 8},
		{of("clone_sources", cSend), unsafe.Offsetof(send.cloneSources), 16},
		{of("parent_root", cSend), unsafe.Offsetof(send.parentRoot), 24},
		{of("flags", cSend), unsafe.Offsetof(send.flags), 32},
		{of("version", cSend), unsafe.Offsetof(send.version), 40},

		{"sizeof(" + cReceived + ")", unsafe.Sizeof(received), 200},
		{of("uuid", cReceived), unsafe.Offsetof(received.uuid), 0},
		{of("stransid", cReceived), unsafe.Offsetof(received.stransid), 16},
		{of("rtransid", cReceived), unsafe.Offsetof(received.rtransid), 24},
		{of("stime", cReceived), unsafe.Offsetof(received.stime), 32},
		{of("rtime", cReceived), unsafe.Offsetof(received.rtime), 48},
		{of("flags", cReceived), unsafe.Offsetof(received.flags), 64},

		{"sizeof(" + cWait + ")", unsafe.Sizeof(wait), 16},
		{of("subvolid", cWait), unsafe.Offsetof(wait.subvolid), 0},
		{of("mode", cWait), unsafe.Offsetof(wait.mode), 8},
		{of("count", cWait), unsafe.Offsetof(wait.count), 12},

		{"sizeof(" + cFs + ")", unsafe.Sizeof(fs), 1024},
		{of("fsid", cFs), unsafe.Offsetof(fs.fsid), 16},

		{"sizeof(" + cRoot + ")", rootItemSize, 439},
		{of("generation", cRoot), rootItemGeneration, 160},
		{of("flags", cRoot), rootItemFlags, 208},
		{of("refs", cRoot), rootItemRefs, 216},
		{of("generation_v2", cRoot), rootItemGenerationV2, 239},
		{of("uuid", cRoot), rootItemUUID, 247},
		{of("parent_uuid", cRoot), rootItemParentUUID, 263},
		{of("received_uuid", cRoot), rootItemReceivedUUID, 279},
		{of("ctransid", cRoot), rootItemCtransid, 295},
		{of("otransid", cRoot), rootItemOtransid, 303},
		{of("stransid", cRoot), rootItemStransid, 311},
		{of("rtransid", cRoot), rootItemRtransid, 319},
		{of("otime", cRoot), rootItemOtime, 339},
		{"sizeof(" + cRef + ")", rootRefSize, 18},
		{of("dirid", cRef), rootRefDirID, 0},
		{of("name_len", cRef), rootRefNameLen, 16},
		{of("transid", cInode), inodeItemTransid, 8},
		{of("size", cInode), inodeItemSize, 16},
		{"sizeof(" + cExtent + ")", extentSize, 53},
		{of("generation", cExtent), extentGeneration, 0},
		{of("ram_bytes", cExtent), extentRAMBytes, 8},
		{of("compression", cExtent), extentCompression, 16},
		{of("type", cExtent), extentType, 20},
		{of("disk_bytenr", cExtent), extentInlineData, 21},
		{of("disk_bytenr", cExtent), extentDiskBytenr, 21},
		{of("disk_num_bytes", cExtent), extentDiskNumBytes, 29},
		{of("num_bytes", cExtent), extentNumBytes, 45},

		{"MNT_ID_REQ_SIZE_VER0", unsafe.Sizeof(mountID), 24},
		{of("mnt_id", cMountID), unsafe.Offsetof(mountID.id), 8},
		{of("param", cMountID), unsafe.Offsetof(mountID.param), 16},
		{"STATMOUNT_MNT_POINT", statmountMountPoint, 16},
		{of("mask", cMount), statmountMaskAt, 8},
		{of("mnt_point", cMount), statmountMountPointAt, 108},
		{of("str", cMount), statmountStringsAt, 512},
	}
}

func TestLayout(t *testing.T) {
	for _, f := range facts() {
		if f.got != f.golden {
			t.Errorf("%s is %#x, not %#x", f.c, f.golden, f.got)
		}
	}
}

var tooNew = regexp.MustCompile(`subvol_wait|SYNC_WAIT|struct mnt_id_req|struct statmount|MNT_ID_REQ|STATMOUNT`)

// The headers of this machine agree, as far as they are new enough to know of a thing.
func TestLayoutAgainstHeaders(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("gcc is not installed; the golden numbers are tested by TestLayout")
	}
	if _, err := os.Stat("/usr/include/linux/btrfs.h"); err != nil {
		t.Skip("the kernel's headers are not installed; the golden numbers are tested by TestLayout")
	}
	all := facts()
	known := make([]fact, 0, len(all))
	for _, f := range all {
		// Too new for the headers of Linux 6.1.
		if tooNew.MatchString(f.c) {
			continue
		}
		known = append(known, f)
	}
	var c strings.Builder
	c.WriteString("#include <stdio.h>\n#include <stddef.h>\n#include <linux/magic.h>\n#include <linux/btrfs.h>\n#include <linux/fs.h>\n#include <linux/fiemap.h>\n#include <linux/btrfs_tree.h>\nint main(void) {\n")
	want := map[string]string{}
	for _, f := range known {
		fmt.Fprintf(&c, "printf(\"%s=%%#llx\\n\", (unsigned long long)(%s));\n", f.c, f.c)
		want[f.c] = fmt.Sprintf("%#x", f.got)
		if f.got == 0 {
			want[f.c] = "0"
		}
	}
	c.WriteString("}\n")
	source, program := filepath.Join(t.TempDir(), "layout.c"), filepath.Join(t.TempDir(), "layout")
	if err := os.WriteFile(source, []byte(c.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(gcc, "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(program).Output()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		got[name] = value
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("this package and the headers (-ours +theirs):\n%s", diff)
	}
}
