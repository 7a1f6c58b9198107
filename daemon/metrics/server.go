package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"github.com/btrkeep/btrkeep/jobs"
)

const (
	// maxScrapes is how many are answered at once, maxConnections how many may be open: whoever reaches the address must not take from the runs what they need.
	maxScrapes     = 4
	maxConnections = 32

	// listenPatience bounds the look-up of a name.
	listenPatience = 5 * time.Second

	// closePatience is how long an answer under way has when the address is closed.
	closePatience = 500 * time.Millisecond
)

// server serves one address.
type server struct {
	wanted  string // as the configuration has it
	address net.Addr
	http    http.Server
	gone    chan struct{} // closed when it serves no more
	open    atomic.Int32  // connections
}

// listen opens an address. Errors carry a hint.
func listen(address, version string, text func() []byte, log *slog.Logger) (*server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), listenPatience)
	defer cancel()
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, &jobs.HintError{Err: fmt.Errorf("open the address %q: %w", address, err), Hint: listenHint(err)}
	}
	quiet := slog.NewLogLogger(log.Handler(), slog.LevelDebug) // clients that hang up are nobody's business
	s := &server{wanted: address, address: listener.Addr(), gone: make(chan struct{})}
	s.http = http.Server{
		Handler: routes(version, text), ErrorLog: quiet, ConnState: s.count,
		ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	go func() {
		defer close(s.gone)
		_ = s.http.Serve(listener) // failed tells, and it is opened anew
	}()
	return s, nil
}

func listenHint(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "something else listens there (ss -ltnp tells what): choose another port"
	case errors.Is(err, syscall.EACCES):
		return "the service may not open ports below 1024: choose one above"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine does not have that address, or not yet: it is tried again every half minute"
	}
	return "it is tried again every half minute; runs go on without it"
}

func routes(version string, text func() []byte) http.Handler {
	mux := http.NewServeMux()
	under := make(chan struct{}, maxScrapes)
	mux.Handle("GET /metrics", gzhttp.GzipHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case under <- struct{}{}:
			defer func() { <-under }()
		default:
			http.Error(w, "too many requests at once", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(text()) // clients that hang up are nobody's business
	})))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "btrkeep %s\nmetrics for Prometheus: /metrics\n", version)
	})
	return mux
}

// count closes connections beyond maxConnections.
func (s *server) count(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if s.open.Add(1) > maxConnections {
			_ = c.Close()
		}
	case http.StateClosed, http.StateHijacked:
		s.open.Add(-1)
	}
}

// failed reports whether it has stopped serving by itself.
func (s *server) failed() bool {
	select {
	case <-s.gone:
		return true
	default:
		return false
	}
}

func (s *server) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
	<-s.gone
}
