package testdisk

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxDiffs is how many differences [Compare] returns before it gives up.
const maxDiffs = 20

// Compare returns in what b is not the backup of a that btrfs send can make:
// names, types, modes, owners, sizes, times of modification, xattrs, which
// names are one file, device numbers, link targets, content, and data that
// became a hole. Nested subvolumes, and the stubs of them that a snapshot has,
// are left out on both sides. It returns at most 20 differences.
//
// Two things that an incremental send does not carry are no difference: a hole
// or preallocated range made in a file that existed before arrives as zeros,
// and the time of the root directory is that of the receiving when new files
// passed through it under temporary names. See [CompareExact].
//
// An error is that of the system, such as a block that cannot be read.
func Compare(a, b string) (diffs []string, err error) { return compare(a, b, false) }

// CompareExact is [Compare] with all holes, and the time of the root directory.
// A full send carries those, too.
func CompareExact(a, b string) (diffs []string, err error) { return compare(a, b, true) }

// Twins compares subvolumes that two receivers have made of the same streams, each on a file system of its own: all that [CompareExact] sees, the
// rest of what stat(2) shows but the times of change and creation, and how the extents lie: holes, preallocated ranges, data in the inode, compressed
// extents, which blocks are shared with which, and whether FIEMAP calls them shared. What was
// written must be on the disk.
//
// Sharing is seen within a subvolume and with those that were compared before it.
type Twins struct {
	// Resumed leaves out what FIEMAP calls shared. Of what goes on with a checkpoint, everything is as long as that is there; and once it is gone, the kernel calls some extents
	// unshared that several files of the subvolume have, as the trees show.
	Resumed bool

	// Known, if there is one, reports whether a difference is left out. It gets them one by one, those of a path in a row.
	Known func(diff string) bool

	layouts [2]layouts
}

// Compare returns at most 20 differences between what the two made.
func (t *Twins) Compare(a, b string) (diffs []string, err error) {
	return compareWith(a, b, comparison{content: content{exact: true}, twins: t})
}

func compare(a, b string, exact bool) (diffs []string, err error) {
	return compareWith(a, b, comparison{content: content{exact: exact}})
}

func compareWith(a, b string, c comparison) (diffs []string, err error) {
	rootA, err := openTree(a)
	if err != nil {
		return nil, err
	}
	defer rootA.Close()
	rootB, err := openTree(b)
	if err != nil {
		return nil, err
	}
	defer rootB.Close()
	c.aToB, c.bToA = map[uint64]uint64{}, map[uint64]uint64{}
	err = c.entries(entry{rootA, "."}, entry{rootB, "."}, ".")
	if errors.Is(err, errEnough) {
		err = nil
	}
	return c.diffs, err
}

// errEnough ends a comparison early.
var errEnough = errors.New("enough differences")

type comparison struct {
	diffs []string
	// Which inode of b an inode of a is, and the reverse, of files with several names.
	aToB, bToA map[uint64]uint64
	content    content
	twins      *Twins // nil: only what a backup carries
}

func (c *comparison) differ(path, format string, args ...any) error {
	diff := fmt.Sprintf("%q: %s", path, fmt.Sprintf(format, args...))
	if c.twins != nil && c.twins.Known != nil && c.twins.Known(diff) {
		return nil
	}
	c.diffs = append(c.diffs, diff)
	if len(c.diffs) >= maxDiffs {
		return errEnough
	}
	return nil
}

func (c *comparison) entries(a, b entry, path string) error {
	fa, err := a.facts()
	if err != nil {
		return err
	}
	fb, err := b.facts()
	if err != nil {
		return err
	}
	if path == "." && !c.content.exact {
		fb.mtime = fa.mtime
	}
	found := fa.differences(fb)
	if c.twins != nil && fa.record != fb.record {
		found = append(found, fmt.Sprintf("inode, links, bytes, blocks, atime: %v, %v", fa.record, fb.record))
	}
	for _, diff := range found {
		if err := c.differ(path, "%s", diff); err != nil {
			return err
		}
	}
	if (fa.mode^fb.mode)&unix.S_IFMT != 0 {
		return nil
	}
	if !fa.isDir() && (fa.linked || fb.linked) {
		seen := c.bToA[fb.inode] == fa.inode && c.aToB[fa.inode] == fb.inode
		if !seen && (c.bToA[fb.inode] != 0 || c.aToB[fa.inode] != 0) {
			if err := c.differ(path, "hard links: it shares its inode with other names"); err != nil {
				return err
			}
		}
		c.aToB[fa.inode], c.bToA[fb.inode] = fb.inode, fa.inode
		if seen {
			return nil // compared under its first name
		}
	}
	switch {
	case fa.isDir():
		return c.dirs(a, b, path)
	case fa.mode&unix.S_IFMT == unix.S_IFREG && fa.size == fb.size:
		return c.files(a, b, path, fa.size)
	}
	return nil
}

func (c *comparison) dirs(a, b entry, path string) error {
	dirA, namesA, err := list(a)
	if err != nil {
		return err
	}
	defer dirA.Close()
	dirB, namesB, err := list(b)
	if err != nil {
		return err
	}
	defer dirB.Close()
	for len(namesA) > 0 || len(namesB) > 0 {
		switch {
		case len(namesB) == 0 || len(namesA) > 0 && namesA[0] < namesB[0]:
			err = c.differ(path+"/"+namesA[0], "only in the first tree")
			namesA = namesA[1:]
		case len(namesA) == 0 || namesB[0] < namesA[0]:
			err = c.differ(path+"/"+namesB[0], "only in the second tree")
			namesB = namesB[1:]
		default:
			name := namesA[0]
			err = c.entries(entry{dirA, name}, entry{dirB, name}, path+"/"+name)
			namesA, namesB = namesA[1:], namesB[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) files(a, b entry, path string, size int64) error {
	if size == 0 && c.twins == nil {
		return nil
	}
	fileA, err := a.open(0)
	if err != nil {
		return err
	}
	defer fileA.Close()
	fileB, err := b.open(0)
	if err != nil {
		return err
	}
	defer fileB.Close()
	diffs, err := c.content.compare(fileA, fileB, size)
	if err == nil && c.twins != nil {
		var diff string
		if diff, err = c.twins.extents(fileA, fileB); diff != "" {
			diffs = append(diffs, diff)
		}
	}
	if err != nil {
		return err
	}
	for _, diff := range diffs {
		if err := c.differ(path, "%s", diff); err != nil {
			return err
		}
	}
	return nil
}
