package remote

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/remote/api"
)

// Origin is a source on another machine.
type Origin struct {
	line   *line
	source api.Source
	looked api.Looked
}

var _ jobs.Origin = (*Origin)(nil)

// Origin is where the source of a job is. It connects when it is looked at.
func (o Opener) Origin(_ context.Context, job config.Job) (jobs.Origin, error) {
	l, path, err := o.line(job.Source, job, limits(job))
	if err != nil {
		return nil, err
	}
	return &Origin{line: l, source: api.Source{
		Path: api.Path(path), SnapshotDir: api.Path(job.SnapshotDir), NameFormat: job.NameFormat.String(), Zone: o.Zone.String(), OnlyIfChanged: job.OnlyIfChanged, Adhoc: job.Adhoc,
	}}, nil
}

// limits is what the line of a source is limited to: that of its destination, as all that comes goes there. Of several it is the first; streams go to one after the other.
func limits(job config.Job) config.Rate {
	for _, d := range job.Destinations {
		return d.RateLimit
	}
	return config.Rate{}
}

// Look asks what is there now.
func (o *Origin) Look(ctx context.Context) (jobs.Look, error) {
	looked, err := call[api.Looked](ctx, o.line, api.SourceLook, o.source)
	looked.All = slices.DeleteFunc(looked.All, func(v btrfs.Subvolume) bool { return !isName(v.Name) })
	if err == nil {
		o.looked = looked
	}
	return looked.Look, err
}

// isName reports whether something from another machine can be a name, and no path that leads elsewhere.
func isName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "/\x00")
}

// isNameAbove is isName for something in a directory above.
func isNameAbove(s string) bool {
	rest, up := strings.CutPrefix(s, "../")
	return up && (isName(rest) || isNameAbove(rest))
}

// Greeting is what the far end said of itself when it was looked at.
func (o *Origin) Greeting() api.Greeting { return o.looked.Greeting }

// Lock keeps others from the snapshots there.
func (o *Origin) Lock(ctx context.Context, holder jobs.Holder) (func(), error) {
	return o.line.lock(ctx, api.SourceLock, api.SourceLocking{Source: o.source, Holder: holder, Session: cmp.Or(holder.Session, o.line.session)})
}

// Take has a snapshot made. If the line is lost meanwhile, there may be one; the next look finds it.
func (o *Origin) Take(ctx context.Context, now time.Time) (btrfs.UUID, error) {
	out, err := once[api.Taken](ctx, o.line, o.line.stall, api.SourceTake, api.Taking{Source: o.source, Now: now})
	return out.UUID, err
}

// Clean has leftovers deleted.
func (o *Origin) Clean(ctx context.Context) ([]string, error) {
	out, err := call[api.Cleaned](ctx, o.line, api.SourceClean, o.source)
	if err != nil {
		return nil, err
	}
	return out.Removed, out.Error.Decode()
}

// Delete has snapshots deleted, in one request.
func (o *Origin) Delete(ctx context.Context, snapshots []btrfs.Subvolume, done func(btrfs.UUID)) error {
	in := api.SourceDeletion{Source: o.source}
	for _, s := range snapshots {
		in.Snapshots = append(in.Snapshots, api.Named{Name: api.Path(s.Name), UUID: s.UUID})
	}
	if len(in.Snapshots) == 0 {
		return nil
	}
	out, err := callFor[api.Deleted](ctx, o.line, long, api.SourceDelete, in)
	if err != nil {
		return err
	}
	for _, id := range out.Gone {
		done(id)
	}
	return out.Error.Decode()
}

// Changed asks the far end.
func (o *Origin) Changed(ctx context.Context, since jobs.Snapshot) (bool, error) {
	out, err := call[api.Changed](ctx, o.line, api.SourceChanged, api.SourceChange{Source: o.source, Since: since.UUID})
	return out.Changed, err
}

// Pin notes the pin in the catalog there.
func (o *Origin) Pin(ctx context.Context, id btrfs.UUID, reason string) (bool, error) {
	out, err := call[api.Pinned](ctx, o.line, api.SourcePin, api.SourcePinning{Source: o.source, UUID: id, Reason: reason})
	return out.Known, err
}

// SendVersion is that of the kernel there.
func (o *Origin) SendVersion() int { return o.looked.Stream }

// Changes asks the far end.
func (o *Origin) Changes(ctx context.Context, s btrfs.Subvolume, _ string, since uint64) (btrfs.Changes, error) {
	return callFor[btrfs.Changes](ctx, o.line, long, api.SourceChanges, api.SourceChanging{Source: o.source, Of: s.UUID, Since: since})
}

// Send has a snapshot sent here.
func (o *Origin) Send(ctx context.Context, out jobs.Outgoing) (jobs.Stream, error) {
	return o.line.stream(ctx, api.SourceSend, api.SourceSending{Source: o.source, Outgoing: outgoing(out)})
}

// Close ends the connection.
func (o *Origin) Close() error { return o.line.close() }
