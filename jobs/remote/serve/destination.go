package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/btrfs/sendstream"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/local"
	"github.com/btrkeep/btrkeep/jobs/remote/api"
	"github.com/btrkeep/btrkeep/jobs/remote/squeeze"
)

// header reads what describes a request whose body is something else.
func header(r *http.Request, in any) error {
	if err := json.Unmarshal([]byte(r.Header.Get(api.IncomingHeader)), in); err != nil {
		return fmt.Errorf("%s: header %s: %w", r.URL.Path, api.IncomingHeader, err)
	}
	return nil
}

// What a client says of its source goes into the catalog.
const (
	maxMachine = 256
	maxPath    = 4096
	maxReason  = 1000
	maxClones  = 64
)

func (s *Server) destination(ctx context.Context, p api.Place) (jobs.Destination, error) {
	return s.destinationFor(ctx, p, config.Checkpoint{})
}

func (s *Server) destinationFor(ctx context.Context, p api.Place, every config.Checkpoint) (jobs.Destination, error) {
	if err := s.within(string(p.Path)); err != nil {
		return nil, err
	}
	if len(p.Owner.Machine) > maxMachine || len(p.Owner.Path) > maxPath {
		return nil, refused("", "the source's name is too long")
	}
	format, zone, err := words(p.NameFormat, p.Zone)
	if err != nil {
		return nil, err
	}
	o := s.opener(zone, every)
	o.Top = s.top(string(p.Path))
	job, d := config.Job{NameFormat: format}, config.Destination{URL: string(p.Path), RequireMount: s.o.RequireMount}
	if mount := string(p.Mount); mount != "" {
		if err := s.mounted(mount, string(p.Path)); err != nil {
			return nil, err
		}
	}
	var dest jobs.Destination
	if p.Look {
		dest, err = o.AtFor(ctx, job, d, p.Owner.Owner())
	} else {
		dest, err = o.Open(ctx, job, d, p.Owner.Owner(), p.Last)
	}
	if err != nil {
		return nil, err
	}
	// Something may have been put in the way since.
	if dir, ok := dest.(*local.Dir); !s.o.Trusted && (!ok || dir.Path() != string(p.Path)) {
		return nil, refused("", "%q leads elsewhere", p.Path)
	}
	return dest, nil
}

// mounted makes sure of what the client's require_mount asks for: a mount point at or above its directory.
func (s *Server) mounted(mount, path string) error {
	if path != mount && !strings.HasPrefix(path, strings.TrimSuffix(mount, "/")+"/") {
		return refused("name the mount point of the disk that the directory is on", "require_mount %q is not above %q", mount, path)
	}
	ok, err := btrfs.IsMountPoint(mount)
	if err == nil && !ok {
		err = fmt.Errorf("%w: nothing is mounted at %s", jobs.ErrAbsent, mount)
	}
	return err
}

func (s *Server) open(ctx context.Context, p api.Place) (api.Opened, error) {
	dest, err := s.destination(ctx, p)
	if err != nil {
		return api.Opened{}, err
	}
	id := dest.Identity()
	id.AddOnly = !s.o.Can.Delete
	return api.Opened{Identity: id, Greeting: s.greeting()}, dest.Close()
}

func (s *Server) list(ctx context.Context, p api.Place) (jobs.Contents, error) {
	dest, err := s.destination(ctx, p)
	if err != nil {
		return jobs.Contents{}, err
	}
	return dest.List(ctx)
}

// clean deletes leftovers, which are no backups: also from where nothing else may be deleted. Each must be there as one now.
func (s *Server) clean(ctx context.Context, in api.Cleaning) (api.Cleaned, error) {
	if !s.o.Can.Add {
		return api.Cleaned{}, refused("", "this key may only read")
	}
	dest, done, err := s.toWrite(ctx, in.Place)
	if err != nil {
		return api.Cleaned{}, err
	}
	defer done()
	there, err := dest.List(ctx)
	if err != nil {
		return api.Cleaned{}, err
	}
	useless := slices.DeleteFunc(there.Leftovers, func(l jobs.Leftover) bool {
		return !slices.ContainsFunc(in.Leftovers, func(w jobs.Leftover) bool { return w.Name == l.Name && w.UUID == l.UUID })
	})
	removed, err := dest.Clean(ctx, useless)
	return api.Cleaned{Removed: removed, Error: api.Encode(err)}, nil
}

// toWrite opens a destination whose lock is held, and stays so until done is called.
func (s *Server) toWrite(ctx context.Context, p api.Place) (dest jobs.Destination, done func(), err error) {
	if dest, err = s.destination(ctx, p); err == nil {
		done, err = s.held.use(string(p.Path))
	}
	return dest, done, err
}

// delete deletes backups as they are listed now.
func (s *Server) delete(ctx context.Context, in api.Deletion) (api.Deleted, error) {
	if !s.o.Can.Delete {
		return api.Deleted{}, refused("who has the disk prunes it: a job there with received = "+fmt.Sprintf("%q", in.Path), "this key may delete nothing")
	}
	dest, done, err := s.toWrite(ctx, in.Place)
	if err != nil {
		return api.Deleted{}, err
	}
	defer done()
	there, err := dest.List(ctx)
	if err != nil {
		return api.Deleted{}, err
	}
	var gone []jobs.Backup
	for _, b := range there.Backups {
		if slices.Contains(in.Backups, api.Named{Name: api.Path(b.Name), UUID: b.UUID}) {
			gone = append(gone, b)
		}
	}
	gone, err = dest.Delete(ctx, gone)
	out := api.Deleted{Error: api.Encode(err)}
	for _, b := range gone {
		out.Gone = append(out.Gone, b.UUID)
	}
	return out, nil
}

