package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/btrkeep/btrkeep/jobs"
)

// The control socket speaks HTTP with JSON bodies:
//
//	POST /v1/run {"jobs":["home"]}   runs jobs (none: all) and answers with one event per line as they happen
//	GET  /v1/status                  answers with a Status
//	POST /v1/cancel?job=home&by=ann  cancels what is under way of a job, and does not wait for its end
//	POST /v1/reload                  reloads the configuration
//
// A request that is refused is answered with a refusal and a status other than 200.

type runRequest struct {
	Jobs []string `json:"jobs"`
}

// event is one line of the answer to /v1/run: how a run goes, or, once for each job, how it ended.
type event struct {
	Progress *jobs.Progress `json:"progress,omitempty"`
	Record   *jobs.Record   `json:"record,omitempty"`
}

// refusal is why a request was not fulfilled.
type refusal struct {
	Error    string   `json:"error"`
	Hint     string   `json:"hint,omitempty"`
	Code     string   `json:"code,omitempty"` // for programs; the constants below
	Mistakes []string `json:"mistakes,omitempty"`
}

const (
	codeUnknownJob = "unknown_job"
	codeBadConfig  = "bad_config"
	codeStopping   = "stopping"
	codeNotRunning = "not_running"
)

const (
	maxRequest = 1 << 20 // bytes

	// pace is the least time between two lines of progress to one client.
	pace = 100 * time.Millisecond
)

func (l *loop) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/run", l.serveRun)
	mux.HandleFunc("GET /v1/status", l.serveStatus)
	mux.HandleFunc("POST /v1/cancel", l.serveCancel)
	mux.HandleFunc("POST /v1/reload", l.serveReload)
	return mux
}

func (l *loop) serveStatus(w http.ResponseWriter, r *http.Request) {
	var s Status
	if err := l.call(r.Context(), func() { s = l.status() }); err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusOK, s)
}

func (l *loop) serveCancel(w http.ResponseWriter, r *http.Request) {
	var refused error
	err := l.call(r.Context(), func() { refused = l.cancel(r.FormValue("job"), r.FormValue("by")) })
	if err := errors.Join(err, refused); err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusOK, struct{}{})
}

func (l *loop) serveReload(w http.ResponseWriter, r *http.Request) {
	var refused error
	err := l.call(r.Context(), func() { refused = l.reload() })
	if err := errors.Join(err, refused); err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusOK, struct{}{})
}

func (l *loop) serveRun(w http.ResponseWriter, r *http.Request) {
	var wanted runRequest
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&wanted)
	if err != nil && !errors.Is(err, io.EOF) { // no body at all is all jobs
		answer(w, http.StatusBadRequest, refusal{Error: fmt.Sprintf("read the request: %v", err)})
		return
	}
	var watch *watch
	var refused error
	err = l.call(r.Context(), func() { watch, refused = l.request(wanted.Jobs) })
	if err := errors.Join(err, refused); err != nil {
		refuse(w, err)
		return
	}
	defer l.d.progress.unwatch(watch)
	w.Header().Set("Content-Type", "application/x-ndjson")
	l.stream(w, r, watch)
}

// stream writes what happens to the runs of one request until all have ended, the client has gone, or the daemon. The runs go on without the client.
func (l *loop) stream(w http.ResponseWriter, r *http.Request, watch *watch) {
	flush := http.NewResponseController(w)
	out := json.NewEncoder(w)
	for last := false; ; {
		progress, records, more := watch.take()
		for i := range progress {
			_ = out.Encode(event{Progress: &progress[i]})
		}
		for i := range records {
			_ = out.Encode(event{Record: &records[i]})
		}
		if flush.Flush() != nil || !more {
			return
		}
		if last {
			panic(http.ErrAbortHandler) // so that the client sees an answer that is cut off, not one that is complete
		}
		if len(progress) > 0 {
			select {
			case <-time.After(pace):
			case <-watch.ended:
				continue
			case <-r.Context().Done():
				return
			}
		}
		select {
		case <-watch.moved:
		case <-watch.ended:
		case <-r.Context().Done():
			return
		case <-l.gone:
			last = true
		}
	}
}

// refuse answers with what went wrong.
func refuse(w http.ResponseWriter, err error) {
	unknown, isUnknown := errors.AsType[*unknownJobError](err)
	bad, isBad := errors.AsType[*ReloadError](err)
	switch {
	case isUnknown:
		answer(w, http.StatusNotFound, refusal{
			Error: err.Error(), Code: codeUnknownJob,
			Hint: "the daemon has " + strings.Join(unknown.known, ", ") + "; after a change of its files: systemctl reload btrkeep",
		})
	case isBad:
		answer(w, http.StatusUnprocessableEntity, refusal{Error: err.Error(), Code: codeBadConfig, Mistakes: bad.Mistakes})
	case errors.Is(err, errNotRunning):
		answer(w, http.StatusConflict, refusal{
			Error: err.Error(), Code: codeNotRunning,
			Hint: "one that was started without the daemon is ended where it was started, with Ctrl-C",
		})
	case errors.Is(err, errStopping):
		answer(w, http.StatusServiceUnavailable, refusal{Error: err.Error(), Code: codeStopping})
	default:
		answer(w, http.StatusInternalServerError, refusal{Error: err.Error()})
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // who has hung up need not be told
}
