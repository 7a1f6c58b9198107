package wire

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ServerOptions are those of Serve.
type ServerOptions struct {
	Stall   time.Duration // a near end that does not answer for so long is gone
	Version string        // of btrkeep, for the near end
}

// concurrent is how many requests are answered at once: a run has a few, and each may cost memory.
const concurrent = 16

// quiet bounds how long a near end that went away without a word is waited for: until then nobody else gets its locks.
const quiet = 2 * time.Minute

// Serve is the far end of a line: it greets, and has h answer until the line ends, or ctx. It returns when no request is being answered any more.
func Serve(ctx context.Context, in, out *os.File, h http.Handler, o ServerOptions) error {
	in, out = pollable(in), pollable(out)
	c := newConn(bufio.NewReaderSize(in, frame), in, out, nil)
	defer c.Close()
	if _, err := fmt.Fprint(out, greeting{oldestProtocol, newestProtocol, cmp.Or(o.Version, "unknown")}); err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	_ = c.SetReadDeadline(time.Now().Add(login))
	text, err := readLine(c.in)
	if err != nil {
		return nil // it did not like the greeting, and knows why
	}
	_ = c.SetReadDeadline(time.Time{})
	var answer choice
	if n, err := fmt.Sscanf(text, "%d %s", &answer.protocol, &answer.version); err != nil || n != 2 || answer.protocol < oldestProtocol || answer.protocol > newestProtocol {
		return fmt.Errorf("the near end wants protocol %.40q; this btrkeep %s speaks %d to %d", text, o.Version, oldestProtocol, newestProtocol)
	}
	var busy sync.WaitGroup
	server := &http.Server{
		Protocols: onlyHTTP2(),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: concurrent, MaxReceiveBufferPerStream: window, MaxReceiveBufferPerConnection: 2 * window, MaxReadFrameSize: frame,
			SendPingTimeout: idlePing, PingTimeout: min(quiet, cmp.Or(o.Stall, quiet)),
		},
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) }, // requests end with the line
		ErrorLog:    slog.NewLogLogger(slog.DiscardHandler, 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			busy.Add(1)
			defer busy.Done()
			h.ServeHTTP(w, r)
		}),
	}
	_ = server.Serve(&only{conn: c}) // it ends when the line does
	busy.Wait()
	return nil
}

// only is a listener to one line.
type only struct {
	conn  *conn
	given atomic.Bool
}

func (l *only) Accept() (net.Conn, error) {
	if !l.given.Swap(true) {
		return l.conn, nil
	}
	<-l.conn.ctx.Done()
	return nil, net.ErrClosed
}

func (l *only) Close() error   { return nil }
func (l *only) Addr() net.Addr { return address{} }

// pollable takes the place of f: reads and writes of it end when it is closed, if it is a pipe or socket.
func pollable(f *os.File) *os.File {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return f
	}
	_ = f.Close()
	_ = unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), f.Name())
}
