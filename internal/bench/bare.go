package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/internal/filetime"
)

// bare is the least that receiving can be: the system calls, and nothing that makes them safe. It trusts every path, follows every symbolic link and
// looks at no error twice. What a receiver takes beyond this is its own; the rest is the kernel's.
//
// It knows what the full stream of a tree of regular files has.
type bare struct {
	in   *sendstream.Decoder
	root int    // the new subvolume; -1 before
	fd   int    // the file that was made last; -1 if there is none
	path string // of it
}

func receiveBare(_ context.Context, dir, name string, stream io.Reader) error {
	b := bare{in: sendstream.NewDecoder(stream), root: -1, fd: -1}
	c, err := b.in.Next()
	if err != nil {
		return err
	}
	id, ctransid, target := c.UUID(sendstream.AttrUUID), c.Uint(sendstream.AttrCtransid), filepath.Join(dir, name)
	if err := btrfs.Create(dir, name); err != nil {
		return err
	}
	if b.root, err = unix.Open(target, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	defer unix.Close(b.root)
	for c, err = b.in.Next(); err == nil && c.Cmd != sendstream.CmdEnd; c, err = b.in.Next() {
		if err := b.apply(c); err != nil {
			return fmt.Errorf("command %d: %w", b.in.Count(), err)
		}
	}
	b.close()
	return errors.Join(err, btrfs.SetReceived(target, id, ctransid), btrfs.SetReadOnly(target))
}

func (b *bare) close() {
	if b.fd >= 0 {
		unix.Close(b.fd)
		b.fd = -1
	}
}

func (b *bare) apply(c *sendstream.Command) error {
	switch c.Cmd {
	case sendstream.CmdMkfile:
		return b.create()
	case sendstream.CmdMkdir:
		return unix.Mkdirat(b.root, c.Path(), 0o700)
	case sendstream.CmdRename:
		return unix.Renameat(b.root, c.Path(), b.root, c.Text(sendstream.AttrPathTo))
	case sendstream.CmdWrite:
		_, err := unix.Pwrite(b.fd, c.Bytes(sendstream.AttrData), int64(c.Uint(sendstream.AttrFileOffset)))
		return err
	case sendstream.CmdTruncate:
		return unix.Ftruncate(b.fd, int64(c.Uint(sendstream.AttrSize)))
	}
	if b.fd >= 0 && b.path == string(c.Bytes(sendstream.AttrPath)) {
		return attributes(c, b.fd, "")
	}
	return attributes(c, b.root, "./"+c.Path())
}

// create makes a file under the name that the next command gives it.
func (b *bare) create() error {
	c, err := b.in.Next()
	if err != nil {
		return err
	}
	b.close()
	b.path = c.Text(sendstream.AttrPathTo)
	b.fd, err = unix.Openat(b.root, b.path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	return err
}

// attributes changes those of path in the directory dirfd; without a path, those of dirfd itself.
func attributes(c *sendstream.Command, dirfd int, path string) error {
	switch c.Cmd {
	case sendstream.CmdChown:
		uid, gid := int(c.Uint(sendstream.AttrUID)), int(c.Uint(sendstream.AttrGID))
		if path == "" {
			return unix.Fchown(dirfd, uid, gid)
		}
		return unix.Fchownat(dirfd, path, uid, gid, 0)
	case sendstream.CmdChmod:
		mode := uint32(c.Uint(sendstream.AttrMode)) & 0o7777
		if path == "" {
			return unix.Fchmod(dirfd, mode)
		}
		return unix.Fchmodat(dirfd, path, mode, 0)
	case sendstream.CmdUtimes:
		atime, mtime := c.Time(sendstream.AttrAtime), c.Time(sendstream.AttrMtime)
		return filetime.Set(dirfd, path, [2]filetime.Time{{Sec: atime.Sec, Nsec: int64(atime.Nsec)}, {Sec: mtime.Sec, Nsec: int64(mtime.Nsec)}}, 0)
	}
	return fmt.Errorf("%s: the stream is of more than regular files", c.Cmd)
}
