package btrfs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A mount is one line of mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	id      int
	device  string // major:minor of the file system; stat(2) gives another one in each btrfs subvolume
	root    string // what of the file system is mounted
	point   string
	fsType  string
	source  string // a device, for btrfs
	options string // of the file system; for btrfs, subvolid= is that of the mount's root
}

func mounts() ([]mount, error) { return mountsThat(func([]byte) bool { return true }) }

// mountsThat parses only the lines that are wanted: there may be thousands.
func mountsThat(wanted func(line []byte) bool) ([]mount, error) {
	text, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	var all []mount
	for line := range bytes.Lines(text) {
		if !wanted(line) {
			continue
		}
		m, err := parseMount(strings.TrimSuffix(string(line), "\n"))
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

func parseMount(line string) (mount, error) {
	// A run of optional fields ends at the lone dash; fields themselves hold no space.
	before, after, found := strings.Cut(line, " - ")
	left, right := strings.Split(before, " "), strings.Split(after, " ")
	if !found || len(left) < 6 || len(right) < 3 {
		return mount{}, fmt.Errorf("mountinfo: odd line %q", line)
	}
	id, err := strconv.Atoi(left[0])
	if err != nil {
		return mount{}, fmt.Errorf("mountinfo: odd line %q", line)
	}
	return mount{
		id: id, device: left[2], root: unescape(left[3]), point: unescape(left[4]),
		fsType: right[0], source: unescape(right[1]), options: right[2],
	}, nil
}

// unescape undoes the three octal digits that stand for space, tab, newline and backslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// mountOf finds the mount through which fd was opened, by its id (statx(2), Linux 5.8): the only key that fits for btrfs,
// where device numbers do not, and right also where mounts are stacked. A mount that a chroot has cut off is not found.
func mountOf(fd int, all []mount) (m mount, found bool, err error) {
	id, err := mountID(fd)
	if err != nil {
		return mount{}, false, err
	}
	for _, m := range all {
		if m.id == id {
			return m, true, nil
		}
	}
	return mount{}, false, nil
}

// mountPoint is where the mount of fd is mounted; "/" if that is the root of a chroot, whose mount is not listed in it.
func mountPoint(fd int) (string, error) {
	if point, err := statMountPoint(fd); err == nil {
		return cmp.Or(point, "/"), nil
	}
	return listedMountPoint(fd)
}

// listedMountPoint is [mountPoint] from the table of mounts.
func listedMountPoint(fd int) (string, error) {
	id, err := mountID(fd)
	if err != nil {
		return "", err
	}
	first := strconv.AppendInt(nil, int64(id), 10)
	all, err := mountsThat(func(line []byte) bool { return bytes.HasPrefix(line, append(first, ' ')) })
	if err != nil || len(all) == 0 {
		return "/", err
	}
	return all[0].point, nil
}

func mountID(fd int) (int, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return 0, fmt.Errorf("statx: %w", err)
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0, fmt.Errorf("statx: the kernel gives no mount id: %w", errors.ErrUnsupported)
	}
	return int(st.Mnt_id), nil
}

// mountedAt gives a place where the subvolume id of fd's file system, or a directory in it, is mounted; "" if there is none.
func mountedAt(fd int, id uint64) (string, error) {
	points, err := mountPoints(fd, id)
	if err != nil || len(points) == 0 {
		return "", err
	}
	return points[0], nil
}

// mountPoints are all such places. Mounts that only other mount namespaces have are not seen.
func mountPoints(fd int, id uint64) (points []string, err error) {
	all, err := mounts()
	if err != nil {
		return nil, err
	}
	own, found, err := mountOf(fd, all)
	if err != nil {
		return nil, err
	}
	option := "subvolid=" + strconv.FormatUint(id, 10)
	for _, m := range all {
		// Where the file system is not known, another one's subvolume of this id counts too: refusing is the safe side.
		if m.fsType != "btrfs" || found && m.device != own.device {
			continue
		}
		if slices.Contains(strings.Split(m.options, ","), option) {
			points = append(points, m.point)
		}
	}
	return points, nil
}
