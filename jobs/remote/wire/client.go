package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/btrkeep/btrkeep/internal/child"
)

// Client is the near end of a line.
type Client struct {
	http *http.ClientConn
	conn *conn
	ssh  *ssh
	once sync.Once
}

func newClient(ctx context.Context, c *conn, s *ssh, stall time.Duration) (*Client, error) {
	t := &http.Transport{
		Protocols:          onlyHTTP2(),
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return c, nil },
		DisableCompression: true,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: window, MaxReceiveBufferPerConnection: 2 * window, MaxReadFrameSize: frame,
			SendPingTimeout: min(idlePing, stall), PingTimeout: stall,
		},
	}
	h, err := t.NewClientConn(ctx, "http", "btrkeep:80")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDropped, s.words(err))
	}
	return &Client{http: h, conn: c, ssh: s}, nil
}

// Do makes a request. Errors, those of reading the answer too, wrap ErrDropped if the line was lost, and are that of the request's context if it ended.
func (c *Client) Do(r *http.Request) (*http.Response, error) {
	resp, err := c.http.RoundTrip(r)
	if err != nil {
		return nil, c.explain(r.Context(), err)
	}
	resp.Body = &body{resp.Body, c, r.Context()}
	return resp, nil
}

func (c *Client) explain(ctx context.Context, err error) error {
	var stream streamError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &stream): // the far end gave up this request, and is still there
		return fmt.Errorf("the far end broke off: %w", err)
	}
	return fmt.Errorf("%w: %w", ErrDropped, c.ssh.words(err))
}

// streamError is that of net/http for one request: see RFC 9113 section 5.4.2. It has no name there, and makes itself one of the same fields.
type streamError struct {
	StreamID uint32
	Code     errorCode
	Cause    error
}

type errorCode uint32

func (e streamError) Error() string { return fmt.Sprintf("HTTP/2 error %d", e.Code) }

type body struct {
	io.ReadCloser
	client *Client
	ctx    context.Context
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = b.client.explain(b.ctx, err)
	}
	return n, err
}

// goodbye is how long ssh gets to end by itself, as the far end does when it has nobody to speak to any more.
const goodbye = 3 * time.Second

// Close ends the line and ssh, also in the middle of a request.
func (c *Client) Close() error {
	c.once.Do(func() {
		_ = c.http.Close() // and so c.conn
		_ = c.conn.Close()
		c.ssh.end(goodbye)
	})
	return nil
}

// ssh is the OpenSSH client at work.
type ssh struct {
	kill  context.CancelFunc
	ended chan struct{}
	err   error // once it has ended
}

// start runs ssh until it ends or is killed; started is called when it has its files.
func (s *ssh) start(c child.Command, started func()) {
	ctx, kill := context.WithCancel(context.Background()) // its end is that of its standard input, or Close
	s.kill, s.ended = kill, make(chan struct{})
	wait := c.Start(ctx, started)
	go func() {
		defer kill()
		s.err = wait()
		close(s.ended)
	}()
}

// end waits for ssh to end, and kills it.
func (s *ssh) end(after time.Duration) {
	timer := time.AfterFunc(after, s.kill)
	<-s.ended
	timer.Stop()
}

// lastWords is how long ssh, which has closed its output, gets to say why.
const lastWords = time.Second

// words is err with what ssh said, if that has ended.
func (s *ssh) words(err error) error {
	select {
	case <-s.ended:
	case <-time.After(lastWords):
		return err
	}
	var told *child.Error
	if errors.As(s.err, &told) && lastLine(told.Stderr) != "" {
		return fmt.Errorf("ssh: %s", lastLine(told.Stderr))
	}
	return err
}
