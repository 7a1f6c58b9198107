package diff

import (
	"bytes"
	"slices"
	"strings"

	"github.com/btrkeep/btrkeep/btrfs"
)

// net compares where everything was with where it is.
func (p *picture) net(after tree) ([]Change, error) {
	var outcomes []outcome
	stirred := map[*inode]bool{} // directories whose entries have changed
	for _, n := range p.inodes {
		if err := p.findNames(n, after); err != nil {
			return nil, err
		}
		o, err := n.outcome()
		if err != nil {
			return nil, err
		}
		for _, e := range slices.Concat(o.gone, o.came) {
			stirred[e.dir] = true
		}
		outcomes = append(outcomes, o)
	}
	var all []finding
	for _, o := range outcomes {
		metadata, err := p.metadataOf(o, after)
		if err != nil {
			return nil, err
		}
		for _, c := range o.changes(metadata, stirred[o.inode]) {
			all = append(all, finding{c, o.inode})
		}
	}
	return merge(all), nil
}

// findNames looks for names that the stream has not spoken of: whatever happens to a file shows under each of its names.
func (p *picture) findNames(n *inode, after tree) error {
	if n.old == nil || n.typ == Directory || n.old.names == 1 || !n.content() && n.capability == nil && len(n.metadata(n.old)) == 0 {
		return nil
	}
	known := 0
	for _, e := range n.names {
		if e.was.dir != nil {
			known++
		}
	}
	if known == int(n.old.names) {
		return nil
	}
	paths, err := btrfs.Names(after.path, n.old.inode)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if _, err := p.find(path); err != nil {
			return err
		}
	}
	return nil
}

// metadataOf is what of an old inode's metadata is different now. Two things that the stream says need not be changes.
func (p *picture) metadataOf(o outcome, after tree) ([]string, error) {
	now := slices.Concat(o.stay, o.came)
	if o.old == nil || len(now) == 0 {
		return nil, nil
	}
	was, is := slices.Concat(o.stay, o.gone)[0].was, now[0].path
	if o.capability != nil {
		value, err := p.before.xattr(was, capability)
		if err != nil {
			return nil, err
		}
		o.xattr = o.xattr || !bytes.Equal(value, o.capability)
	}
	if o.fileattrs { // the kernel's own, of which only some are of interest to anybody else
		a, err := p.before.attributes(was)
		if err != nil {
			return nil, err
		}
		b, err := after.attributes(is)
		if err != nil {
			return nil, err
		}
		o.fileattrs = a != b
	}
	return o.metadata(o.old), nil
}

// outcome is what became of the names of one inode, each list sorted.
type outcome struct {
	*inode
	stay       []named // it has had them and has them
	gone, came []named // it only had them; it only has them
}

// named is a place with its path: in the newer snapshot, for those that are gone in the older. was is the path in the older one.
type named struct {
	place
	path, was string
}

func (n *inode) outcome() (o outcome, err error) {
	o.inode = n
	was, is := make(map[place]bool, len(n.names)), make(map[place]bool, len(n.names))
	for _, e := range n.names {
		was[e.was], is[e.is] = true, true
	}
	for _, e := range n.names {
		if e.was.dir != nil {
			at := named{place: e.was}
			if at.was, err = e.was.oldPath(); err != nil {
				return o, err
			}
			if !is[e.was] {
				at.path = at.was
				o.gone = append(o.gone, at)
			} else {
				if at.path, err = e.was.nowPath(); err != nil {
					return o, err
				}
				o.stay = append(o.stay, at)
			}
		}
		if e.is.dir != nil && !was[e.is] {
			at := named{place: e.is}
			if at.path, err = e.is.nowPath(); err != nil {
				return o, err
			}
			o.came = append(o.came, at)
		}
	}
	for _, list := range [][]named{o.stay, o.gone, o.came} {
		slices.SortFunc(list, func(a, b named) int { return strings.Compare(a.path, b.path) })
	}
	return o, nil
}

// changes tells the outcome path by path. stirred is a directory whose entries have changed, and its time with them.
func (o outcome) changes(metadata []string, stirred bool) []Change {
	implied := stirred && onlyTime(metadata)
	if stirred && !implied {
		metadata = slices.DeleteFunc(metadata, func(m string) bool { return m == "time" })
	}
	base := Change{Type: o.typ, Written: o.written, Cloned: o.cloned, Content: o.content(), Metadata: metadata}
	if o.typ == File {
		base.Size = o.now.size
		if o.old != nil {
			base.OldSize = o.old.size
		}
	}
	var found []Change
	add := func(kind Kind, path, from string) {
		c := base
		c.Kind, c.Path, c.From = kind, path, from
		found = append(found, c)
	}
	for _, at := range o.stay {
		switch {
		case base.Content:
			add(Modified, at.path, at.was)
		case len(metadata) > 0:
			add(Metadata, at.path, at.was)
			found[len(found)-1].Implied = implied
		}
	}
	moved := min(len(o.gone), len(o.came))
	for i := range moved {
		add(Renamed, o.came[i].path, o.gone[i].was)
		if implied {
			found[len(found)-1].Metadata = nil
		}
	}
	for _, at := range o.gone[moved:] {
		found = append(found, Change{Kind: Deleted, Path: at.was, Type: o.typ, Size: base.OldSize})
	}
	for i, at := range o.came[moved:] {
		c := Change{Kind: Added, Path: at.path, Type: o.typ, Size: base.Size}
		switch {
		case i > 0 || moved > 0:
			c.Link = o.came[0].path
		case len(o.stay) > 0:
			c.Link = o.stay[0].path
		default:
			c.Content, c.Written, c.Cloned = base.Content, o.written, o.cloned
		}
		found = append(found, c)
	}
	return found
}

// finding is a change and what it is about.
type finding struct {
	Change
	of *inode
}

// merge makes one change of a file that has gone and another one of its type that has come at the same path, and sorts.
func merge(all []finding) []Change {
	// A path has one that is deleted there at most, and one other: first the one that has gone.
	slices.SortFunc(all, func(a, b finding) int {
		order := strings.Compare(a.Path, b.Path)
		if order == 0 && a.Kind == Deleted {
			return -1
		}
		if order == 0 && b.Kind == Deleted {
			return 1
		}
		return order
	})
	var merged []Change
	for i, f := range all {
		if i > 0 && f.replaces(all[i-1]) {
			merged[len(merged)-1] = replacement(all[i-1], f)
		} else {
			merged = append(merged, f.Change)
		}
	}
	return merged
}

func (f finding) replaces(gone finding) bool {
	return gone.Kind == Deleted && f.Kind == Added && f.Path == gone.Path && f.Type == gone.Type
}

// replacement is a change of the path rather than of a file.
func replacement(gone, came finding) Change {
	c := came.Change
	c.Kind, c.From, c.Replaced, c.OldSize = Modified, c.Path, true, gone.Size
	if came.of.isNew {
		// Of the xattrs and flags of the one that has gone nothing is known here.
		c.Metadata = slices.DeleteFunc(came.of.metadata(gone.of.old), func(m string) bool { return m == "xattr" || m == "flags" })
	}
	if c.Type == Directory { // its entries are changes of their own
		c.Kind, c.Implied = Metadata, len(c.Metadata) == 0 || onlyTime(c.Metadata)
	} else {
		c.Content = true
	}
	return c
}
