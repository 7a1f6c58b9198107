package daemon

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"github.com/btrkeep/btrkeep/config"
	"github.com/btrkeep/btrkeep/jobs"
)

// hub keeps the latest progress of every task and hands it on to those who watch. The zero value is ready.
// Runners call it from many goroutines and must never wait for a slow watcher, so a watcher gets the latest, not all.
type hub struct {
	mu      sync.Mutex
	latest  map[place]jobs.Progress
	watches map[*watch]bool
}

// place is where a task is at work: a run serves its destinations side by side.
type place struct {
	key
	destination string
}

// taskOf is the task that a progress is of.
func taskOf(p jobs.Progress) key {
	if kind := config.Task(p.Step); kind == config.TaskVerify || kind == config.TaskDrill {
		return key{p.Job, kind}
	}
	return key{p.Job, config.TaskRun}
}

func (h *hub) post(p jobs.Progress) {
	at := place{taskOf(p), p.Destination}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.latest == nil {
		h.latest = map[place]jobs.Progress{}
	}
	if p.Destination == "" { // of the task as a whole: what destinations were doing is over
		h.drop(at.key)
	} else {
		delete(h.latest, place{key: at.key})
	}
	h.latest[at] = p
	if at.kind != config.TaskRun { // nobody asks for others
		return
	}
	for w := range h.watches {
		w.see(at, p)
	}
}

// forget drops what is known of a task that has ended.
func (h *hub) forget(k key) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(k)
}

func (h *hub) drop(k key) {
	maps.DeleteFunc(h.latest, func(at place, _ jobs.Progress) bool { return at.key == k })
}

// of is what a task is doing, by destination.
func (h *hub) of(k key) []jobs.Progress {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []jobs.Progress
	for at, p := range h.latest {
		if at.key == k {
			all = append(all, p)
		}
	}
	sortProgress(all)
	return all
}

func sortProgress(all []jobs.Progress) {
	slices.SortFunc(all, func(a, b jobs.Progress) int {
		return cmp.Or(cmp.Compare(a.Job, b.Job), cmp.Compare(a.Destination, b.Destination))
	})
}

// watch is a new watcher, to be given back to unwatch.
func (h *hub) watch() *watch {
	w := &watch{wanted: map[string]bool{}, news: map[place]jobs.Progress{}, moved: make(chan struct{}, 1), ended: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watches == nil {
		h.watches = map[*watch]bool{}
	}
	h.watches[w] = true
	return w
}

func (h *hub) unwatch(w *watch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watches, w)
}

// watch is what one client has not yet been told of the runs that it asked for.
type watch struct {
	moved, ended chan struct{} // there is progress, there is a record; each holds one token

	mu      sync.Mutex
	wanted  map[string]bool // jobs that have not ended
	news    map[place]jobs.Progress
	records []jobs.Record
}

func (w *watch) expect(job string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wanted[job] = true
}

func (w *watch) see(at place, p jobs.Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wanted[p.Job] {
		w.news[at] = p
		nudge(w.moved)
	}
}

func (w *watch) end(r jobs.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wanted[r.Job] {
		delete(w.wanted, r.Job)
		w.records = append(w.records, r)
		nudge(w.ended)
	}
}

// take gives what is new, and whether more will come.
func (w *watch) take() (progress []jobs.Progress, records []jobs.Record, more bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	progress, records = slices.Collect(maps.Values(w.news)), w.records
	sortProgress(progress)
	clear(w.news)
	w.records = nil
	return progress, records, len(w.wanted) > 0
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
