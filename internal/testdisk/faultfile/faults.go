package faultfile

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// admit counts a request, lets it wait as the faults say, and returns what it
// shall fail with. It must be called without the lock.
func (s *store) admit(op Op, offset, length int64) syscall.Errno {
	s.mu.Lock()
	s.requests[op]++
	var delay time.Duration
	var errno syscall.Errno
	if f := s.failures[op]; f != nil {
		delay = f.Delay
		if errno = s.verdict(f, offset, length); errno != 0 {
			s.failed[op]++
		}
	}
	s.mu.Unlock()
	time.Sleep(delay)
	for {
		s.mu.Lock()
		hung := s.hung
		s.mu.Unlock()
		if hung == nil {
			return errno
		}
		<-hung
	}
}

func (s *store) verdict(f *Failure, offset, length int64) syscall.Errno {
	inside := f.Length == 0 || offset < f.Offset+f.Length && f.Offset < offset+length
	switch {
	case f.Pass || !inside:
		return 0
	case f.After > 0:
		f.After--
		return 0
	case f.Rate > 0 && s.rnd.Float64() >= f.Rate:
		return 0
	case f.Errno == 0:
		return unix.EIO
	}
	return f.Errno
}

func (s *store) fail(op Op, f Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures[op] = &f
}

func (s *store) hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hung == nil {
		s.hung = make(chan struct{})
		s.limit = time.AfterFunc(HangLimit, s.unhang)
	}
}

func (s *store) unhang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hung != nil {
		close(s.hung)
		s.limit.Stop()
		s.hung = nil
	}
}

func (s *store) ignore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ignoreFlushes = true
}

func (s *store) clear() {
	s.unhang()
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.failures)
	s.ignoreFlushes = false
}
