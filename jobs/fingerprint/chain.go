package fingerprint

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/internal/atomicfile"
)

const (
	// maxChain is of how many files a fingerprint may consist.
	maxChain = 16

	whole     = ".fingerprint"
	forgotten = ".base" // its backup is gone, others build on it
)

func (s Store) path(id btrfs.UUID, suffix string) string {
	return filepath.Join(s.Dir, id.String()+suffix)
}

// chain is a fingerprint and what it builds on, the newest first.
type chain []*reader

func (c chain) close() {
	for _, r := range c {
		r.file.Close()
	}
}

// outweighed reports whether the deltas have become larger than what they are to.
func (c chain) outweighed() bool {
	deltas := uint64(0)
	for _, r := range c[:len(c)-1] {
		deltas += r.BodyLength
	}
	return deltas > c[len(c)-1].BodyLength
}

// check reads all files and makes sure that they are as they were written.
func (c chain) check() error {
	for _, r := range c {
		if err := r.check(); err != nil {
			return err
		}
	}
	return nil
}

// open opens the fingerprint of a backup and all that it builds on. Only headers are read.
func (s Store) open(id btrfs.UUID) (chain, error) {
	first, err := open(s.path(id, whole), id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("backup %s: %w", id, ErrNone)
	}
	if err != nil {
		return nil, err
	}
	c := chain{first}
	for at := first; !at.Base.IsZero(); at = c[len(c)-1] {
		next, err := s.openBase(at)
		if err != nil {
			c.close()
			return nil, err
		}
		c = append(c, next)
	}
	return c, nil
}

func (s Store) openBase(of *reader) (*reader, error) {
	next, err := open(s.path(of.Base, whole), of.Base)
	if errors.Is(err, fs.ErrNotExist) {
		next, err = open(s.path(of.Base, forgotten), of.Base)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s: that of backup %s, which it builds on, is missing", ErrDamaged, of.file.Name(), of.Base)
	case err == nil && next.Depth >= of.Depth: // it can also be less: a base may have been written whole since
		next.file.Close()
		return nil, fmt.Errorf("%w: %s: it builds on more than it was made of", ErrDamaged, of.file.Name())
	}
	return next, err
}

// Has reports whether there is a fingerprint of a backup; whether it is whole, only its use tells.
func (s Store) Has(id btrfs.UUID) bool {
	_, err := os.Lstat(s.path(id, whole))
	return err == nil
}

// Exists reports whether fingerprints were ever kept here.
func (s Store) Exists() bool {
	_, err := os.Lstat(s.Dir)
	return err == nil
}

// Root is one hash over all that the fingerprint of a backup says. Those of two backups of one chain are the same if, and only if, these hold the same.
func (s Store) Root(id btrfs.UUID) ([sha256.Size]byte, error) {
	c, err := s.open(id)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	defer c.close()
	if err := c.check(); err != nil {
		return [sha256.Size]byte{}, err
	}
	m, err := merge(c)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	return m.root()
}

// List gives the backups that there are fingerprints of.
func (s Store) List() ([]btrfs.UUID, error) { return s.names(whole) }

// names gives the backups for which there is a file with a suffix.
func (s Store) names(suffix string) ([]btrfs.UUID, error) {
	entries, err := os.ReadDir(s.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var ids []btrfs.UUID
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if id, err := btrfs.ParseUUID(name); ok && err == nil && !id.IsZero() {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Forget removes the fingerprints of backups that are gone. What others build on stays until these are gone, too. There need not be any.
func (s Store) Forget(backups ...btrfs.UUID) error {
	for _, id := range backups {
		if err := s.forget(id); err != nil {
			return fmt.Errorf("forget the fingerprint of backup %s: %w", id, err)
		}
	}
	if err := s.sweep(); err != nil {
		return fmt.Errorf("remove fingerprints that nothing builds on: %w", err)
	}
	return nil
}

func (s Store) forget(id btrfs.UUID) error {
	for _, suffix := range []string{whole, forgotten} { // what a kill left
		if err := os.Remove(s.path(id, suffix+atomicfile.Suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	err := os.Rename(s.path(id, whole), s.path(id, forgotten))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sweep removes forgotten fingerprints that nothing builds on.
func (s Store) sweep() error {
	bases, err := s.names(forgotten)
	if err != nil || len(bases) == 0 {
		return err
	}
	kept, err := s.List()
	if err != nil {
		return err
	}
	needed := map[btrfs.UUID]bool{}
	for _, id := range kept {
		c, err := s.open(id)
		if errors.Is(err, ErrDamaged) {
			return nil // what it builds on is not known
		}
		if err != nil {
			return err
		}
		for _, r := range c[1:] {
			needed[r.Backup] = true
		}
		c.close()
	}
	for _, id := range bases {
		if !needed[id] {
			if err := os.Remove(s.path(id, forgotten)); err != nil {
				return err
			}
		}
	}
	return btrfs.Commit(s.Dir)
}
