package sendstream

import (
	"errors"

	"golang.org/x/sys/unix"
)

// heir is what new files get from the directory that they are made in.
type heir struct {
	acl      bool // a default ACL
	property bool // btrfs.compression
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
	property, err := hasXattr(d.fd, xattrCompression)
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

// disinherit takes away what an inode, just made, has from its directory. The stream says which ACL and property it should have, but not that it
// should have none. (btrfs receive, which makes everything in the root first, lets it keep those of the root.)
func (t *tree) disinherit(n inode, h heir) error {
	var names []string
	if h.acl {
		names = append(names, xattrACLAccess, xattrACLDefault)
	}
	if h.property && (n.cmd == CmdMkfile || n.cmd == CmdMkdir) { // others have none
		names = append(names, xattrCompression)
	}
	return t.at(n.path, func(path string) error {
		for _, name := range names {
			err := unix.Removexattr(path, name)
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
