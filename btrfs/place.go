package btrfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrTopLevel means that a subvolume is the top level of its file system, which has no entry in any directory.
var ErrTopLevel = errors.New("it is the top level of its file system")

// A Place is the directory that holds the entry of a subvolume, where it can be renamed.
type Place struct {
	Dir   string // a path for the functions of this package, valid until Close
	Name  string // of the entry
	Shown string // the directory for people: a path, or "/…" from the top level of the file system when Mounted
	// The subvolume is itself mounted, with subvol= or subvolid=: Dir is in a private mount of the top level, and what is renamed there stays mounted where it is.
	Mounted bool

	mount int // -1 if none was needed
}

// Close ends the private mount.
func (p *Place) Close() error {
	if p.mount < 0 {
		return nil
	}
	return unix.Close(p.mount)
}

// FindPlace finds the entry of the subvolume at path. Where that is a mount point, its entry is in a directory that may not be mounted anywhere:
// fsmount(2) gives a mount of the top level that nobody else sees (Linux 5.2, CAP_SYS_ADMIN). Errors: ErrTopLevel, ErrNotSubvolume.
func FindPlace(subvolume string) (*Place, error) {
	fd, err := openSubvolume(subvolume)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	s, err := describe(fd, subvolume)
	if err != nil {
		return nil, err
	}
	if s.ID == topLevelID {
		return nil, fmt.Errorf("%s: %w", subvolume, ErrTopLevel)
	}
	real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, err
	}
	all, err := mounts()
	if err != nil {
		return nil, err
	}
	m, found, err := mountOf(fd, all)
	if err != nil {
		return nil, err
	}
	if !found || m.point != real {
		return &Place{Dir: filepath.Dir(real), Name: filepath.Base(real), Shown: filepath.Dir(real), mount: -1}, nil
	}
	return m.place(s)
}

// place opens the directory with the entry of s, the root of m.
func (m mount) place(s Subvolume) (*Place, error) {
	if m.root == "/" || strings.HasSuffix(m.root, "//deleted") {
		return nil, fmt.Errorf("%s: the kernel does not tell where its subvolume %d lies", m.point, s.ID)
	}
	var vfs unix.Statfs_t
	if err := unix.Statfs(m.point, &vfs); err != nil {
		return nil, fmt.Errorf("%s: statfs: %w", m.point, err)
	}
	top, err := mountTop(m.source, vfs.Flags&unix.ST_RDONLY != 0)
	if err != nil {
		return nil, fmt.Errorf("mount the top level of %s, which holds the entry of %s: %w", m.source, m.point, err)
	}
	p := &Place{Dir: path.Join(fmt.Sprintf("/proc/self/fd/%d", top), path.Dir(m.root)), Name: path.Base(m.root), Shown: path.Dir(m.root), Mounted: true, mount: top}
	if there, err := Info(filepath.Join(p.Dir, p.Name)); err != nil || there.UUID != s.UUID {
		p.Close()
		return nil, errors.Join(fmt.Errorf("what is at %s from the top level of %s is not what is mounted at %s", m.root, m.source, m.point), err)
	}
	return p, nil
}

// MountPoints are the places where the subvolume at path, or a directory in it, is mounted by itself, as far as this mount namespace shows: there, what is mounted
// stays the same whatever its entry is called.
func MountPoints(path string) ([]string, error) {
	fd, err := openSubvolume(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	s, err := describe(fd, path)
	if err != nil {
		return nil, err
	}
	return mountPoints(fd, s.ID)
}

// mountTop gives a descriptor of a mount of the top level that is attached nowhere, and gone when that is closed.
func mountTop(device string, readOnly bool) (int, error) {
	fs, err := unix.Fsopen("btrfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fs)
	for _, set := range [][2]string{{"source", device}, {"subvolid", "5"}} {
		if err := unix.FsconfigSetString(fs, set[0], set[1]); err != nil {
			return -1, fmt.Errorf("fsconfig %s=%s: %w", set[0], set[1], err)
		}
	}
	if readOnly { // else the kernel would make the file system writable everywhere
		if err := unix.FsconfigSetFlag(fs, "ro"); err != nil {
			return -1, fmt.Errorf("fsconfig ro: %w", err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("fsconfig: %w", err)
	}
	top, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("fsmount: %w", err)
	}
	return top, nil
}

// Exchange swaps the names of two subvolumes in a directory, at once: at no moment one of the names is missing. renameat2(2) RENAME_EXCHANGE. It is not durable
// until a commit.
func Exchange(dir, a, b string) error {
	if err := errors.Join(checkName(a), checkName(b)); err != nil {
		return err
	}
	dirfd, _, err := openDir(dir)
	if err != nil {
		return err
	}
	defer unix.Close(dirfd)
	for _, name := range []string{a, b} {
		child, err := openChild(dirfd, name)
		if err != nil {
			return fmt.Errorf("exchange %s and %q: %q: %w", filepath.Join(dir, a), b, name, err)
		}
		unix.Close(child)
	}
	if err := unix.Renameat2(dirfd, a, dirfd, b, unix.RENAME_EXCHANGE); err != nil {
		return fmt.Errorf("exchange %s and %q: %w", filepath.Join(dir, a), b, err)
	}
	return nil
}

// Twin makes a read-only subvolume named name in dir with the content and the identity of a read-only one on the same file system: to send and receive they are the
// same snapshot ([SameContent]). It is how a snapshot gets into another directory, since one that is read-only cannot be moved, and must never be made writable.
//
// A twin that was interrupted is writable or has no received UUID. It is durable when it is complete. BTRFS_IOC_SNAP_CREATE_V2, BTRFS_IOC_SET_RECEIVED_SUBVOL,
// BTRFS_IOC_SUBVOL_SETFLAGS.
func Twin(snapshot, dir, name string) (Subvolume, error) {
	s, err := Info(snapshot)
	if err != nil {
		return Subvolume{}, err
	}
	if !s.ReadOnly {
		return Subvolume{}, fmt.Errorf("%s is writable: only what stands still has a twin", snapshot)
	}
	if err := Snapshot(snapshot, dir, name, false); err != nil {
		return Subvolume{}, err
	}
	made := filepath.Join(dir, name)
	if err := SetReceived(made, s.StreamUUID(), s.Ctransid); err != nil {
		return Subvolume{}, err
	}
	if err := SetReadOnly(made); err != nil {
		return Subvolume{}, err
	}
	return Info(made)
}
