// Package remote is the kind of destination, and of source, that is on another machine: what `btrkeep serve` does there, over ssh.
package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/remote/api"
	"github.com/btrkeep/btrkeep/jobs/remote/wire"
)

// Opener opens destinations and sources on other machines.
type Opener struct {
	SSH        []string // program and first arguments; nil: ssh
	Version    string   // of btrkeep
	Zone       *time.Location
	Checkpoint config.Checkpoint
}

// command is what the far end is to start, unless the key is bound to a command of its own.
const command = "btrkeep serve --trust-client"

// line is the connection to a far end: made when it is needed, and made again when it was lost.
type line struct {
	dialer  wire.Dialer
	target  wire.Target
	name    string // for messages
	address string // user, host and port
	stall   time.Duration
	session string

	mu     sync.Mutex
	client *wire.Client // nil: none now
	met    bool         // there was one: that there is none now is an interruption, no absence
	relock func(context.Context, *wire.Client) error
}

func (o Opener) line(address string, job config.Job, limit config.Rate) (*line, string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, "", err
	}
	stall := time.Duration(job.StallTimeout)
	l := &line{
		dialer:  wire.Dialer{SSH: o.SSH, Command: command, Stall: stall, Version: o.Version, Rate: rate(limit)},
		target:  wire.Target{User: u.User.Username(), Host: u.Hostname(), Port: u.Port()},
		name:    u.Host,
		address: strings.TrimPrefix(strings.TrimSuffix(address, u.EscapedPath()), "ssh://"),
		stall:   stall,
		session: rand.Text(),
	}
	return l, u.Path, nil
}

// rate is the limit of the line, which sees both directions; nil if there is none.
func rate(limit config.Rate) func(time.Time) int64 {
	if limit.IsZero() {
		return nil
	}
	return limit.BytesAt
}

// connect gives the connection, a new one if there is none. The locks that the last one held are taken again.
func (l *line) connect(ctx context.Context) (*wire.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil {
		return l.client, nil
	}
	c, err := l.dialer.Dial(ctx, l.target)
	if err != nil {
		return nil, l.explain(ctx, err)
	}
	if l.relock != nil {
		if err := l.relock(ctx, c); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	l.client, l.met = c, true
	return c, nil
}

// lost forgets a connection that does not serve any more.
func (l *line) lost(c *wire.Client) {
	l.mu.Lock()
	if l.client == c {
		l.client = nil
	}
	l.mu.Unlock()
	_ = c.Close()
}

func (l *line) close() error {
	l.mu.Lock()
	c := l.client
	l.client, l.relock = nil, nil
	l.mu.Unlock()
	if c == nil {
		return nil
	}
	return c.Close()
}

// explain turns an error of the transport into one that a run knows what to do about.
func (l *line) explain(ctx context.Context, err error) error {
	var dial *wire.DialError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &dial) && dial.Kind == wire.Down && l.met:
		return fmt.Errorf("%w: %w", jobs.ErrInterrupted, err)
	case errors.As(err, &dial) && dial.Kind == wire.Down:
		return &jobs.HintError{Err: fmt.Errorf("%w: %w", jobs.ErrAbsent, err), Hint: dial.Hint()}
	case errors.As(err, &dial):
		return &jobs.HintError{Err: err, Hint: dial.Hint()}
	case errors.Is(err, wire.ErrDropped):
		return fmt.Errorf("%s: %w: %w", l.name, jobs.ErrInterrupted, err)
	}
	return fmt.Errorf("%s: %w", l.name, err)
}

// request makes a request of the far end; what describes a body that is no JSON goes into the header.
func request(ctx context.Context, path string, described any, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://btrkeep"+path, body)
	if err != nil || described == nil {
		return r, err
	}
	b, err := json.Marshal(described)
	r.Header.Set(api.IncomingHeader, string(b))
	return r, err
}

// do makes one request over a connection, which is given up if it was lost.
func (l *line) do(ctx context.Context, c *wire.Client, r *http.Request) (*http.Response, error) {
	resp, err := l.try(ctx, c, r)
	if errors.Is(err, jobs.ErrInterrupted) {
		l.lost(c)
	}
	return resp, err
}

