package content

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/btrfs"
)

// maxLinks bounds the files with several names that are remembered. Those beyond are compared under each of their names, and which names are one file is then
// only seen by their number.
const maxLinks = 1 << 20

// links are the files with several names of which some, but not all, were seen.
type links struct {
	want map[uint64]link   // by inode
	have map[uint64]uint64 // the other way round
}

type link struct {
	have uint64 // its inode on the other side
	left uint64 // names that were not seen yet
}

// seen reports that a file was compared under another name; if its names are not one file on both sides, that is reported, and it is compared under this one, too.
func (w *walker) seen(v visit, a, b *unix.Stat_t) bool {
	known, isKnown := w.links.want[a.Ino]
	other, otherKnown := w.links.have[b.Ino]
	switch {
	case isKnown && known.have == b.Ino:
		w.links.note(a.Ino, b.Ino, known.left-1)
		return true
	case isKnown || otherKnown && other != a.Ino:
		w.differ(v.dir, v.name, "is not one file with its other names")
		return false
	}
	before, same := 0, true
	if w.o.After.Path != "" && !v.done {
		before, same = w.before(a, b)
	}
	if !same {
		w.differ(v.dir, v.name, "is not one file with its other names")
		return false
	}
	w.links.note(a.Ino, b.Ino, uint64(max(0, int(a.Nlink)-1-before)))
	return before > 0
}

// before counts the names under which a file was compared before this comparison went on: the kernel knows them all. The two are not the same if they have such names, but
// none in common. If the kernel does not tell, the file is compared again.
func (w *walker) before(a, b *unix.Stat_t) (n int, same bool) {
	var names [2][]string
	for side, inode := range [2]uint64{a.Ino, b.Ino} {
		all, err := btrfs.Names(w.roots[side], inode)
		if err != nil {
			return 0, true
		}
		names[side] = slices.DeleteFunc(all, func(name string) bool { return !w.o.After.before(name) })
	}
	if len(names[want])+len(names[have]) == 0 {
		return 0, true
	}
	slices.Sort(names[have])
	same = slices.ContainsFunc(names[want], func(name string) bool {
		_, found := slices.BinarySearch(names[have], name)
		return found
	})
	return len(names[want]), same
}

// note remembers a file while some of its names are to come.
func (l *links) note(a, b, left uint64) {
	switch {
	case left == 0:
		delete(l.want, a)
		delete(l.have, b)
	case l.want == nil:
		l.want, l.have = map[uint64]link{a: {b, left}}, map[uint64]uint64{b: a}
	case len(l.want) < maxLinks || l.want[a].left > 0:
		l.want[a], l.have[b] = link{b, left}, a
	}
}
