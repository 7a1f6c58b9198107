package jobs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
)

// Results of a mark; ResultFailed, ResultAbsent and ResultBusy are others.
const (
	ResultPinned    = "pinned"
	ResultUnpinned  = "unpinned"
	ResultUnchanged = "unchanged" // it was so already
	ResultForeign   = "foreign"   // not made by btrkeep, which never deletes it: nothing was noted
)

// Pin says what is pinned, or no longer.
type Pin struct {
	What   string // the name of a snapshot, or the path of a snapshot or backup
	Where  string // only there: AtSource, or a destination; "": everywhere
	Reason string // "": the one it has, or else a text with the date
	Remove bool
	Clock  Clock
}

// Mark is what became of one snapshot or backup that a Pin is about, or of a place where it could not be looked for: an element of `pin --json`. Fields are
// only ever added.
type Mark struct {
	Job    string     `json:"job"`
	Where  string     `json:"where"` // AtSource, or a destination
	Name   string     `json:"name"`  // empty if it was not looked for
	Path   string     `json:"path"`
	UUID   btrfs.UUID `json:"uuid"`
	Pinned bool       `json:"pinned"` // now
	Reason string     `json:"pin_reason,omitempty"`
	Result string     `json:"result"`
	Error  string     `json:"error,omitempty"`
	Hint   string     `json:"hint,omitempty"`
}

// PinText is a pin with its reason, in words; "" for none.
func PinText(reason string) string {
	if reason == "" || strings.HasPrefix(reason, pinnedOn) {
		return reason
	}
	return "pinned: " + reason
}

// pinnedOn begins the reason of a pin for which none was given.
const pinnedOn = "pinned "

// reason is the one to note with what has the reason old.
func (p Pin) reason(old string, zone *time.Location) string {
	switch {
	case p.Remove:
		return ""
	case p.Reason != "":
		return p.Reason
	case old != "":
		return old
	}
	return pinnedOn + p.Clock.Wall.In(zone).Format(time.DateOnly)
}

// matcher is true for the name and path of what is meant. A path means the one subvolume there, however it is reached.
func (p Pin) matcher() (func(name, path string) bool, error) {
	if !strings.ContainsRune(p.What, filepath.Separator) {
		return func(name, _ string) bool { return name == p.What }, nil
	}
	there, err := os.Stat(p.What)
	if err != nil {
		return nil, err
	}
	return func(_, path string) bool {
		st, err := os.Stat(path)
		return err == nil && os.SameFile(st, there)
	}, nil
}

// Has reports whether a job has what the Pin is about; sure is false if it has not, but there is a place where one cannot look now.
func (r *Runner) Has(ctx context.Context, job config.Job, p Pin) (has, sure bool, err error) {
	is, err := p.matcher()
	if err != nil {
		return false, false, err
	}
	l := r.List(ctx, job)
	sure = l.Error == ""
	has = p.at(AtSource) && slices.ContainsFunc(l.Snapshots, func(s ListedSnapshot) bool { return is(s.Name, s.Path) })
	for _, d := range l.Destinations {
		if p.at(d.Name) {
			has = has || slices.ContainsFunc(d.Backups, func(b ListedBackup) bool { return is(b.Name, b.Path) })
			sure = sure && d.State == StatePresent
		}
	}
	return has, has || sure, nil
}

func (p Pin) at(where string) bool { return p.Where == "" || p.Where == where }

// Pin sets and takes away pins of one job's snapshots and backups, and tells of each what became of it. What cannot be reached, or is locked by a run, does not keep
// the rest. No marks mean that there is nothing of that name.
func (r *Runner) Pin(ctx context.Context, job config.Job, p Pin) ([]Mark, error) {
	is, err := p.matcher()
	if err != nil {
		return nil, err
	}
	n := pinning{Runner: r, job: job, pin: p, is: is, holder: Holder{PID: os.Getpid(), Job: job.Name, Since: p.Clock.Wall}, marks: []Mark{}}
	src, err := r.openSource(ctx, job)
	defer src.close()
	if !p.at(AtSource) {
	} else if err != nil {
		n.failed(AtSource, err)
	} else {
		// Held to the end, so that no run prunes a backup between the one pin and the other.
		defer n.source(ctx, src)()
	}
	for _, d := range job.Destinations {
		if p.at(d.Name) {
			n.destination(ctx, src, d)
		}
	}
	return n.marks, nil
}

