package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/btrkeep/btrkeep/jobs"
)

// ErrNotRunning means that no daemon listens on the control socket.
var ErrNotRunning = errors.New("the daemon is not running")

// ErrUnknownJob means that the daemon's configuration has no such job.
var ErrUnknownJob = errors.New("unknown job")

// ErrIdle means that nothing is under way of a job.
var ErrIdle = errors.New("nothing to cancel")

// Client talks to a running daemon. It may be used by several goroutines.
type Client struct{ http http.Client }

// dialTimeout bounds the wait for a daemon that is there and does not accept.
const dialTimeout = 5 * time.Second

// Dial finds the daemon of a runtime directory. It returns an error wrapping [ErrNotRunning] if there is none, one wrapping fs.ErrPermission
// if this user may not talk to it.
func Dial(runtimeDir string) (*Client, error) {
	path := socketPath(runtimeDir)
	if len(path) > maxSocketPath { // no daemon can have it
		return nil, fmt.Errorf("%w: the path of %s is too long for a socket", ErrNotRunning, path)
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) { // at less cost than the dial
		return nil, dialError(err)
	}
	probe, err := net.DialTimeout("unix", path, dialTimeout)
	if err != nil {
		return nil, dialError(err)
	}
	_ = probe.Close()
	// No connection is kept: a client is short-lived, and the daemon is not to wait for an idle one when it stops.
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		d := net.Dialer{Timeout: dialTimeout}
		conn, err := d.DialContext(ctx, "unix", path)
		return conn, dialError(err)
	}
	return &Client{http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}, nil
}

// dialError says what it means that the socket could not be reached.
func dialError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w (%w)", ErrNotRunning, err)
	case errors.Is(err, fs.ErrPermission):
		return &jobs.HintError{Err: fmt.Errorf("talk to the daemon: %w", err), Hint: "only root may: try sudo"}
	}
	return fmt.Errorf("talk to the daemon: %w", err)
}

// Run has the daemon run jobs (none: all) and waits for them. onProgress, if not nil, gets what the runs are doing, several times a second at most.
// A job that is running already is not run again: its record says so. If ctx ends, or the daemon does, the records so far are returned with the error;
// the end of ctx does not end the runs.
func (c *Client) Run(ctx context.Context, names []string, onProgress func(jobs.Progress)) ([]jobs.Record, error) {
	body, err := json.Marshal(runRequest{Jobs: names})
	if err != nil {
		return nil, err
	}
	resp, err := c.do(ctx, http.MethodPost, "/v1/run", body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	records := []jobs.Record{}
	for in := json.NewDecoder(resp.Body); ; {
		var e event
		err := in.Decode(&e)
		switch {
		case errors.Is(err, io.EOF):
			return records, nil
		case err != nil && ctx.Err() != nil:
			return records, context.Cause(ctx)
		case err != nil:
			return records, fmt.Errorf("the daemon ended before the runs did: %w", err)
		}
		if e.Progress != nil && onProgress != nil {
			onProgress(*e.Progress)
		}
		if e.Record != nil {
			records = append(records, *e.Record)
		}
	}
}

// Status asks the daemon how it is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	resp, err := c.do(ctx, http.MethodGet, "/v1/status", nil)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		return s, fmt.Errorf("read the daemon's answer: %w", err)
	}
	return s, nil
}

// Cancel has the daemon end what is under way of a job, for who asks for it. It does not wait for the end. Errors wrap [ErrIdle] if nothing is.
func (c *Client) Cancel(ctx context.Context, job, by string) error {
	resp, err := c.do(ctx, http.MethodPost, "/v1/cancel?"+url.Values{"job": {job}, "by": {by}}.Encode(), nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Reload has the daemon read its configuration again. A configuration with mistakes is a *[ReloadError]; the one before then stays in force.
func (c *Client) Reload(ctx context.Context) error {
	resp, err := c.do(ctx, http.MethodPost, "/v1/reload", nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// do sends a request. An answer other than 200 is an error.
func (c *Client) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://btrkeep"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the daemon: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var r refusal
	if json.NewDecoder(io.LimitReader(resp.Body, maxRequest)).Decode(&r) != nil || r.Error == "" {
		return nil, fmt.Errorf("the daemon answered %q to %s: is it of another version?", resp.Status, path)
	}
	return nil, r.asError()
}

func (r refusal) asError() error {
	err := errors.New(r.Error)
	switch r.Code {
	case codeBadConfig:
		err = &ReloadError{Mistakes: r.Mistakes}
	case codeNotRunning:
		err = fmt.Errorf("%w: %w", ErrIdle, err)
	case codeUnknownJob:
		err = fmt.Errorf("%w: %w", ErrUnknownJob, err)
	}
	if r.Hint != "" {
		return &jobs.HintError{Err: err, Hint: r.Hint}
	}
	return err
}
