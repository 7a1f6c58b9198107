// Package catalog is the list of the subvolumes that btrkeep has made in a directory.
//
// It lies in that directory, so that it moves with the disk, and it is what tells btrkeep's own snapshots and backups from those of
// other tools and people: only what is in the catalog by UUID is ever deleted. If it is lost, nothing is deleted
// any more, and all that is there is taken for that of others.
//
// Nothing here calls fsync(2), for which see [btrfs.WriteOut]: what is written is durable with the next commit of the file system, and not without what was done before it.
//
// A pin is in the entry: so it is kept by UUID, survives that the job is renamed, and is honoured wherever the disk is attached. An extended attribute of the
// subvolume would have to be set before that turns read-only and could not change later, and read-only is never flipped.
package catalog

//go:generate go tool -modfile=../../tools/go.mod easyjson -no_std_marshalers -output_filename decode_gen.go catalog.go

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mailru/easyjson"
	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/internal/atomicfile"
)

// File is the catalog's name in its directory.
const File = ".btrkeep.catalog"

// Entry is one subvolume that btrkeep made (or adopted).
//
//easyjson:json
type Entry struct {
	UUID     btrfs.UUID `json:"uuid"`               // of the subvolume here
	Name     string     `json:"name"`               // when it was made: for people only
	Taken    time.Time  `json:"taken"`              // when the snapshot was taken at the source
	Ctransid uint64     `json:"ctransid,omitempty"` // once everything was on the disk: a later one means that somebody has written into it
	Pinned   string     `json:"pinned,omitempty"`   // why it is never pruned; empty: it is not pinned
	Adhoc    bool       `json:"adhoc,omitempty"`    // a snapshot that `btrkeep backup` made
	Source   string     `json:"source,omitempty"`   // of a backup: machine and path of the source
	Volume   btrfs.UUID `json:"volume,omitzero"`    // of a backup, or of a snapshot that came with a restoration: the source subvolume

	Checkpoint *sendstream.Checkpoint `json:"checkpoint,omitempty"` // of a half-received backup: how far it is
}

// Catalog is the content of one catalog file.
type Catalog map[btrfs.UUID]Entry

// Read reads the catalog of dir; a missing one is empty. Lines that do not parse (a power cut) are left out.
func Read(dir string) (Catalog, error) {
	f, err := open(dir, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return Catalog{}, nil
	} else if err != nil {
		return nil, fmt.Errorf("read catalog: %w", err)
	}
	defer f.Close()
	var text bytes.Buffer
	if st, err := f.Stat(); err == nil {
		text.Grow(int(st.Size()) + bytes.MinRead)
	}
	if _, err := text.ReadFrom(f); err != nil {
		return nil, fmt.Errorf("read catalog: %w", err)
	}
	c := make(Catalog, bytes.Count(text.Bytes(), []byte("}\n")))
	for line := range bytes.Lines(text.Bytes()) {
		if len(line) == 1 { // between two calls of Add
			continue
		}
		var e Entry
		if easyjson.Unmarshal(line, &e) == nil && !e.UUID.IsZero() {
			c[e.UUID] = e
		}
	}
	return c, nil
}

// Add appends entries; the next [btrfs.Commit] makes them durable. The caller holds the lock of the directory.
func Add(dir string, entries ...Entry) error {
	f, err := open(dir, os.O_RDWR|os.O_CREATE|os.O_APPEND)
	if err != nil {
		return fmt.Errorf("write catalog: %w", err)
	}
	defer f.Close()
	// A leading newline ends the half line that a power cut may have left.
	text := append([]byte{'\n'}, encode(entries)...)
	if _, err := f.Write(text); err != nil {
		return fmt.Errorf("write catalog: %w", err)
	}
	if err := btrfs.WriteOut(f); err != nil {
		return fmt.Errorf("write catalog: %w", err)
	}
	return nil
}

// Forget rewrites the catalog without the entries for which gone is true. The caller holds the lock of the directory. An entry too many does no
// harm: it names a subvolume that does not exist. So it does not wait until that is durable.
func Forget(dir string, gone func(btrfs.UUID) bool) error {
	c, err := Read(dir)
	if err != nil {
		return err
	}
	n := len(c)
	maps.DeleteFunc(c, func(id btrfs.UUID, _ Entry) bool { return gone(id) })
	if len(c) == n {
		return nil
	}
	return c.replace(dir)
}

// Replace puts an entry in the place of the one of another subvolume, if there is one: after a power cut there is one or the other. The caller holds the lock of the directory.
func Replace(dir string, old btrfs.UUID, e Entry) error {
	c, err := Read(dir)
	if err != nil {
		return err
	}
	delete(c, old)
	c[e.UUID] = e
	return c.write(dir)
}

// Pin sets why a subvolume is never pruned; an empty reason takes the pin away. It is false for one that has no entry and so is never deleted anyway, and for a
// checkpoint: neither is written, since an entry would make the subvolume btrkeep's own. After a power cut there is the old catalog or the new one. The caller holds the lock of the
// directory.
func Pin(dir string, id btrfs.UUID, reason string) (bool, error) {
	c, err := Read(dir)
	if err != nil {
		return false, err
	}
	e, known := c[id]
	if !known || e.Checkpoint != nil {
		return false, nil
	}
	if e.Pinned == reason {
		return true, nil
	}
	e.Pinned = reason
	c[id] = e
	return true, c.write(dir)
}

// SetVolume notes with the subvolumes of a directory that are wanted that they are of another source subvolume now: one that was restored descends from only one of them. The caller holds the
// lock of the directory.
func SetVolume(dir string, volume btrfs.UUID, wanted func(Entry) bool) error {
	c, err := Read(dir)
	if err != nil {
		return err
	}
	for id, e := range c {
		if wanted(e) {
			e.Volume = volume
			c[id] = e
		}
	}
	return c.write(dir)
}

// write replaces the catalog's file, durably.
func (c Catalog) write(dir string) error {
	if err := c.replace(dir); err != nil {
		return err
	}
	if err := btrfs.Commit(dir); err != nil {
		return fmt.Errorf("write catalog: %w", err)
	}
	return nil
}

// replace replaces the catalog's file; the next commit makes that durable. After a power cut there is the old one or the new one.
func (c Catalog) replace(dir string) error {
	entries := slices.SortedFunc(maps.Values(c), func(a, b Entry) int { return a.Taken.Compare(b.Taken) })
	if err := atomicfile.ReplaceAfter(filepath.Join(dir, File), encode(entries), btrfs.WriteOut); err != nil {
		return fmt.Errorf("write catalog: %w", err)
	}
	return nil
}

func encode(entries []Entry) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, e := range entries {
		_ = enc.Encode(e) // a struct of plain values always encodes
	}
	return b.Bytes()
}

func open(dir string, flags int) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, File), flags|unix.O_NOFOLLOW|unix.O_NOATIME|unix.O_NONBLOCK, 0o600)
}
