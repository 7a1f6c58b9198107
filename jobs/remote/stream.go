package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/remote/api"
	"github.com/btrkeep/btrkeep/jobs/remote/squeeze"
)

func outgoing(o jobs.Outgoing) api.Outgoing {
	out := api.Outgoing{Subvolume: o.Subvolume.UUID, Parent: o.Parent.UUID, Version: o.Version, Compressed: o.Compressed, From: o.From, IOPriority: o.IOPriority}
	for _, c := range o.Clones {
		out.Clones = append(out.Clones, c.UUID)
	}
	return out
}

// inward is a stream on its way here.
type inward struct {
	line   *line
	resp   *http.Response
	data   io.Reader
	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  *watch
	over   func() // gives the connection up

	mu  sync.Mutex
	end error // what Close gives
}

// stream asks for one.
func (l *line) stream(ctx context.Context, path string, in any) (jobs.Stream, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	c, err := l.connect(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s := &inward{line: l, ctx: ctx, cancel: cancel, watch: l.watch(cancel), end: context.Canceled, over: func() { l.lost(c) }}
	r, err := request(ctx, path, nil, bytes.NewReader(body))
	if err == nil {
		s.resp, err = l.do(ctx, c, r)
	}
	if err != nil {
		s.watch.stop()
		if errors.Is(context.Cause(ctx), errStalled) {
			l.lost(c)
			err = l.stalled()
		}
		cancel(nil)
		return nil, err
	}
	s.data = squeeze.NewDecoder(watched{s.resp.Body, s.watch})
	s.watch.stop()
	return s, nil
}

// Read reads from the stream. It ends only if the far end says that it ended well.
func (s *inward) Read(p []byte) (int, error) {
	n, err := s.data.Read(p)
	if err != nil {
		err = s.ended(err)
	}
	return n, err
}

// ended finds out what the end of the body means.
func (s *inward) ended(err error) error {
	_, bodyErr := io.Copy(io.Discard, io.LimitReader(s.resp.Body, 1<<20)) // the trailer comes behind it
	verdict := s.resp.Trailer.Get(api.StreamTrailer)
	var far api.Error
	switch {
	case err == io.EOF && verdict == api.StreamOK:
		s.settle(nil)
		return io.EOF
	case s.ctx.Err() != nil && !errors.Is(context.Cause(s.ctx), errStalled):
		return context.Cause(s.ctx)
	case verdict != "" && json.Unmarshal([]byte(verdict), &far) == nil && far.Text != "":
		err = fmt.Errorf("%s: %w", s.line.name, far.Decode())
	default:
		s.over()
		err = fmt.Errorf("%s: %w: %w", s.line.name, jobs.ErrInterrupted, errors.Join(err, bodyErr))
	}
	s.settle(err)
	return err
}

func (s *inward) settle(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end = err
}

// Close ends the stream and gives what became of it.
func (s *inward) Close() error {
	s.watch.stop()
	s.cancel(nil)
	_ = s.resp.Body.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end
}