// pinning is one Pin under way.
type pinning struct {
	*Runner
	job    config.Job
	pin    Pin
	is     func(name, path string) bool
	holder Holder
	marks  []Mark
}

// pinnable is a snapshot or backup that is meant.
type pinnable struct {
	btrfs.Subvolume
	path, reason string
	note         func(reason string) error // Errors wrap ErrForeign.
}

func (n *pinning) source(ctx context.Context, src *source) (unlock func()) {
	return n.place(AtSource, func() (meant []pinnable, err error) {
		if err := src.refresh(ctx); err != nil {
			return nil, err
		}
		for _, s := range src.snapshots {
			meant = append(meant, pinnable{s.Subvolume, s.Path, s.PinReason, func(reason string) error {
				known, err := src.origin.Pin(ctx, s.UUID, reason)
				if err == nil && !known {
					err = ErrForeign
				}
				return err
			}})
		}
		return meant, nil
	}, func() (func(), error) {
		first, err := lockJob(n.Config, n.job, n.holder)
		if err != nil {
			return nil, err
		}
		second, err := src.origin.Lock(ctx, n.holder)
		if err != nil {
			first()
			return nil, err
		}
		return func() { second(); first() }, nil
	})
}

func (n *pinning) destination(ctx context.Context, src *source, d config.Destination) {
	state, _ := LoadState(n.Config.StateDir, n.job) // only where the destination was last
	last := state.Destinations[d.URL]
	dest, err := n.open(ctx, src, n.job, d, last)
	if err != nil {
		n.failed(d.Name, err)
		return
	}
	defer dest.Close()
	n.place(d.Name, func() (meant []pinnable, err error) {
		there, err := dest.List(ctx)
		for _, b := range there.Backups {
			meant = append(meant, pinnable{b.Subvolume, b.Path, b.PinReason, func(reason string) error { return dest.Pin(ctx, b, reason) }})
		}
		return meant, err
	}, func() (func(), error) { return dest.Lock(ctx, n.holder) })()
}

// place notes the pin with what is meant in one place. Where nothing is, no lock is taken, and nobody else's is in the way.
func (n *pinning) place(where string, list func() ([]pinnable, error), lock func() (func(), error)) (unlock func()) {
	meant := func() ([]pinnable, error) {
		all, err := list()
		return slices.DeleteFunc(all, func(p pinnable) bool { return !n.is(p.Name, p.path) }), err
	}
	unlock = func() {}
	found, err := meant()
	if err == nil && len(found) > 0 {
		if u, e := lock(); e != nil {
			err = e
		} else {
			unlock = u
			found, err = meant() // a run may have deleted it meanwhile
		}
	}
	if err != nil {
		n.failed(where, err)
		return unlock
	}
	for _, p := range found {
		n.mark(where, p)
	}
	return unlock
}

func (n *pinning) mark(where string, p pinnable) {
	reason := n.pin.reason(p.reason, n.Config.Timezone)
	m := Mark{Job: n.job.Name, Where: where, Name: p.Name, Path: p.path, UUID: p.UUID, Pinned: reason != "", Reason: reason, Result: ResultPinned}
	switch err := p.note(reason); {
	case errors.Is(err, ErrForeign):
		m.Pinned, m.Reason, m.Result = false, "", ResultForeign
	case err != nil:
		m.Pinned, m.Reason, m.Result, m.Error, m.Hint = p.reason != "", p.reason, ResultFailed, err.Error(), Hint(err)
	case reason == p.reason:
		m.Result = ResultUnchanged
	case n.pin.Remove:
		m.Result = ResultUnpinned
	}
	n.marks = append(n.marks, m)
}

// failed notes that a place could not be looked at or written.
func (n *pinning) failed(where string, err error) {
	m := Mark{Job: n.job.Name, Where: where, Result: ResultFailed, Error: err.Error(), Hint: Hint(err)}
	var held *HeldError
	switch {
	case errors.Is(err, ErrAbsent):
		m.Result = ResultAbsent
	case errors.As(err, &held):
		m.Result = ResultBusy
	}
	n.marks = append(n.marks, m)
}
