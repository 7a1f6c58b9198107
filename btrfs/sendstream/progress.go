package sendstream

import "time"

const (
	progressTime = 100 * time.Millisecond
)

// progress thins the calls of a progress function: at most one per progressTime.
type progress struct {
	last time.Time
	told int64 // bytes at the last call
}

func (p *progress) step(call func(int64), bytes int64) {
	if call == nil || bytes == p.told {
		return
	}
	if now := time.Now(); now.Sub(p.last) >= progressTime {
		p.last, p.told = now, bytes
		call(bytes)
	}
}

func (p *progress) done(call func(int64), bytes int64) {
	if call != nil && bytes != p.told {
		p.told = bytes
		call(bytes)
	}
}
