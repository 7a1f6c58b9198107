package metrics

import (
	"time"

	"github.com/btrkeep/btrkeep/jobs"
)

const (
	// settle is how long after something has happened the textfile is written: with what other runs that end just now, and what the daemon has still to note in a state.
	settle = time.Second

	// writeEvery is how old the textfile may become while nothing happens. Backups grow stale with time alone, and its own age tells whether there is still a daemon.
	writeEvery = 5 * time.Minute

	// openEvery is how often an address that could not be opened is tried again: at boot the network may come later.
	openEvery = 30 * time.Second
)

// work is what takes time: no run waits for it, and only its own goroutine touches it.
type work struct {
	*Metrics
	server  *server // nil: none
	opened  time.Time
	path    string // of the textfile that was written last; empty: none
	written time.Time
	failing map[string]string // what was logged of an address or a file that still cannot be used
}

func (w *work) loop() {
	defer close(w.closed)
	for {
		select {
		case <-w.wake:
		case <-w.closing:
			w.end()
			return
		}
		w.refresh()
		w.serve()
		if !w.due() {
			continue
		}
		select {
		case <-time.After(settle):
			w.write()
		case <-w.closing:
			w.end()
			return
		}
	}
}

// refresh forgets what could not be opened or written under the configuration before.
func (w *work) refresh() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reloaded {
		w.reloaded, w.failing = false, map[string]string{}
	}
}

// wanted is what the configuration in force asks for; nothing before there is one.
func (w *work) wanted() (address, textfile, runtimeDir string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cfg == nil {
		return "", "", ""
	}
	return w.cfg.Metrics, w.cfg.Textfile, w.cfg.RuntimeDir
}

// serve opens, moves or closes the listener.
func (w *work) serve() {
	address, _, _ := w.wanted()
	if w.server != nil && (w.server.wanted != address || w.server.failed()) {
		w.server.close()
		w.server = nil
		w.opened = time.Time{}
	}
	if address == "" || w.server != nil || !w.opened.IsZero() && time.Since(w.opened) < openEvery && w.failing[address] != "" {
		return
	}
	w.opened = time.Now()
	s, err := listen(address, w.version, w.text, w.log)
	if w.failed(address, err) {
		return
	}
	w.server = s
	w.log.Info("metrics are at http://" + s.address.String() + "/metrics")
}

// due reports whether the textfile is to be written, or to be removed.
func (w *work) due() bool {
	_, path, _ := w.wanted()
	if path != w.path && w.failing[path] == "" {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return path != "" && (w.changed || time.Since(w.written) >= writeEvery)
}

// write writes the textfile. One that the configuration named before goes: the node exporter would tell the same series twice, or forever.
func (w *work) write() {
	_, path, runtimeDir := w.wanted()
	if w.path != "" && w.path != path {
		w.failed(w.path, remove(w.path))
		w.path = ""
	}
	if path == "" {
		return
	}
	w.mu.Lock()
	w.changed = false
	w.mu.Unlock()
	w.written = time.Now()
	if !w.failed(path, write(path, runtimeDir, w.text())) {
		w.path = path
	}
}

// failed logs an error once, until it is another one or has gone.
func (w *work) failed(what string, err error) bool {
	if err == nil {
		delete(w.failing, what)
		return false
	}
	if text := err.Error(); w.failing[what] != text {
		w.failing[what] = text
		log := w.log
		if hint := jobs.Hint(err); hint != "" {
			log = log.With(jobs.KeyHint, hint)
		}
		log.Error("metrics: " + text)
	}
	return true
}

// end is the last that is done.
func (w *work) end() {
	w.write()
	if w.server != nil {
		w.server.close()
	}
}
