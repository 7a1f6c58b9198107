package diff

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/internal/filetime"
)

// facts is what is known of a file at one time.
type facts struct {
	inode          uint64 // number, of old files
	names          uint32 // how many it has, of old files
	mode, uid, gid uint32
	size           uint64
	mtime          sendstream.Timespec
}

func factsOf(st *unix.Stat_t, mtime filetime.Time) facts {
	return facts{
		inode: st.Ino, names: uint32(st.Nlink), mode: st.Mode, uid: st.Uid, gid: st.Gid, size: uint64(st.Size),
		mtime: sendstream.Timespec{Sec: mtime.Sec, Nsec: uint32(mtime.Nsec)},
	}
}

// traits is what commands say of an inode beside its names.
type traits struct {
	now              facts // as far as commands set it; that of an old file begins as it was
	written, cloned  uint64
	capability       []byte
	xattr, fileattrs bool
}

// capability is the xattr that is sent with everything else that changes, whether it has changed itself or not: some changes take it away.
const capability = "security.capability"

// read follows a stream from one snapshot to the other.
func read(stream io.Reader, before, after tree) (Result, error) {
	p := newPicture(before)
	d := sendstream.NewDecoder(stream)
	for {
		c, err := d.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return Result{}, err
		}
		if err := p.apply(c); err != nil {
			return Result{}, fmt.Errorf("command %d, %s: %w", d.Count(), c, err)
		}
	}
	found, err := p.net(after)
	return Result{found, d.Offset()}, err
}

func (p *picture) apply(c *sendstream.Command) error {
	path := c.Path()
	switch c.Cmd {
	case sendstream.CmdSubvol:
		return errors.New("a stream of differences is needed, this is a whole subvolume")
	case sendstream.CmdSnapshot, sendstream.CmdEnd:
		return nil
	case sendstream.CmdRename:
		return p.rename(path, c.Text(sendstream.AttrPathTo))
	case sendstream.CmdLink:
		return p.link(path, c.Text(sendstream.AttrPathLink))
	case sendstream.CmdUnlink, sendstream.CmdRmdir:
		return p.remove(path)
	case sendstream.CmdMkfile:
		return p.create(path, File)
	case sendstream.CmdMkdir:
		return p.create(path, Directory)
	case sendstream.CmdSymlink:
		return p.create(path, Symlink)
	case sendstream.CmdMkfifo:
		return p.create(path, FIFO)
	case sendstream.CmdMksock:
		return p.create(path, Socket)
	case sendstream.CmdMknod: // the kernel makes fifos and sockets with it, too
		return p.create(path, typeOf(uint32(c.Uint(sendstream.AttrMode))))
	}
	e, err := p.find(path)
	if err != nil {
		return err
	}
	e.of.note(c)
	return nil
}

// note takes a command about contents or metadata.
func (n *traits) note(c *sendstream.Command) {
	offset := c.Uint(sendstream.AttrFileOffset)
	switch c.Cmd {
	case sendstream.CmdUpdateExtent:
		n.wrote(offset, c.Uint(sendstream.AttrSize))
	case sendstream.CmdWrite:
		n.wrote(offset, uint64(len(c.Bytes(sendstream.AttrData))))
	case sendstream.CmdEncodedWrite:
		n.wrote(offset, c.Uint(sendstream.AttrUnencodedFileLen))
	case sendstream.CmdFallocate:
		if mode := c.Uint(sendstream.AttrFallocateMode); mode&unix.FALLOC_FL_PUNCH_HOLE != 0 {
			n.written += c.Uint(sendstream.AttrSize)
		} else if mode&unix.FALLOC_FL_KEEP_SIZE == 0 {
			n.reaches(offset + c.Uint(sendstream.AttrSize))
		}
	case sendstream.CmdClone:
		n.cloned += c.Uint(sendstream.AttrCloneLen)
		n.reaches(offset + c.Uint(sendstream.AttrCloneLen))
	case sendstream.CmdTruncate:
		n.now.size = c.Uint(sendstream.AttrSize)
	case sendstream.CmdChmod:
		n.now.mode = uint32(c.Uint(sendstream.AttrMode))
	case sendstream.CmdChown:
		n.now.uid, n.now.gid = uint32(c.Uint(sendstream.AttrUID)), uint32(c.Uint(sendstream.AttrGID))
	case sendstream.CmdUtimes:
		n.now.mtime = c.Time(sendstream.AttrMtime)
	case sendstream.CmdRemoveXattr:
		n.xattr = true
	case sendstream.CmdSetXattr:
		if c.Text(sendstream.AttrXattrName) == capability {
			n.capability = bytes.Clone(c.Bytes(sendstream.AttrXattrData))
		} else {
			n.xattr = true
		}
	case sendstream.CmdFileattr, sendstream.CmdEnableVerity:
		n.fileattrs = true
	}
}

func (n *traits) wrote(offset, bytes uint64) {
	n.written += bytes
	n.reaches(offset + bytes)
}

func (n *traits) reaches(end uint64) { n.now.size = max(n.now.size, end) }

// content reports whether the contents changed.
func (n *inode) content() bool {
	return n.written > 0 || n.cloned > 0 || n.old != nil && n.now.size != n.old.size
}

// metadata names what differs from an earlier state.
func (n *traits) metadata(was *facts) []string {
	const permissions = 0o7777
	var differ []string
	if n.now.mode&permissions != was.mode&permissions {
		differ = append(differ, "mode")
	}
	if n.now.uid != was.uid || n.now.gid != was.gid {
		differ = append(differ, "owner")
	}
	if n.now.mtime != was.mtime {
		differ = append(differ, "time")
	}
	if n.xattr {
		differ = append(differ, "xattr")
	}
	if n.fileattrs {
		differ = append(differ, "flags")
	}
	return differ
}

// onlyTime reports whether nothing but the time changed.
func onlyTime(metadata []string) bool { return len(metadata) == 1 && metadata[0] == "time" }