func (s *Server) pin(ctx context.Context, in api.Pinning) (api.Pinned, error) {
	if !s.o.Can.Delete {
		return api.Pinned{}, refused("pin it on that machine", "this key may pin nothing")
	}
	if len(in.Reason) > maxReason {
		return api.Pinned{}, refused("", "the reason is too long")
	}
	dest, done, err := s.toWrite(ctx, in.Place)
	if err != nil {
		return api.Pinned{}, err
	}
	defer done()
	b, err := find(ctx, dest, in.UUID)
	if err == nil {
		err = dest.Pin(ctx, b, in.Reason)
	}
	return api.Pinned{Known: true}, err
}

// find finds a backup in the directory, by its own UUID.
func find(ctx context.Context, dest jobs.Destination, id btrfs.UUID) (jobs.Backup, error) {
	there, err := dest.List(ctx)
	if err != nil {
		return jobs.Backup{}, err
	}
	i := slices.IndexFunc(there.Backups, func(b jobs.Backup) bool { return b.UUID == id && !id.IsZero() })
	if i < 0 {
		return jobs.Backup{}, fmt.Errorf("there is no backup %s", id)
	}
	return there.Backups[i], nil
}

// checkName refuses names under which a backup would not be one.
func checkName(name string) error {
	if name == "" || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "/\x00") || len(name) > 255 {
		return refused("", "%q cannot be the name of a backup", name)
	}
	return nil
}

// leastCheckpointTime bounds how often checkpoints are made, whatever the client wants: each costs the disk a sync.
const leastCheckpointTime = time.Second

// checkpointEvery is how often checkpoints are made for a client that wants to send no more than so much again.
func checkpointEvery(want api.Checkpoint) config.Checkpoint {
	return jobs.OverLine(config.Checkpoint{Bytes: config.Size(max(want.Bytes, config.MinCheckpointBytes)), Time: config.Duration(max(want.Time, leastCheckpointTime))})
}

// toReceive opens the destination of a stream, whose lock is held until done is called.
func (s *Server) toReceive(ctx context.Context, in api.Incoming) (dest jobs.Destination, done func(), err error) {
	if err := checkName(in.Name); err != nil {
		return nil, nil, err
	}
	if !s.o.Can.Add {
		return nil, nil, refused("", "this key may only read")
	}
	if len(in.Clones) > maxClones {
		return nil, nil, refused("", "%d clone sources", len(in.Clones))
	}
	if dest, err = s.destinationFor(ctx, in.Place, checkpointEvery(in.Checkpoint)); err == nil {
		done, err = s.held.use(string(in.Path))
	}
	return dest, done, err
}

// receive answers line by line, while the body comes.
func (s *Server) receive(w http.ResponseWriter, r *http.Request) {
	var in api.Incoming
	if err := header(r, &in); err != nil {
		fail(w, err)
		return
	}
	dest, done, err := s.toReceive(r.Context(), in)
	if err != nil {
		fail(w, err)
		return
	}
	defer done()
	if in.From != nil {
		if in.From, err = leftover(r.Context(), dest, *in.From); err != nil {
			fail(w, err)
			return
		}
	}
	answer := json.NewEncoder(w)
	flush := http.NewResponseController(w).Flush
	w.WriteHeader(http.StatusOK)
	_ = flush()
	// It ends with the body, also when the line is lost, and then saves what has come.
	made, err := dest.Receive(context.WithoutCancel(r.Context()), jobs.Incoming{
		Identity: in.Identity, Name: in.Name, Taken: in.Taken, From: in.From, Stream: squeeze.NewDecoder(r.Body), IOPriority: politely(in.IOPriority),
		Saved: func() {
			_ = answer.Encode(api.Event{Saved: true})
			_ = flush()
		},
	})
	last := api.Event{Error: api.Encode(err)}
	if err == nil {
		last.Made = &made
	}
	_ = answer.Encode(last)
}

// politely is a priority that a client asks for, unless that is one before all others: see ioprio_set(2).
func politely(priority int) int {
	if class := priority >> 13; class != 2 && class != 3 {
		return 0
	}
	return priority
}

// leftover is the one that the client means, as it is here: with its own checkpoint.
func leftover(ctx context.Context, dest jobs.Destination, want jobs.Leftover) (*jobs.Leftover, error) {
	there, err := dest.List(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(there.Leftovers, func(l jobs.Leftover) bool { return l.UUID == want.UUID && l.Name == want.Name && l.Checkpoint != nil })
	if i < 0 || want.Checkpoint == nil || there.Leftovers[i].Checkpoint.Offset != want.Checkpoint.Offset {
		return nil, fmt.Errorf("%w: %s is gone", sendstream.ErrCheckpoint, want.Name)
	}
	return &there.Leftovers[i], nil
}
