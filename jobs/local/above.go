package local

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/catalog"
)

// above finds backups in the directories above the destination directory, up to its mount point: another tool may have kept those of several subvolumes in one directory, of
// which each job now has a directory below.
//
// Who can write there could put another directory in the destination's place, so they are as trustworthy as it. Where others than root can write, nothing is looked for any
// more: with a received UUID of their choice they could pass off anything as a parent. Streams from other machines are confined to the directory itself.
//
// Whatever cannot be looked at ends the search: it is for a better parent only, and no reason for a run to fail.
func (d *Dir) above(all *btrfs.Listing) (found []jobs.Backup) {
	if n, ok := d.opener.Receiver.(Native); ok && n.Confined {
		return nil
	}
	up := ""
	for dir := d.path; dir != d.identity.MountPoint && dir != "/"; {
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
			e := cat[s.UUID]
			if e.Source != "" && !strings.HasPrefix(e.Source, jobs.Machine()+":") { // another machine chose its UUIDs
				continue
			}
			b := jobs.Backup{Subvolume: s, Path: filepath.Join(dir, s.Name), Taken: s.Created, Complete: true, Altered: e.Ctransid != 0 && e.Ctransid != s.Ctransid}
			b.Name = up + s.Name
			found = append(found, b)
		}
	}
	return found
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
