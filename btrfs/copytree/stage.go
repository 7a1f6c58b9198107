package copytree

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// stage is a hidden directory, in a directory of the target, in which the new is made before it gets its name. It belongs to who runs the copy and is closed to
// everybody else, so that nothing in it changes by other hands, whoever may write to the directory that it lies in.
type stage struct {
	in    handle // the directory that it lies in
	name  string
	dir   handle
	links int // a directory in it, or -1: each file with several names, by the number of its inode in the source
}

const (
	stagePrefix = ".btrkeep-restore-"
	// markName is the name of a file in each stage. Only who made the directory can have put it there, so that nothing that somebody else has given the stage's name
	// is taken for one and emptied.
	markName  = ".btrkeep-restore"
	treeName  = "tree" // of what is built
	linksName = "links"
)

// stageOf gives the name of the stage of a copy: always the same, so that the next copy finds what a killed one has left, and not too long.
func stageOf(name string) string {
	hash := sha256.Sum256([]byte(name))
	return stagePrefix + hex.EncodeToString(hash[:8])
}

// addStage makes a stage in a directory, instead of one that a killed copy has left.
func (c *copier) addStage(in handle) (*stage, error) {
	if err := sweep(in, c.stageName); err != nil {
		return nil, err
	}
	s := &stage{in: handle{fd: -1}, name: c.stageName, dir: handle{fd: -1}, links: -1}
	var err error
	if s.in, err = openDir(in.fd, ".", 0); err != nil {
		return nil, err
	}
	if err = unix.Mkdirat(in.fd, s.name, 0o700); err == nil {
		if s.dir, err = openDir(in.fd, s.name, 0); err == nil {
			err = s.furnish()
		}
		if err != nil {
			_ = unix.Unlinkat(in.fd, s.name, unix.AT_REMOVEDIR) // it is empty, or stays
		}
	}
	if err != nil {
		s.close()
		return nil, err
	}
	c.stages = append(c.stages, s)
	return s, nil
}

// furnish locks and marks a new stage, once it is sure that it is the new one: who owns the directory around may have moved another one there.
func (s *stage) furnish() error {
	if err := lockOwn(s.dir.fd); err != nil {
		return err
	}
	names, err := nextNames(s.dir.fd)
	if err == nil && len(names) > 0 {
		err = errForeign
	}
	// What is made in it inherits from it, and it from the directory around.
	for _, name := range []string{"system.posix_acl_access", "system.posix_acl_default", "btrfs.compression"} {
		_ = unix.Fremovexattr(s.dir.fd, name) // of what is inherited nevertheless, nothing stays: see metadata
	}
	if err == nil {
		err = unix.Fchmod(s.dir.fd, 0o700) // an inherited ACL may have lessened that, and there may be a set-group-ID bit
	}
	if err != nil {
		return err
	}
	mark, err := unix.Openat(s.dir.fd, markName, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	return unix.Close(mark)
}

// errForeign means that what bears the name of a stage is none.
var errForeign = errors.New("it is in the way, and not btrkeep's")

// lockOwn locks a directory that is our own, and closed to all others, until it is closed or the process ends.
func lockOwn(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return errForeign
	}
	err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		return ErrBusy
	}
	return err
}

// sweep removes the stage of a copy that was killed.
func sweep(in handle, name string) error {
	dir, err := openDir(in.fd, name, 0)
	switch err {
	case nil:
	case unix.ENOENT:
		return nil
	case unix.ENOTDIR, unix.ELOOP:
		return errForeign
	default:
		return err
	}
	defer dir.close()
	if err := lockOwn(dir.fd); err != nil {
		return err
	}
	// One that was killed at once is empty.
	if err := unix.Unlinkat(in.fd, name, unix.AT_REMOVEDIR); err != unix.ENOTEMPTY {
		return err
	}
	var mark unix.Stat_t
	err = unix.Fstatat(dir.fd, markName, &mark, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT || err == nil && (mark.Mode&unix.S_IFMT != unix.S_IFREG || int(mark.Uid) != os.Geteuid()) {
		return errForeign
	}
	if err != nil {
		return err
	}
	return (&stage{in: in, name: name, dir: dir, links: -1}).remove()
}

func (s *stage) openLinks() error {
	if s.links >= 0 {
		return nil
	}
	if err := unix.Mkdirat(s.dir.fd, linksName, 0o700); err != nil {
		return err
	}
	fd, err := openat(s.dir.fd, linksName, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err == nil {
		s.links = fd
	}
	return err
}

// remove removes the stage with all that is in it, the mark last. The lock stays until it is closed.
func (s *stage) remove() error {
	if err := clearDir(s.dir.fd); err != nil {
		return err
	}
	if err := unix.Unlinkat(s.dir.fd, markName, 0); err != nil {
		return err
	}
	return unix.Unlinkat(s.in.fd, s.name, unix.AT_REMOVEDIR)
}

func (s *stage) close() {
	if s.links >= 0 {
		unix.Close(s.links)
		s.links = -1
	}
	s.in.close()
	s.dir.close()
}

// removeStage ends with a note at worst: the copy is what it is, and the next one tries again.
func (c *copier) removeStage(s *stage) {
	if s.dir.fd < 0 {
		return // it is gone already
	}
	if err := s.remove(); err != nil {
		c.note(&entry{at: &level{}}, fmt.Sprintf("a hidden directory %s could not be removed: %v", s.name, err))
	}
	s.close()
}

// clearDir removes what is in a directory of ours, but the mark of a stage. Directories in it are emptied of all but directories, which move up: so no depth needs
// more than two descriptors.
func clearDir(fd int) error {
	moved := 0
	return eachName(fd, func(name string) error {
		if name == markName {
			return nil
		}
		err := unix.Unlinkat(fd, name, 0)
		if err != unix.EISDIR {
			return err
		}
		dir, err := openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if err != nil {
			return err
		}
		defer unix.Close(dir)
		err = eachName(dir, func(inner string) error {
			err := unix.Unlinkat(dir, inner, 0)
			for err == unix.EISDIR {
				moved++
				if err = unix.Renameat(dir, inner, fd, "removed-"+strconv.Itoa(moved)); err == unix.ENOTEMPTY || err == unix.EEXIST {
					err = unix.EISDIR // left by a removal that was killed
				}
			}
			return err
		})
		if err != nil {
			return err
		}
		return unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
	})
}

// eachName calls remove for every name in a directory, over and over until only the mark is left.
func eachName(fd int, remove func(string) error) error {
	for {
		if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
			return err
		}
		found := false
		for {
			names, err := nextNames(fd)
			if err != nil {
				return err
			}
			if len(names) == 0 {
				break
			}
			for _, name := range names {
				if err := remove(name); err != nil {
					return err
				}
				found = found || name != markName
			}
		}
		if !found {
			return nil
		}
	}
}
