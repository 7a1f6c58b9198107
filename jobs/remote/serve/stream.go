package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/remote/api"
	"github.com/btrkeep/btrkeep/jobs/remote/squeeze"
)

// found is a subvolume that may be sent.
type found struct {
	btrfs.Subvolume
	path string // "": not to be sent, only that others are compared with it
}

// among finds subvolumes by their own UUIDs among those that may be sent, and nowhere else.
type among []found

func (a among) find(id btrfs.UUID) (found, error) {
	i := slices.IndexFunc(a, func(f found) bool { return f.UUID == id && !id.IsZero() })
	if i < 0 {
		return found{}, fmt.Errorf("there is no subvolume %s", id)
	}
	return a[i], nil
}

// outgoing is what is asked for, found here.
func (a among) outgoing(o api.Outgoing) (out jobs.Outgoing, err error) {
	out = jobs.Outgoing{Version: o.Version, Compressed: o.Compressed, From: o.From, IOPriority: politely(o.IOPriority)}
	f, err := a.find(o.Subvolume)
	if err != nil {
		return out, err
	}
	if f.path == "" {
		return out, fmt.Errorf("subvolume %s is no snapshot in the snapshot directory", o.Subvolume)
	}
	out.Subvolume, out.Path = f.Subvolume, f.path
	if !o.Parent.IsZero() {
		if f, err = a.find(o.Parent); err != nil {
			return out, err
		}
		out.Parent = f.Subvolume
	}
	for _, id := range o.Clones {
		if f, err = a.find(id); err != nil {
			return out, err
		}
		out.Clones = append(out.Clones, f.Subvolume)
	}
	return out, nil
}

// pauseEvery is how often a client is told that a stream will come, while what it has of it already is read.
const pauseEvery = 5 * time.Second

// stream answers with a stream, and tells in the trailer how it ended.
func stream(w http.ResponseWriter, r *http.Request, a among, o api.Outgoing) {
	out, err := a.outgoing(o)
	if err != nil {
		fail(w, err)
		return
	}
	release, err := btrfs.Hold(out.Path, out.Subvolume.UUID)
	if err != nil {
		fail(w, err)
		return
	}
	defer release()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	w.Header().Set("Trailer", api.StreamTrailer)
	w.WriteHeader(http.StatusOK)
	s, err := begin(ctx, w, out)
	if err == nil {
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, squeeze.NewReader(&whole{s}, squeeze.Options{Never: o.Compressed}), make([]byte, 1<<20))
		_ = s.Close()
	}
	end := api.StreamOK
	if err != nil {
		b, _ := json.Marshal(api.Encode(err)) // plain values
		end = string(b)
	}
	w.Header().Set(api.StreamTrailer, end)
}

// begin begins a send, and has the client wait until what it has of the stream is behind.
func begin(ctx context.Context, w http.ResponseWriter, out jobs.Outgoing) (s jobs.Stream, err error) {
	begun := make(chan struct{})
	go func() {
		defer close(begun)
		s, err = jobs.Sending{}.Send(ctx, out)
	}()
	flush := http.NewResponseController(w).Flush
	for again := time.NewTicker(pauseEvery); ; {
		_ = flush()
		select {
		case <-begun:
			again.Stop()
			return s, err
		case <-again.C:
			_, _ = w.Write(squeeze.Pause()) // whether the client is still there, ctx tells
		}
	}
}

// whole ends only if the sender says that it ended well.
type whole struct{ jobs.Stream }

func (s *whole) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	if err == io.EOF {
		if e := s.Close(); e != nil {
			return n, e
		}
	}
	return n, err
}

// backups are those of a destination that may be sent.
func (s *Server) backups(ctx context.Context, p api.Place) (among, error) {
	if !s.o.Can.Read {
		return nil, refused("restore with another key, or on that machine", "this key may read nothing")
	}
	p.Look = true
	dest, err := s.destination(ctx, p)
	if err != nil {
		return nil, err
	}
	there, err := dest.List(ctx)
	var a among
	for _, b := range there.Backups {
		if b.Complete {
			a = append(a, found{b.Subvolume, b.Path})
		}
	}
	return a, err
}

func (s *Server) send(w http.ResponseWriter, r *http.Request) {
	var in api.Sending
	err := decode(w, r, &in)
	if err == nil {
		var a among
		if a, err = s.backups(r.Context(), in.Place); err == nil {
			stream(w, r, a, in.Outgoing)
			return
		}
	}
	fail(w, err)
}

func (s *Server) changes(ctx context.Context, in api.Changing) (btrfs.Changes, error) {
	a, err := s.backups(ctx, in.Place)
	if err != nil {
		return btrfs.Changes{}, err
	}
	return a.changes(ctx, in.Of, in.Since)
}

func (a among) changes(ctx context.Context, of btrfs.UUID, since uint64) (btrfs.Changes, error) {
	f, err := a.find(of)
	if err == nil && f.path == "" {
		err = fmt.Errorf("subvolume %s is no snapshot in the snapshot directory", of)
	}
	if err != nil {
		return btrfs.Changes{}, err
	}
	return btrfs.ChangedSince(ctx, f.path, since)
}
