package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/remote/api"
	"github.com/btrkeep/btrkeep/jobs/remote/squeeze"
)

// Receive has a stream stored there. An error wraps jobs.ErrInterrupted if the line was lost, or nothing came through it for the stall timeout: what was received until then may be taken up.
func (d *Destination) Receive(ctx context.Context, in jobs.Incoming) (jobs.Backup, error) {
	c, err := d.line.connect(ctx)
	if err != nil {
		return jobs.Backup{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := d.line.watch(cancel)
	defer watch.stop()
	from := &outward{in: in, watch: watch, err: make(chan error, 1)}
	described := api.Incoming{
		Place: d.place, Identity: in.Identity, Name: in.Name, Taken: in.Taken, From: in.From, Checkpoint: api.Checkpoint{Bytes: int64(d.every.Bytes), Time: time.Duration(d.every.Time)}, IOPriority: in.IOPriority,
	}
	r, err := request(ctx, api.Receive, described, squeeze.NewReader(from, squeeze.Options{Never: in.Compressed}))
	if err != nil {
		return jobs.Backup{}, err
	}
	made, err := d.receive(ctx, func() (io.ReadCloser, error) {
		resp, err := d.line.do(ctx, c, r)
		if err != nil {
			return nil, err
		}
		return resp.Body, nil
	}, in, watch)
	cancel(nil) // the body is not read any more
	switch failed := from.failed(); {
	case err == nil:
		return made, nil
	case errors.Is(context.Cause(ctx), errStalled):
		d.line.lost(c)
		return made, d.line.stalled()
	case failed != nil:
		return made, failed // the far end only saw that no more came
	case errors.Is(err, jobs.ErrInterrupted):
		d.line.lost(c)
	}
	return made, err
}

// receive reads the answer, line by line.
func (d *Destination) receive(ctx context.Context, answer func() (io.ReadCloser, error), in jobs.Incoming, watch *watch) (jobs.Backup, error) {
	body, err := answer()
	if err != nil {
		return jobs.Backup{}, err
	}
	defer body.Close()
	events := json.NewDecoder(body)
	for {
		var e api.Event
		if err := events.Decode(&e); err != nil {
			if errors.Is(err, io.EOF) { // no last word: it was killed
				err = io.ErrUnexpectedEOF
			}
			if ctx.Err() != nil {
				return jobs.Backup{}, context.Cause(ctx)
			}
			return jobs.Backup{}, fmt.Errorf("%s: %w: %w", d.line.name, jobs.ErrInterrupted, err)
		}
		watch.kick()
		switch {
		case e.Error != nil:
			return jobs.Backup{}, e.Error.Decode()
		case e.Made != nil:
			return *e.Made, nil
		case e.Saved && in.Saved != nil:
			in.Saved()
		}
	}
}

// outward is a stream on its way out. It ends only if its sender says that it ended well.
type outward struct {
	in    jobs.Incoming
	watch *watch
	bytes int64

	err chan error // holds what went wrong with the sender
}

func (o *outward) Read(p []byte) (int, error) {
	n, err := o.in.Stream.Read(p)
	o.watch.kick()
	o.bytes += int64(n)
	if o.in.Progress != nil && n > 0 {
		o.in.Progress(o.bytes)
	}
	if err == io.EOF && o.in.Confirm != nil {
		if e := o.in.Confirm(); e != nil {
			err = e
		}
	}
	if err != nil && err != io.EOF {
		select {
		case o.err <- err:
		default:
		}
	}
	return n, err
}

func (o *outward) failed() error {
	select {
	case err := <-o.err:
		return err
	default:
		return nil
	}
}

// errStalled ends what nothing comes through any more.
var errStalled = errors.New("stalled")

// watch ends something that is not kicked for the stall timeout.
type watch struct {
	timer *time.Timer
	after time.Duration
}

func (l *line) watch(cancel context.CancelCauseFunc) *watch {
	return &watch{time.AfterFunc(l.stall, func() { cancel(errStalled) }), l.stall}
}

// stalled is the error of what was ended by a watch.
func (l *line) stalled() error {
	return fmt.Errorf("%s: %w: nothing came through it for %s", l.name, jobs.ErrInterrupted, l.stall)
}

// watched is a reader that is watched while something is read from it: not while nobody wants anything.
type watched struct {
	io.Reader
	watch *watch
}

func (w watched) Read(p []byte) (int, error) {
	w.watch.kick()
	n, err := w.Reader.Read(p)
	w.watch.stop()
	return n, err
}

func (w *watch) kick() { w.timer.Reset(w.after) }
func (w *watch) stop() { w.timer.Stop() }
