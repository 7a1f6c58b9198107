package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// above finds backups in the directories above the destination directory, up to its mount point: another tool may have kept those of several subvolumes in one directory, of
// which each job now has a directory below.
//
// Who can write there could put another directory in the destination's place, so they are as trustworthy as it. Where others than root can write, nothing is looked for any
// more: with a received UUID of their choice they could pass off anything as a parent. Another machine chose the received UUIDs of all that came from it: what a catalog says did is
// no parent here, and what is in a catalog at all is none for streams of other machines. That leaves what other tools keep there, which has to be known by its UUID to be taken. A backup whose
// entry is lost looks like that, too.
//
// Whatever cannot be looked at ends the search: it is for a better parent only, and no reason for a run to fail.
func (d *Dir) above(all *btrfs.Listing) (found []jobs.Backup) {
	up := ""
	for dir := d.path; dir != d.opener.Top && dir != d.identity.MountPoint && dir != "/"; {
		dir, up = filepath.Dir(dir), up+"../"
		at, err := d.trusted(dir)
		if errors.Is(err, fs.ErrNotExist) { // the first run makes it
			continue
		} else if err != nil {
			return found
		}
		cat, err := catalog.Read(dir)
		if err != nil {
			return found
		}
		for _, s := range all.In(at) {
			if !s.ReadOnly || s.ReceivedUUID.IsZero() || strings.HasPrefix(s.Name, hiddenIncoming) {
				continue
			}
			e, known := cat[s.UUID]
			if known && d.confined() || e.Source != "" && !strings.HasPrefix(e.Source, jobs.Machine()+":") {
				continue
			}
			b := jobs.Backup{Subvolume: s, Path: filepath.Join(dir, s.Name), Taken: s.Created, Complete: true, Altered: e.Ctransid != 0 && e.Ctransid != s.Ctransid}
			b.Name = up + s.Name
			found = append(found, b)
		}
	}
	return found
}

// confined reports whether streams come from another machine.
func (d *Dir) confined() bool {
	n, ok := d.opener.Receiver.(Native)
	return ok && n.Confined
}

// receiver is the one for a stream: one from another machine may be based on what is above as well, as List finds it, if that is what it was said to be based on.
//
// It must not become what is above: in the destination's directory it would be the parent of what comes next, before the true one.
func (d *Dir) receiver(of sendstream.Identity) (Receiver, error) {
	n, ok := d.opener.Receiver.(Native)
	if !ok || !n.Confined {
		return d.opener.Receiver, nil
	}
	all, err := d.subvolumes()
	if err != nil {
		return nil, fmt.Errorf("list subvolumes of %s: %w", d.path, err)
	}
	for _, b := range d.above(all) {
		if b.ReceivedUUID == of.UUID || b.UUID == of.UUID {
			return nil, &jobs.HintError{
				Err:  fmt.Errorf("%s is a backup of the same snapshot, made by something else", b.Path),
				Hint: "two of them so close could be mistaken for each other: give the job another destination directory, or delete that one if nobody needs it any more",
			}
		}
		if !b.Altered && (of.Needs(b.ReceivedUUID) || of.Needs(b.UUID)) {
			n.also = append(n.also, b.UUID)
		}
	}
	return n, nil
}

var errUntrusted = errors.New("others than root can write there, or it is on another file system")

// trusted locates a directory of the destination's file system that root alone can write to.
func (d *Dir) trusted(dir string) (at btrfs.Dir, err error) {
	st, err := os.Lstat(dir)
	if err != nil {
		return at, err
	}
	sys, known := st.Sys().(*syscall.Stat_t)
	if !known || int(sys.Uid) != os.Geteuid() || st.Mode().Perm()&0o022 != 0 {
		return at, errUntrusted
	}
	if id, err := btrfs.FileSystemID(dir); err != nil || id != d.identity.FileSystem {
		return at, errors.Join(errUntrusted, err)
	}
	return btrfs.LocateDir(dir)
}
