package remote

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/remote/api"
)

// Destination is a directory on another machine.
type Destination struct {
	line   *line
	place  api.Place
	opened api.Opened
	every  config.Checkpoint
}

var (
	_ jobs.Destination = (*Destination)(nil)
	_ jobs.Sender      = (*Destination)(nil)
)

// Open connects, and finds out whether the directory is there. It is a jobs.Opener.
func (o Opener) Open(ctx context.Context, job config.Job, d config.Destination, owner jobs.Owner, last jobs.Identity) (jobs.Destination, error) {
	return o.open(ctx, job, d, api.Place{Owner: api.OwnerOf(owner), Last: last})
}

// At connects to look at what is there, whether or not the source is.
func (o Opener) At(ctx context.Context, job config.Job, d config.Destination) (jobs.Destination, error) {
	return o.open(ctx, job, d, api.Place{Owner: api.OwnerOf(jobs.Owner{Machine: jobs.Machine(), Path: job.SourcePath()}), Look: true})
}

func (o Opener) open(ctx context.Context, job config.Job, d config.Destination, p api.Place) (jobs.Destination, error) {
	l, path, err := o.line(d.URL, job, d.RateLimit)
	if err != nil {
		return nil, err
	}
	p.Path, p.Mount, p.NameFormat, p.Zone = api.Path(path), api.Path(d.RequireMount), job.NameFormat.String(), o.Zone.String()
	r := &Destination{line: l, place: p, every: o.Checkpoint}
	if job.Remote() { // there is a second line, before this one
		r.every = jobs.OverLine(r.every)
	}
	if r.opened, err = call[api.Opened](ctx, l, api.Open, p); err != nil {
		_ = l.close()
		return nil, fmt.Errorf("%s: %w", d.URL, err)
	}
	return r, nil
}

// Identity is the disk as it was found by Open.
func (d *Destination) Identity() jobs.Identity { return d.opened.Identity }

// Greeting is what the far end said of itself.
func (d *Destination) Greeting() api.Greeting { return d.opened.Greeting }

// Lock takes the lock in the directory there.
func (d *Destination) Lock(ctx context.Context, holder jobs.Holder) (func(), error) {
	return d.line.lock(ctx, api.Lock, api.Locking{Place: d.place, Holder: holder, Session: cmp.Or(holder.Session, d.line.session)})
}

// List lists the subvolumes in the directory.
func (d *Destination) List(ctx context.Context) (jobs.Contents, error) {
	there, err := call[jobs.Contents](ctx, d.line, api.List, d.place)
	there.Backups = slices.DeleteFunc(there.Backups, func(b jobs.Backup) bool { return !isName(b.Name) })
	there.Above = slices.DeleteFunc(there.Above, func(b jobs.Backup) bool { return !isNameAbove(b.Name) })
	for i := range there.Backups { // which may be any bytes
		there.Backups[i].Path = filepath.Join(string(d.place.Path), there.Backups[i].Name)
	}
	return there, err
}

// Clean deletes what interrupted transfers left.
func (d *Destination) Clean(ctx context.Context, leftovers []jobs.Leftover) ([]string, error) {
	if len(leftovers) == 0 {
		return nil, nil
	}
	out, err := call[api.Cleaned](ctx, d.line, api.Clean, api.Cleaning{Place: d.place, Leftovers: leftovers})
	if err != nil {
		return nil, err
	}
	return out.Removed, out.Error.Decode()
}

// Delete deletes backups, in one request.
func (d *Destination) Delete(ctx context.Context, backups []jobs.Backup) (gone []jobs.Backup, err error) {
	in := api.Deletion{Place: d.place}
	for _, b := range backups {
		in.Backups = append(in.Backups, api.Named{Name: api.Path(b.Name), UUID: b.UUID})
	}
	out, err := callFor[api.Deleted](ctx, d.line, long, api.Delete, in)
	if err != nil {
		return nil, err
	}
	byID := map[btrfs.UUID]bool{}
	for _, id := range out.Gone {
		byID[id] = true
	}
	for _, b := range backups {
		if byID[b.UUID] {
			gone = append(gone, b)
		}
	}
	return gone, out.Error.Decode()
}

// Pin notes the pin in the catalog there.
func (d *Destination) Pin(ctx context.Context, b jobs.Backup, reason string) error {
	_, err := call[api.Pinned](ctx, d.line, api.Pin, api.Pinning{Place: d.place, Named: api.Named{Name: api.Path(b.Name), UUID: b.UUID}, Reason: reason})
	return err
}

// StreamVersion is that of our own receiver, which is what receives there.
func (d *Destination) StreamVersion(context.Context) (int, error) { return 2, nil }

// SendVersion is that of the kernel there.
func (d *Destination) SendVersion() int { return d.opened.Stream }

// Changes asks the far end.
func (d *Destination) Changes(ctx context.Context, s btrfs.Subvolume, _ string, since uint64) (btrfs.Changes, error) {
	return callFor[btrfs.Changes](ctx, d.line, long, api.Changes, api.Changing{Place: d.place, Of: s.UUID, Since: since})
}

// Send has a backup sent back.
func (d *Destination) Send(ctx context.Context, o jobs.Outgoing) (jobs.Stream, error) {
	return d.line.stream(ctx, api.Send, api.Sending{Place: d.place, Outgoing: outgoing(o)})
}

// Close ends the connection.
func (d *Destination) Close() error { return d.line.close() }
