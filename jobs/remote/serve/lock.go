package serve

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/remote/api"
)

// held are the locks of this connection. What writes needs one: it ends with the connection, whatever ends that, but not before what writes has ended.
type held struct {
	mu    sync.Mutex
	paths map[string]*use
}

// use is one lock's use: by one request at a time.
type use struct {
	busy sync.Mutex
	idle *time.Timer // ends the lock when nothing is written under it
	max  time.Duration
}

// add notes a lock that was taken, whose end is called when it was not used for so long; drop returns when nobody uses it any more, and nobody will.
func (h *held) add(path string, idle time.Duration, end func()) (drop func()) {
	u := &use{max: idle, idle: time.AfterFunc(idle, end)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.paths[path] = u
	return func() {
		h.mu.Lock()
		delete(h.paths, path)
		h.mu.Unlock()
		u.busy.Lock()
		u.idle.Stop()
	}
}

// use needs the lock until done is called.
func (h *held) use(path string) (done func(), err error) {
	find := func() *use {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.paths[path]
	}
	u := find()
	if u == nil {
		return nil, errors.New("the lock of " + path + " is not held")
	}
	u.busy.Lock() // the request before may have answered and not yet ended
	if find() != u {
		u.busy.Unlock()
		return nil, errors.New("the lock of " + path + " is not held any more")
	}
	u.idle.Stop()
	return func() {
		u.idle.Reset(u.max)
		u.busy.Unlock()
	}, nil
}

const (
	// takeover is how long a process that serves a connection of the same run, which died unnoticed, gets to end.
	takeover = time.Minute
	// idle is how long the lock of a destination is held under which nothing is written. Before a transfer goes on, the client reads again all that it had sent, which may take long.
	idle = 24 * time.Hour
	// ever is for the lock of a source, from which a run may read for days.
	ever = 10 * 365 * 24 * time.Hour
)

// locked takes a lock; one that the same run holds through a connection that it has lost is taken away from the process that still waits on that.
func locked(session string, take func() (func(), error)) (unlock func(), err error) {
	asked := false
	for deadline := time.Now().Add(takeover); ; time.Sleep(50 * time.Millisecond) {
		unlock, err = take()
		var other *jobs.HeldError
		if !errors.As(err, &other) || session == "" || other.Holder.Client != session || time.Now().After(deadline) {
			return unlock, err
		}
		if !asked && !endServer(other.Holder.PID) {
			return nil, err
		}
		asked = true
	}
}

// endServer asks a process to end, if it is one that serves a client: the number in a lock file may be another's by now. It is true also for one that has ended.
func endServer(pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil || pid == unix.Getpid() {
		return errors.Is(err, unix.ESRCH)
	}
	defer unix.Close(fd)
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // of the process that fd is: it cannot have changed since
	words := bytes.Split(line, []byte{0})
	if err != nil || !slices.ContainsFunc(words, func(w []byte) bool { return string(w) == "serve" }) {
		return false
	}
	err = unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0)
	return err == nil || errors.Is(err, unix.ESRCH)
}

// hold answers a request for a lock, and holds that until the request's body ends, or the connection.
func (s *Server) hold(w http.ResponseWriter, r *http.Request, path, session string, idle time.Duration, take func() (func(), error)) {
	unlock, err := locked(session, take)
	if err != nil {
		fail(w, err)
		return
	}
	control := http.NewResponseController(w)
	drop := s.held.add(path, idle, func() { _ = control.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		drop()
		unlock()
	}()
	w.WriteHeader(http.StatusOK)
	_ = control.Flush()
	_, _ = r.Body.Read(make([]byte, 1)) // nothing comes but the end
}

func (s *Server) lock(w http.ResponseWriter, r *http.Request) {
	var in api.Locking
	if err := header(r, &in); err != nil {
		fail(w, err)
		return
	}
	if !s.o.Can.Add && !s.o.Can.Delete {
		fail(w, refused("", "this key may only read"))
		return
	}
	dest, err := s.destination(r.Context(), in.Place)
	if err != nil {
		fail(w, err)
		return
	}
	in.Holder.Client = in.Session
	in.Holder.PID = unix.Getpid() // the client's means nothing here
	s.hold(w, r, string(in.Path), in.Session, idle, func() (func(), error) { return dest.Lock(r.Context(), in.Holder) })
}
