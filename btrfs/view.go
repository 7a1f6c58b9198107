package btrfs

import (
	"slices"
	"sync"
)

// A View is what is there at one moment, for those that look at many places and change nothing: each file system is listed once, however many of its directories are asked for, and the table of
// mounts is read once. The moment is that of the first question about each. The zero value has asked nothing yet; a nil View looks anew each time. It may be used by several goroutines.
type View struct {
	mu     sync.Mutex
	lists  map[UUID]func() (*Listing, error)
	mounts []mount // nil: not read yet
}

// List is [List] of the file system that holds path.
func (v *View) List(path string) (*Listing, error) {
	list := func() (*Listing, error) {
		all, err := List(path)
		return &Listing{All: all}, err
	}
	if v == nil {
		return list()
	}
	id, err := FileSystemID(path)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	if v.lists == nil {
		v.lists = map[UUID]func() (*Listing, error){}
	}
	once, known := v.lists[id]
	if !known {
		once = sync.OnceValues(list)
		v.lists[id] = once
	}
	v.mu.Unlock()
	return once()
}

// Stat is [Stat].
func (v *View) Stat(path string) (FileSystem, error) {
	if v == nil {
		return Stat(path)
	}
	return stat(path, v.mountPoint)
}

// IsMountPoint is [IsMountPoint].
func (v *View) IsMountPoint(path string) (bool, error) {
	if v == nil {
		return IsMountPoint(path)
	}
	all, err := v.table(func(all []mount) bool { return isMountPoint(all, path) })
	return isMountPoint(all, path), err
}

func (v *View) mountPoint(fd int) (string, error) {
	id, err := mountID(fd)
	if err != nil {
		return "", err
	}
	find := func(all []mount) int { return slices.IndexFunc(all, func(m mount) bool { return m.id == id }) }
	all, err := v.table(func(all []mount) bool { return find(all) >= 0 })
	if i := find(all); i >= 0 {
		return all[i].point, nil
	}
	return "/", err
}

// table is the table of mounts; anew if it does not have what is looked for: the first access makes an automounter mount a disk.
func (v *View) table(has func([]mount) bool) ([]mount, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.mounts != nil && has(v.mounts) {
		return v.mounts, nil
	}
	all, err := mounts()
	if err == nil {
		v.mounts = all
	}
	return all, err
}

// A Listing is what [List] gave, and finds what is where. It is not changed any more and may be shared.
type Listing struct {
	All []Subvolume

	// Each is made when it is needed first.
	byDir    index[Dir, []Subvolume]
	byParent index[uint64, []Subvolume]
	byUUID   index[UUID, int]
}

// In are the subvolumes directly in a directory, ordered by ID.
func (l *Listing) In(d Dir) []Subvolume {
	return l.byDir.get(func() map[Dir][]Subvolume {
		return grouped(l.All, func(s *Subvolume) Dir { return Dir{SubvolumeID: s.ParentID, Inode: s.DirID} })
	})[d]
}

// Inside are the subvolumes whose entries lie in the subvolume id, in whatever directory, ordered by ID.
func (l *Listing) Inside(id uint64) []Subvolume {
	return l.byParent.get(func() map[uint64][]Subvolume {
		return grouped(l.All, func(s *Subvolume) uint64 { return s.ParentID })
	})[id]
}

// Find finds a subvolume by its UUID.
func (l *Listing) Find(id UUID) (Subvolume, bool) {
	i, ok := l.byUUID.get(func() map[UUID]int {
		found := make(map[UUID]int, len(l.All))
		for i := range l.All {
			found[l.All[i].UUID] = i
		}
		return found
	})[id]
	if !ok {
		return Subvolume{}, false
	}
	return l.All[i], true
}

type index[K comparable, V any] struct {
	once  sync.Once
	found map[K]V
}

func (x *index[K, V]) get(find func() map[K]V) map[K]V {
	x.once.Do(func() { x.found = find() })
	return x.found
}

// grouped gives those of each key, in their order. All are in one piece of memory.
func grouped[K comparable](all []Subvolume, key func(*Subvolume) K) map[K][]Subvolume {
	counts := map[K]int{}
	for i := range all {
		counts[key(&all[i])]++
	}
	found, memory := make(map[K][]Subvolume, len(counts)), make([]Subvolume, len(all))
	for k, n := range counts {
		found[k], memory = memory[:0:n], memory[n:]
	}
	for i := range all {
		k := key(&all[i])
		found[k] = append(found[k], all[i])
	}
	return found
}
