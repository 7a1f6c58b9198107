package sendstream

// attributes says how many bytes the value of an attribute has; any stands for zero and more.
var attributes = [...]struct {
	name string
	size int
}{
	AttrUUID:             {"uuid", 16},
	AttrCtransid:         {"ctransid", 8},
	AttrIno:              {"ino", 8},
	AttrSize:             {"size", 8},
	AttrMode:             {"mode", 8},
	AttrUID:              {"uid", 8},
	AttrGID:              {"gid", 8},
	AttrRdev:             {"rdev", 8},
	AttrCtime:            {"ctime", timespecSize},
	AttrMtime:            {"mtime", timespecSize},
	AttrAtime:            {"atime", timespecSize},
	AttrOtime:            {"otime", timespecSize},
	AttrXattrName:        {"xattr_name", anySize},
	AttrXattrData:        {"xattr_data", anySize},
	AttrPath:             {"path", anySize},
	AttrPathTo:           {"path_to", anySize},
	AttrPathLink:         {"path_link", anySize},
	AttrFileOffset:       {"file_offset", 8},
	AttrData:             {"data", anySize},
	AttrCloneUUID:        {"clone_uuid", 16},
	AttrCloneCtransid:    {"clone_ctransid", 8},
	AttrClonePath:        {"clone_path", anySize},
	AttrCloneOffset:      {"clone_offset", 8},
	AttrCloneLen:         {"clone_len", 8},
	AttrFallocateMode:    {"fallocate_mode", 4},
	AttrFileattr:         {"fileattr", 8},
	AttrUnencodedFileLen: {"unencoded_file_len", 8},
	AttrUnencodedLen:     {"unencoded_len", 8},
	AttrUnencodedOffset:  {"unencoded_offset", 8},
	AttrCompression:      {"compression", 4},
	AttrEncryption:       {"encryption", 4},
	AttrVerityAlgorithm:  {"verity_algorithm", 1},
	AttrVerityBlockSize:  {"verity_block_size", 4},
	AttrVeritySaltData:   {"verity_salt_data", anySize},
	AttrVeritySigData:    {"verity_sig_data", anySize},
}

const (
	anySize      = -1
	timespecSize = 12 // s64 seconds, u32 nanoseconds
)

// commands says what a command cannot be without, as btrfs-progs does. Others may be there: newer kernels add some (OTIME in UTIMES).
var commands = [...]struct {
	name string
	need attrSet
	root bool // the command may be about the subvolume's root, whose path is empty
}{
	CmdSubvol:       {"subvol", set(AttrPath, AttrUUID, AttrCtransid), false},
	CmdSnapshot:     {"snapshot", set(AttrPath, AttrUUID, AttrCtransid, AttrCloneUUID, AttrCloneCtransid), false},
	CmdMkfile:       {"mkfile", set(AttrPath, AttrIno), false},
	CmdMkdir:        {"mkdir", set(AttrPath, AttrIno), false},
	CmdMknod:        {"mknod", set(AttrPath, AttrIno, AttrMode, AttrRdev), false},
	CmdMkfifo:       {"mkfifo", set(AttrPath, AttrIno), false},
	CmdMksock:       {"mksock", set(AttrPath, AttrIno), false},
	CmdSymlink:      {"symlink", set(AttrPath, AttrIno, AttrPathLink), false},
	CmdRename:       {"rename", set(AttrPath, AttrPathTo), false},
	CmdLink:         {"link", set(AttrPath, AttrPathLink), false},
	CmdUnlink:       {"unlink", set(AttrPath), false},
	CmdRmdir:        {"rmdir", set(AttrPath), false},
	CmdSetXattr:     {"set_xattr", set(AttrPath, AttrXattrName, AttrXattrData), true},
	CmdRemoveXattr:  {"remove_xattr", set(AttrPath, AttrXattrName), true},
	CmdWrite:        {"write", set(AttrPath, AttrFileOffset, AttrData), false},
	CmdClone:        {"clone", set(AttrPath, AttrFileOffset, AttrCloneLen, AttrCloneUUID, AttrCloneCtransid, AttrClonePath, AttrCloneOffset), false},
	CmdTruncate:     {"truncate", set(AttrPath, AttrSize), false},
	CmdChmod:        {"chmod", set(AttrPath, AttrMode), true},
	CmdChown:        {"chown", set(AttrPath, AttrUID, AttrGID), true},
	CmdUtimes:       {"utimes", set(AttrPath, AttrAtime, AttrMtime, AttrCtime), true},
	CmdEnd:          {"end", 0, true},
	CmdUpdateExtent: {"update_extent", set(AttrPath, AttrFileOffset, AttrSize), false},
	CmdFallocate:    {"fallocate", set(AttrPath, AttrFallocateMode, AttrFileOffset, AttrSize), false},
	CmdFileattr:     {"fileattr", set(AttrPath, AttrFileattr), true},
	CmdEncodedWrite: {"encoded_write", set(AttrPath, AttrFileOffset, AttrUnencodedFileLen, AttrUnencodedLen, AttrUnencodedOffset, AttrData), false},
	CmdEnableVerity: {"enable_verity", set(AttrPath, AttrVerityAlgorithm, AttrVerityBlockSize, AttrVeritySaltData, AttrVeritySigData), false},
}

// attrSet has bit n for attribute n.
type attrSet uint64

func set(attrs ...Attr) attrSet {
	var s attrSet
	for _, a := range attrs {
		s |= 1 << a
	}
	return s
}

func (s attrSet) has(a Attr) bool { return s&(1<<a) != 0 }

// first gives the lowest attribute of s, which is not empty.
func (s attrSet) first() Attr {
	var a Attr
	for !s.has(a) {
		a++
	}
	return a
}
