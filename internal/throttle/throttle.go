// Package throttle slows down what goes by, to a rate that may change while it does.
package throttle

import (
	"context"
	"io"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// burst is the largest piece that passes at once, in bytes.
const burst = 1 << 20

// Throttle lets bytes pass at a rate. It may be used by several goroutines, which share the rate.
type Throttle struct {
	at      func(time.Time) int64
	limiter *rate.Limiter

	mu    sync.Mutex
	asked time.Time
	now   int64 // bytes per second; 0: no limit
}

// New makes a Throttle whose rate in bytes per second, 0 for none, is asked for about once a second.
func New(at func(time.Time) int64) *Throttle {
	return &Throttle{at: at, limiter: rate.NewLimiter(rate.Inf, burst)}
}

// Piece is how many bytes are best passed at once, at least one: so few that a change of the rate is noticed soon, and never more than Wait takes.
func (t *Throttle) Piece() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.asked) >= time.Second {
		t.asked, t.now = now, t.at(now)
		t.limiter.SetLimit(rate.Inf)
		if t.now > 0 {
			t.limiter.SetLimit(rate.Limit(t.now))
		}
	}
	if t.now <= 0 {
		return burst
	}
	return int(min(burst, max(t.now, 4<<10)))
}

// Wait waits until n bytes, at most a Piece, may pass. Its error is that of ctx.
func (t *Throttle) Wait(ctx context.Context, n int) error { return t.limiter.WaitN(ctx, n) }

// NewReader gives r slowed down. Its errors are those of r, and that of ctx.
func NewReader(ctx context.Context, r io.Reader, t *Throttle) io.Reader { return &reader{ctx, r, t} }

type reader struct {
	ctx      context.Context
	r        io.Reader
	throttle *Throttle
}

func (l *reader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(len(p), l.throttle.Piece())])
	if n > 0 {
		if e := l.throttle.Wait(l.ctx, n); e != nil {
			return n, e
		}
	}
	return n, err
}
