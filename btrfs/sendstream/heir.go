package sendstream

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// heir is what new files get from the directory that they are made in.
type heir struct {
	acl      bool   // a default ACL
	property string // btrfs.compression; "" if it has none
}

const (
	xattrACLDefault  = "system.posix_acl_default"
	xattrACLAccess   = "system.posix_acl_access"
	xattrCompression = "btrfs.compression"
)

func (d *dir) inherited() (heir, error) {
	if d.heir != nil {
		return *d.heir, nil
	}
	acl, err := hasXattr(d.fd, xattrACLDefault)
	if err != nil {
		return heir{}, err
	}
	property, err := compression(func(name string, value []byte) (int, error) { return unix.Fgetxattr(d.fd, name, value) })
	if err != nil {
		return heir{}, err
	}
	d.heir = &heir{acl, property}
	return *d.heir, nil
}

func hasXattr(fd int, name string) (bool, error) {
	_, err := unix.Fgetxattr(fd, name, nil)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil
	}
	return err == nil, err
}

const unknownAlgorithm = "unknown"

// compression gives the algorithm of the property that a call of getxattr(2) reads, without the level, which is not handed down; "" if there is none.
func compression(get func(name string, value []byte) (int, error)) (string, error) {
	var value [64]byte
	n, err := get(xattrCompression, value[:])
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EOPNOTSUPP):
		return "", nil
	case errors.Is(err, unix.ERANGE): // the kernel looks at how a value begins, and keeps all of it
		return unknownAlgorithm, nil
	case err != nil:
		return "", err
	}
	algorithm, _, _ := strings.Cut(string(value[:n]), ":")
	return algorithm, nil
}

// wish is how what is stored in the directory dir is to be compressed: as the property of the subvolume that it lies in says, which the kernel has new subvolumes inherit. It is "" if that
// has none, or if its root cannot be reached, because only a directory of it is mounted.
func wish(dir int) (string, error) {
	var first, st unix.Stat_t
	if err := unix.Fstat(dir, &first); err != nil {
		return "", err
	}
	path := fdPath(dir) + "/."
	for st = first; st.Ino != rootInode; {
		path += "/.."
		if unix.Stat(path, &st) != nil || st.Dev != first.Dev {
			return "", nil
		}
	}
	algorithm, err := compression(func(name string, value []byte) (int, error) { return unix.Getxattr(path, name, value) })
	if algorithm == unknownAlgorithm {
		return "", nil
	}
	return algorithm, err
}

// disinherit takes away what an inode, just made, has from its directory. The stream says which ACL and property it should have, but not that it
// should have none. (btrfs receive, which makes everything in the root first, lets it keep those of the root.) Instead of that property, it has the one that the destination wishes.
func (t *tree) disinherit(n inode, h heir) error {
	property := h.property != t.wish && (n.cmd == CmdMkfile || n.cmd == CmdMkdir) // others have none
	if !h.acl && !property {
		return nil
	}
	return t.at(n.path, func(path string) error {
		var errs [3]error
		if h.acl {
			errs[0], errs[1] = unix.Removexattr(path, xattrACLAccess), unix.Removexattr(path, xattrACLDefault)
		}
		switch {
		case property && t.wish != "":
			if errs[2] = unix.Setxattr(path, xattrCompression, []byte(t.wish), 0); errs[2] == unix.EINVAL {
				errs[2] = nil // it is not to be compressed, as the destination is mounted or its directory is
			}
		case property:
			errs[2] = unix.Removexattr(path, xattrCompression)
		}
		for _, err := range errs {
			if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) {
				return err
			}
		}
		return nil
	})
}

// xattrsChanged forgets what the directory at path hands down.
func (t *tree) xattrsChanged(path string) {
	for _, d := range append(t.open, t.root) {
		if d.path == path {
			d.heir = nil
		}
	}
}