// try is do for who holds l.mu, and gives up the connection by themselves.
func (l *line) try(ctx context.Context, c *wire.Client, r *http.Request) (*http.Response, error) {
	resp, err := c.Do(r)
	if err != nil {
		return nil, l.explain(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, l.answerError(resp)
}

// answerError is the error that an answer tells.
func (l *line) answerError(resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	var e api.Error
	if err == nil && json.Unmarshal(b, &e) == nil && e.Text != "" {
		return e.Decode()
	}
	return fmt.Errorf("%s answered %s: %.200q", l.name, resp.Status, bytes.TrimSpace(b))
}

// maxAnswer bounds what the far end answers: tens of thousands of subvolumes.
const maxAnswer = 64 << 20

// tries is how often a request that changes nothing, or may be made twice, is made when the line is lost.
const tries = 3

// call makes a request with JSON, and gives the answer.
func call[Out any](ctx context.Context, l *line, path string, in any) (out Out, err error) {
	return callFor[Out](ctx, l, l.stall, path, in)
}

// long is the patience with what the far end's disk may need hours for: deletions where quotas are on.
const long = 12 * time.Hour

// callFor is call with a patience of its own. When that ends, only the request does: whether the line is dead, its pings tell.
func callFor[Out any](ctx context.Context, l *line, patience time.Duration, path string, in any) (out Out, err error) {
	for try := range tries {
		out, err = once[Out](ctx, l, patience, path, in)
		unreached := errors.As(err, new(*wire.DialError)) // ssh has tried for long enough
		if !errors.Is(err, jobs.ErrInterrupted) || unreached || try == tries-1 {
			break
		}
		if e := jobs.Pause(ctx, time.Second<<try); e != nil {
			return out, e
		}
	}
	return out, err
}

func once[Out any](ctx context.Context, l *line, patience time.Duration, path string, in any) (out Out, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%s: no answer to %s within %s", l.name, path, patience))
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	c, err := l.connect(ctx)
	if err != nil {
		return out, err
	}
	r, err := request(ctx, path, nil, bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	resp, err := l.do(ctx, c, r)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		if err = l.explain(ctx, err); errors.Is(err, jobs.ErrInterrupted) {
			l.lost(c)
		}
		return out, err
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return out, fmt.Errorf("%s: answer to %s: %w", l.name, path, err)
	}
	return out, nil
}

// lock takes a lock there, and takes it again over each new connection, until unlock.
func (l *line) lock(ctx context.Context, path string, described any) (unlock func(), err error) {
	var mu sync.Mutex
	release := func() {}
	take := func(ctx context.Context, c *wire.Client) error {
		free, err := l.take(ctx, c, path, described)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		release = free
		return nil
	}
	c, err := l.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := take(ctx, c); err != nil {
		if errors.Is(err, jobs.ErrInterrupted) {
			l.lost(c)
		}
		return nil, err
	}
	l.mu.Lock()
	l.relock = take
	l.mu.Unlock()
	return func() {
		l.mu.Lock()
		l.relock = nil
		l.mu.Unlock()
		mu.Lock()
		defer mu.Unlock()
		release()
	}, nil
}

// patience is how long the far end gets to say that a lock is free again.
const patience = 5 * time.Second

// take takes a lock over one connection. It is held as long as the request lasts, whose body ends when it is given free.
func (l *line) take(ctx context.Context, c *wire.Client, path string, described any) (free func(), err error) {
	body, end := io.Pipe()
	held, cancel := context.WithCancel(context.WithoutCancel(ctx)) // to unlock is for a run that is stopped, too
	stop := context.AfterFunc(ctx, cancel)
	slow := time.AfterFunc(max(l.stall, 2*time.Minute), cancel) // it may have to wait for a process there to end
	defer slow.Stop()
	r, err := request(held, path, described, body)
	if err != nil {
		cancel()
		return nil, err
	}
	resp, err := l.try(ctx, c, r)
	if !stop() && err == nil { // it was stopped meanwhile
		resp.Body.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		if held.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("%s: no answer to %s", l.name, path)
		}
		cancel()
		_ = end.Close()
		return nil, err
	}
	return func() {
		timer := time.AfterFunc(patience, cancel)
		_ = end.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		timer.Stop()
		_ = resp.Body.Close()
		cancel()
	}, nil
}
