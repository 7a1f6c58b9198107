//go:build arm || 386

package filetime

import "golang.org/x/sys/unix"

const sysUtimensat = unix.SYS_UTIMENSAT_TIME64

// Of gives the times of access and modification of what st was read of: path in dirfd, with the flags of fstatat(2). It asks once more, since st has only
// the lower halves of them.
func Of(dirfd int, path string, flags int, _ *unix.Stat_t) ([2]Time, error) {
	var st unix.Statx_t
	if err := unix.Statx(dirfd, path, flags, unix.STATX_ATIME|unix.STATX_MTIME, &st); err != nil {
		return [2]Time{}, err
	}
	return [2]Time{{st.Atime.Sec, int64(st.Atime.Nsec)}, {st.Mtime.Sec, int64(st.Mtime.Nsec)}}, nil
}
