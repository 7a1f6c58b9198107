package wire

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/btrkeep/btrkeep/internal/throttle"
)

// conn is a net.Conn over two files.
type conn struct {
	in       *bufio.Reader // of inFile; it may hold more than the greeting
	inFile   *os.File
	out      *os.File
	throttle *throttle.Throttle // of both directions together; nil: none
	once     sync.Once
	ctx      context.Context // ends with Close
	closed   context.CancelFunc
}

var _ net.Conn = (*conn)(nil)

func newConn(in *bufio.Reader, inFile, out *os.File, t *throttle.Throttle) *conn {
	c := &conn{in: in, inFile: inFile, out: out, throttle: t}
	c.ctx, c.closed = context.WithCancel(context.Background())
	return c
}

func (c *conn) Read(p []byte) (int, error) {
	if c.throttle == nil {
		return c.in.Read(p)
	}
	n, err := c.in.Read(p[:min(len(p), c.throttle.Piece())])
	if n > 0 && c.throttle.Wait(c.ctx, n) != nil && err == nil {
		err = net.ErrClosed
	}
	return n, err
}

func (c *conn) Write(p []byte) (written int, err error) {
	if c.throttle == nil {
		return c.out.Write(p)
	}
	for len(p) > 0 {
		piece := p[:min(len(p), c.throttle.Piece())]
		if c.throttle.Wait(c.ctx, len(piece)) != nil {
			return written, net.ErrClosed
		}
		n, err := c.out.Write(piece)
		if written += n; err != nil {
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}

// Close ends both directions.
func (c *conn) Close() (err error) {
	c.once.Do(func() {
		c.closed()
		err = errors.Join(c.out.Close(), c.inFile.Close())
	})
	return err
}

// address is what both ends are called.
type address struct{}

func (address) Network() string { return "ssh" }
func (address) String() string  { return "ssh" }

func (c *conn) LocalAddr() net.Addr  { return address{} }
func (c *conn) RemoteAddr() net.Addr { return address{} }

// Deadlines are set where the files can have them; without them Close ends what waits.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error  { return lenient(c.inFile.SetReadDeadline(t)) }
func (c *conn) SetWriteDeadline(t time.Time) error { return lenient(c.out.SetWriteDeadline(t)) }

func lenient(err error) error {
	if errors.Is(err, os.ErrNoDeadline) {
		return nil
	}
	return err
}
