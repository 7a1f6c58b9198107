package jobs

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/jobs/content"
)

// A reference is what a backup is to hold.
type reference interface {
	// String is what it is, for people.
	String() string

	// compare reports in what the backup differs. When ctx ends it is cut, and gets further each time. The backup is held. It fails with an error for which isGone holds if
	// the reference went away.
	compare(ctx context.Context, b Backup, o comparison, report func(path, what string)) (compared, error)
}

// comparison is how much is compared.
type comparison struct {
	part, parts uint64          // as in [content.Options]
	after       json.RawMessage // where the same reference's comparison was cut; nil: the beginning
	priority    int
	progress    func(bytes int64)
}

// compared is what a comparison came to.
type compared struct {
	entries, files, bytes int64
	complete              bool
	after                 json.RawMessage
	path                  string // for people: where it was cut
}

// reference finds what the contents of a backup can be compared with: the snapshot, while it exists, else a copy at another destination, else what was noted when it was made.
func (v *verification) reference(p *verifiedPlace, b Backup) (reference, bool) {
	twin, known := v.twin(p, b)
	if !p.cfg.Local() {
		return nil, false // that machine has to read it
	}
	if v.source != nil && v.source.here != nil {
		for _, s := range v.source.snapshots {
			if (btrfs.SameContent(s.Subvolume, b.Subvolume) || known && s.UUID == twin.UUID) && !v.source.altered[s.UUID] {
				return tree{s.Path, s.UUID, "its snapshot"}, true
			}
		}
	}
	for _, other := range v.places {
		if other == p || other.err != nil || !other.cfg.Local() {
			continue
		}
		for _, c := range other.backups {
			if c.Complete && !c.Altered && (btrfs.SameContent(c.Subvolume, b.Subvolume) || other.madeOfSame(c, p, b)) {
				return tree{c.Path, c.UUID, "the copy at " + other.cfg.Name}, true
			}
		}
	}
	return fingerprintOf(b)
}

// madeOfSame reports that two backups were made of one snapshot by the account of both catalogs.
func (p *verifiedPlace) madeOfSame(b Backup, other *verifiedPlace, c Backup) bool {
	x, y := p.catalog[b.UUID], other.catalog[c.UUID]
	return b.Own && c.Own && x.Name == y.Name && !x.Taken.IsZero() && x.Taken.Equal(y.Taken) && x.Volume == y.Volume
}

// tree is another subvolume with what the backup is to hold.
type tree struct {
	path string
	id   btrfs.UUID
	what string
}

func (t tree) String() string { return t.what }

// treeCursor is a [content.Cursor] as it is kept: a path may be any bytes.
type treeCursor struct {
	Path   []byte `json:"path"`
	Offset int64  `json:"offset,omitempty"`
}

func (t tree) compare(ctx context.Context, b Backup, o comparison, report func(path, what string)) (compared, error) {
	release, err := btrfs.Hold(t.path, t.id)
	if err != nil {
		return compared{}, err
	}
	defer release()
	var at treeCursor
	if o.after != nil {
		if err := json.Unmarshal(o.after, &at); err != nil {
			return compared{}, fmt.Errorf("where the last verify was cut: %w", err)
		}
	}
	r, err := content.Compare(ctx, t.path, b.Path, content.Options{
		Part: o.part, Parts: o.parts, After: content.Cursor{Path: string(at.Path), Offset: at.Offset}, IOPriority: o.priority, Progress: o.progress,
	}, func(d content.Difference) { report(d.Path, d.What) })
	if err != nil {
		return compared{}, err
	}
	after, err := json.Marshal(treeCursor{[]byte(r.After.Path), r.After.Offset})
	return compared{entries: r.Entries, files: r.Files, bytes: r.Bytes, complete: r.Complete, after: after, path: r.After.Path}, err
}
