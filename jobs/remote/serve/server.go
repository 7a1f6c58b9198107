// Package serve is the far end of an ssh connection: what `btrkeep serve` does.
//
// It trusts its client as far as the [Options] say, which come from the command line that the key is bound to, and no farther: paths are confined to the roots, names and
// UUIDs are looked up in the directory that is asked about, streams are applied beneath a new subvolume and may clone only from that directory.
package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/btrkeep/btrkeep/btrfs"
	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
	"github.com/btrkeep/btrkeep/jobs/local"
	"github.com/btrkeep/btrkeep/jobs/remote/api"
)

// Options are what the client may do.
type Options struct {
	Roots        []string // destinations are in them; absolute, without symbolic links
	RequireMount string   // a destination is absent unless this is a mount point; "" = none
	Sources      []string // subvolumes that may be snapshot and sent; absolute
	Can          api.Role
	Trusted      bool // no confinement: the client has a shell here anyway
	RuntimeDir   string
	Version      string
}

// Server serves one client: one connection.
type Server struct {
	o    Options
	held held
}

// New makes a server.
func New(o Options) *Server { return &Server{o: o, held: held{paths: map[string]*use{}}} }

// Handler answers the requests of package api.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	handle(mux, api.Hello, s.hello)
	handle(mux, api.Open, s.open)
	handle(mux, api.List, s.list)
	handle(mux, api.Clean, s.clean)
	handle(mux, api.Delete, s.delete)
	handle(mux, api.Pin, s.pin)
	handle(mux, api.Changes, s.changes)
	mux.HandleFunc("POST "+api.Lock, s.lock)
	mux.HandleFunc("POST "+api.Receive, s.receive)
	mux.HandleFunc("POST "+api.Send, s.send)
	handle(mux, api.SourceLook, s.look)
	handle(mux, api.SourceTake, s.take)
	handle(mux, api.SourceClean, s.cleanSource)
	handle(mux, api.SourceDelete, s.deleteSnapshots)
	handle(mux, api.SourceChanged, s.changed)
	handle(mux, api.SourcePin, s.pinSnapshot)
	handle(mux, api.SourceChanges, s.sourceChanges)
	mux.HandleFunc("POST "+api.SourceLock, s.lockSource)
	mux.HandleFunc("POST "+api.SourceSend, s.sendSnapshot)
	if os.Geteuid() != 0 {
		return http.HandlerFunc(notRoot)
	}
	return mux
}

// Absent answers everything: the disk that should be mounted is not there.
func Absent(mount string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, fmt.Errorf("%w: nothing is mounted at %s", jobs.ErrAbsent, mount))
	})
}

// notRoot answers everything: to list, send and receive subvolumes needs CAP_SYS_ADMIN, and files of all owners are to be read and made.
func notRoot(w http.ResponseWriter, _ *http.Request) {
	fail(w, &jobs.HintError{
		Err:  fmt.Errorf("btrkeep there runs as user %d, and needs root", os.Geteuid()),
		Hint: `log in as root, with a key that is bound to "btrkeep serve"; or let that user's key be bound to "sudo -n btrkeep serve ..."`,
	})
}

// maxRequest bounds a request's JSON: thousands of backups to delete.
const maxRequest = 1 << 20

// handle answers a request with what do returns.
func handle[In, Out any](mux *http.ServeMux, path string, do func(context.Context, In) (Out, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var in In
		out, err := any(nil), decode(w, r, &in)
		if err == nil {
			out, err = do(r.Context(), in)
		}
		if err != nil {
			fail(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(out) // if it does not arrive there is nobody to tell
	})
}

func decode(w http.ResponseWriter, r *http.Request, in any) error {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err == nil {
		err = json.Unmarshal(b, in)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.URL.Path, err)
	}
	return nil
}

// fail answers with an error. 403 and 422 are only for who looks at the line: the body says it all.
func fail(w http.ResponseWriter, err error) {
	status := http.StatusUnprocessableEntity
	if errors.Is(err, api.ErrRefused) {
		status = http.StatusForbidden
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(api.Encode(err))
}

// refused is an error for what the options do not allow.
func refused(hint, format string, args ...any) error {
	return &jobs.HintError{Err: fmt.Errorf("%w: %s", api.ErrRefused, fmt.Sprintf(format, args...)), Hint: hint}
}

func (s *Server) hello(context.Context, struct{}) (api.Greeting, error) { return s.greeting(), nil }

func (s *Server) greeting() api.Greeting {
	return api.Greeting{
		Version: s.o.Version, Machine: jobs.Machine(), Can: s.o.Can, Within: s.o.Roots, Sources: s.o.Sources, Stream: btrfs.StreamVersion(),
	}
}

// opener opens directories here for a client.
func (s *Server) opener(zone *time.Location, every config.Checkpoint) local.Opener {
	return local.Opener{Zone: zone, Receiver: local.Native{Checkpoint: every, Confined: !s.o.Trusted}}
}

// words are the parts of a request that are text.
func words(format, zone string) (f config.NameFormat, z *time.Location, err error) {
	z = time.UTC
	if format != "" {
		err = f.UnmarshalText([]byte(format))
	}
	if zone != "" && err == nil {
		z, err = time.LoadLocation(zone)
	}
	if err != nil {
		z = time.UTC // names are then told by their UTC form, or not at all
	}
	return f, z, nil
}
